"""Counts what the workers do, by queue, within this process. The metrics writer sends the counts to Redis."""

from __future__ import annotations

from collections.abc import Mapping

from ..models import JobCounts, PoolCounts
from .outcome import Cancelled, Dead, Expired, Outcome, RetryAt


class QueueMetrics:
    """The attempts at one queue's jobs since the pool was started. The numbers only grow.

    :ivar processed: attempts that ended, well or not; one that was cancelled with its worker has not.
    :ivar failed: those of them that failed.
    :ivar excused: those that neither succeeded nor failed, because the handler postponed the job or discarded it, or
        because the job had expired or was cancelled.
    :ivar retried: failed attempts whose job is retried.
    :ivar dead: failed attempts whose job is dead.
    :ivar expired: jobs that were not started, because they had expired.
    :ivar cancelled: jobs that were cancelled while the pool had them.
    :ivar run: the run time of all attempts, seconds.
    :ivar waited: the time that their jobs had spent on the queue before, whole seconds.
    """

    __slots__ = ("cancelled", "dead", "excused", "expired", "failed", "processed", "retried", "run", "waited")

    def __init__(self) -> None:
        self.processed = self.failed = self.excused = self.retried = self.dead = self.waited = 0
        self.expired = self.cancelled = 0
        self.run = 0.0

    def record_attempt(self, enqueued_at: int, started_at: float, ended_at: float) -> None:
        """Count an attempt that has ended. All times are epoch seconds."""
        self.processed += 1
        self.run += ended_at - started_at
        waited = int(started_at) - enqueued_at
        # Without an enqueue time in the payload the wait is unknown.
        if waited > 0 < enqueued_at:
            self.waited += waited

    def record_failure(self, outcome: Outcome, *, failed: bool) -> None:
        """Count the outcome of an attempt that did not succeed, in addition to :meth:`record_attempt`.

        :param failed: whether the attempt counts as failed.
        """
        self.excused += not failed
        self.failed += failed
        self.retried += isinstance(outcome, RetryAt)
        self.dead += isinstance(outcome, Dead)
        self.expired += isinstance(outcome, Expired)
        self.cancelled += isinstance(outcome, Cancelled)


class PoolMetrics:
    """The metrics of a pool.

    :param queues: the metrics of each queue, by its name.
    """

    def __init__(self, queues: Mapping[str, QueueMetrics]) -> None:
        self._queues = queues
        self._taken = {name: JobCounts() for name in queues}

    @property
    def totals(self) -> PoolCounts:
        """What the pool has done so far."""
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
