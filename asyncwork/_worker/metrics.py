"""JobCounts what the workers do, queue by queue, in this process alone: the bookkeeper writes it down."""

from __future__ import annotations

from collections.abc import Mapping

from ..models import JobCounts, PoolCounts
from .outcome import Dead, Outcome, RetryAt


class Counter:
    """What was counted of one queue since the pool was started. It only grows.

    :ivar processed: attempts that ended, well or not; one that was cut off has not.
    :ivar failed: those of them that failed.
    :ivar excused: those that neither succeeded nor failed: the handler put the job off, or gave it up.
    :ivar retried: those of the failed that are tried again.
    :ivar dead: those of the failed whose job is dead.
    :ivar run: how long all attempts ran in all, seconds.
    :ivar waited: how long their jobs had been on the queue when they began, in all, whole seconds.
    """

    __slots__ = ("dead", "excused", "failed", "processed", "retried", "run", "waited")

    def __init__(self) -> None:
        self.processed = self.failed = self.excused = self.retried = self.dead = self.waited = 0
        self.run = 0.0

    def ran(self, enqueued_at: int, started_at: float, ended_at: float) -> None:
        """Count an attempt that has ended. All in epoch seconds."""
        self.processed += 1
        self.run += ended_at - started_at
        waited = int(started_at) - enqueued_at
        # A payload that does not say when it was enqueued has waited for nobody knows how long.
        if waited > 0 < enqueued_at:
            self.waited += waited

    def went_wrong(self, decision: Outcome, *, failed: bool) -> None:
        """Count what becomes of a job that did not succeed, beside :meth:`ran`.

        :param failed: whether the attempt is held against it.
        """
        self.excused += not failed
        self.failed += failed
        self.retried += isinstance(decision, RetryAt)
        self.dead += isinstance(decision, Dead)


class PoolMetrics:
    """The counters of a pool.

    :param counters: by queue.
    """

    def __init__(self, counters: Mapping[str, Counter]) -> None:
        self._counters = counters
        self._taken = {name: JobCounts() for name in counters}

    @property
    def tally(self) -> PoolCounts:
        """What the pool has done so far."""
        each = self._counters.values()
        return PoolCounts(
            done=sum(one.processed - one.failed - one.excused for one in each),
            failed=sum(one.retried + one.dead for one in each),
        )

    def take(self) -> dict[str, JobCounts]:
        """Return what was counted since it was last taken, by queue; without the queues where that is nothing."""
        news = {}
        for name, counter in self._counters.items():
            before, now = self._taken[name], _so_far(counter)
            if now.processed != before.processed:
                self._taken[name] = now
                news[name] = _difference(now, before)
        return news


def _so_far(counter: Counter) -> JobCounts:
    return JobCounts(
        processed=counter.processed,
        failed=counter.failed,
        retried=counter.retried,
        dead=counter.dead,
        run_ms=int(counter.run * 1000),
        wait_ms=counter.waited * 1000,
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
    )
