"""Counts what the workers do, by queue, within this process. The metrics writer sends the counts to Redis."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from .._health.histogram import BOUNDS
from .._health.report import OTHER
from .._jobs.error_text import type_name_of
from ..models.pools import PoolCounts
from ..models.queues import JobCounts
from .outcome import Cancelled, Dead, Expired, Outcome, Rest, RetryAt, RunAt

# How an attempt may end, as QueueMetrics.outcomes() distinguishes it.
OUTCOMES = ("done", "retried", "dead", "dropped", "snoozed", "rate_limited", "expired", "cancelled")
# The kinds of recorded steps: a step that has returned, a sleep and an event that a job begins to wait for, and an
# event that has not come in time.
STEP_KINDS = ("step", "sleep", "event", "event_timeout")
# Classes of exceptions that the metrics of a queue distinguish, because a handler may make any number of classes.
_MOST_KINDS = 50
# More than any clock can measure, so that no index needs a check.
_BUCKETS = 64
# Characters of the name of a class.
_LONGEST_KIND = 100


class QueueMetrics:
    """The attempts at one queue's jobs since the pool was started. The numbers only grow.

    :ivar failed: those of them that failed.
    :ivar excused: those that neither succeeded nor failed, because the handler postponed the job or discarded it, or
        because the job had expired or was cancelled.
    :ivar retried: failed attempts whose job is retried.
    :ivar dead: failed attempts whose job is dead.
    :ivar expired: jobs that were not started, because they had expired.
    :ivar cancelled: jobs that were cancelled while the pool had them.
    :ivar snoozed: attempts whose handler postponed the job.
    :ivar rate_limited: attempts whose handler had the queue rest. They are not counted among the attempts, because the
        job runs again as if it had not started.
    :ivar failures: failed attempts by the class of their exception.
    :ivar run: the run time of all attempts, seconds.
    :ivar chunks: calls that had a chunk of jobs.
    :ivar chunked: the jobs of these calls.
    :ivar chunk_counts: the calls by their number of jobs: at index n, those with up to 2**n that are not at an index
        before; empty until there is one.
    :ivar steps: what was recorded of their steps, by kind; see :data:`STEP_KINDS`.
    :ivar waited: the time that their jobs had spent on the queue before, whole seconds.
    """

    __slots__ = (
        *("_longer_runs", "_longer_waits", "_quick", "_unwaited"),
        *("chunk_counts", "chunked", "chunks"),
        *("cancelled", "dead", "excused", "expired", "failed", "failures", "rate_limited", "retried", "run", "snoozed"),
        *("steps", "waited"),
    )

    def __init__(self) -> None:
        self.failed = self.excused = self.retried = self.dead = self.waited = 0
        self.expired = self.cancelled = self.snoozed = self.rate_limited = 0
        self.chunks = self.chunked = 0
        # Made with the first chunk, because few types have any.
        self.chunk_counts: list[int] = []
        self.failures: dict[str, int] = {}
        # Without kinds that were never recorded.
        self.steps: dict[str, int] = {}
        self.run = 0.0
        # The first buckets have counts of their own, because to count there is on the hot path of short jobs.
        self._quick = self._unwaited = 0
        self._longer_runs = [0] * _BUCKETS
        self._longer_waits = [0] * _BUCKETS

    @property
    def processed(self) -> int:
        """Attempts that ended, well or not; one that was cancelled with its worker has not."""
        return self._quick + sum(self._longer_runs)

    @property
    def run_counts(self) -> list[int]:
        """The attempts by run time: at index n, those of less than 2**n ms that are not at an index before."""
        return [self._quick + self._longer_runs[0], *self._longer_runs[1:]]

    @property
    def wait_counts(self) -> list[int]:
        """The attempts by the time that their jobs had spent on the queue before: at index n, those of less than 2**n s
        that are not at an index before.
        """
        return [self._unwaited + self._longer_waits[0], *self._longer_waits[1:]]

    def record_attempt(self, enqueued_at: int, started_at: float, ended_at: float) -> None:
        """Count an attempt that has ended. All times are epoch seconds."""
        ran = ended_at - started_at
        self.run += ran
        if 0 <= ran < 0.001:
            self._quick += 1
        else:
            self._longer_runs[int(ran * 1000).bit_length()] += 1
        waited = started_at - enqueued_at
        if waited < 1:
            self._unwaited += 1
        elif enqueued_at > 0:  # otherwise the payload does not say when the job was enqueued
            seconds = int(waited)
            self.waited += seconds
            self._longer_waits[seconds.bit_length()] += 1

    def record_chunk(self, jobs: int) -> None:
        """Count a call for a number of jobs."""
        self.chunk_counts = self.chunk_counts or [0] * _BUCKETS
        self.chunks += 1
        self.chunked += jobs
        self.chunk_counts[(jobs - 1).bit_length()] += 1

    def record_step(self, kind: str) -> None:
        """Count what was recorded of a step.

        :param kind: one of :data:`STEP_KINDS`.
        """
        self.steps[kind] = self.steps.get(kind, 0) + 1

    def record_failure(self, outcome: Outcome, error: BaseException, *, failed: bool) -> None:
        """Count the outcome of an attempt that did not succeed, in addition to :meth:`record_attempt`.

        :param error: what it raised.
        :param failed: whether the attempt counts as failed.
        """
        if isinstance(outcome, Rest):
            self.rate_limited += 1
            return
        self.excused += not failed
        self.failed += failed
        self.retried += isinstance(outcome, RetryAt)
        self.dead += isinstance(outcome, Dead)
        self.expired += isinstance(outcome, Expired)
        self.cancelled += isinstance(outcome, Cancelled)
        self.snoozed += isinstance(outcome, RunAt)
        if failed:
            kind = type_name_of(error)[:_LONGEST_KIND]
            if kind not in self.failures and len(self.failures) >= _MOST_KINDS:
                kind = OTHER
            self.failures[kind] = self.failures.get(kind, 0) + 1

    def outcomes(self) -> dict[str, int]:
        """Return how many attempts ended in which way, by :data:`OUTCOMES`. May be called from any thread."""
        processed, failed, excused = self.processed, self.failed, self.excused
        known = {
            "retried": self.retried,
            "dead": self.dead,
            "snoozed": self.snoozed,
            "expired": self.expired,
            "cancelled": self.cancelled,
        }
        # An attempt that another thread counts now may be counted in only some of these.
        dropped = max(0, failed + excused - sum(known.values()))
        done = max(0, processed - failed - excused)
        return {**known, "done": done, "dropped": dropped, "rate_limited": self.rate_limited}


class PoolMetrics:
    """The metrics of a pool.

    :param queues: the metrics of each queue, by its name.
    """

    def __init__(self, queues: Mapping[str, QueueMetrics]) -> None:
        self._queues = queues
        self._taken = {name: JobCounts() for name in queues}
        self._taken_runs = {name: [0] * _BUCKETS for name in queues}

    @property
    def totals(self) -> PoolCounts:
        """The counts of the pool so far."""
        queues = self._queues.values()
        return PoolCounts(
            done=sum(each.processed - each.failed - each.excused for each in queues),
            failed=sum(each.retried + each.dead for each in queues),
            expired=sum(each.expired for each in queues),
            cancelled=sum(each.cancelled for each in queues),
        )

    def take(self) -> dict[str, JobCounts]:
        """Return the counts by queue since the last call, without the queues where nothing was processed."""
        counts = {}
        for name, metrics in self._queues.items():
            before, now = self._taken[name], _job_counts(metrics)
            if now.processed != before.processed:
                self._taken[name] = now
                counts[name] = _difference(now, before)
        return counts

    def take_runs(self, names: Iterable[str]) -> dict[str, dict[int, int]]:
        """Return how many attempts took how long since the last call, for some queues.

        :returns: by queue and number of the bucket, of those in :data:`BOUNDS`, without zeros.
        """
        found = {}
        for name in names:
            before, now = self._taken_runs[name], self._queues[name].run_counts
            self._taken_runs[name] = now
            counts: dict[int, int] = {}
            for bucket, (earlier, count) in enumerate(zip(before, now, strict=True)):
                if count != earlier:
                    last = min(bucket, len(BOUNDS))
                    counts[last] = counts.get(last, 0) + count - earlier
            found[name] = counts
        return found


def _job_counts(metrics: QueueMetrics) -> JobCounts:
    return JobCounts(
        processed=metrics.processed,
        failed=metrics.failed,
        retried=metrics.retried,
        dead=metrics.dead,
        run_ms=int(metrics.run * 1000),
        wait_ms=metrics.waited * 1000,
        expired=metrics.expired,
        cancelled=metrics.cancelled,
    )


def _difference(now: JobCounts, before: JobCounts) -> JobCounts:
    return JobCounts(
        processed=now.processed - before.processed,
        failed=now.failed - before.failed,
        retried=now.retried - before.retried,
        dead=now.dead - before.dead,
        # The clock may have been set back.
        run_ms=max(0, now.run_ms - before.run_ms),
        wait_ms=now.wait_ms - before.wait_ms,
        expired=now.expired - before.expired,
        cancelled=now.cancelled - before.cancelled,
    )
