"""Reads the state of a running pool, for its health and its metrics."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from .._health import decision
from ..models.pools import PoolHealth
from ..options import PoolOptions
from .dispatchers import Dispatchers
from .expiry import RedisClock
from .job_type import JobType
from .services.loop_watchdog import LoopWatchdog
from .worker_set import WorkerSet


@dataclass(frozen=True, slots=True)
class PoolProbe:
    """Reads a running pool. May be used by any thread.

    :ivar stage: returns whether the pool is running, quiet or stopping.
    :ivar started: set when jobs are taken.
    :ivar job_types: by job name, with the metrics of each.
    """

    options: PoolOptions
    stage: Callable[[], str]
    started: asyncio.Event
    job_types: Mapping[str, JobType]
    dispatchers: Dispatchers
    workers: WorkerSet
    redis_clock: RedisClock
    watchdog: LoopWatchdog

    @property
    def state(self) -> str:
        """Whether the pool is starting, running, quiet or stopping."""
        stage = self.stage()
        return decision.STARTING if stage == decision.RUNNING and not self.started.is_set() else stage

    @property
    def concurrency(self) -> int:
        """How many jobs the pool runs at once."""
        return self.workers.concurrency

    @property
    def busy(self) -> int:
        """The number of workers that have a job."""
        return sum(worker.payload is not None for worker in list(self.workers.workers))

    @property
    def blocked(self) -> float:
        """For how long the event loop has been blocked, seconds, or 0."""
        return self.watchdog.ping()

    @property
    def redis_answers(self) -> bool:
        """Whether Redis has replied to the last heartbeat."""
        return self.redis_clock.age <= self._longest_silence

    def health(self, state: str, since: float) -> PoolHealth:
        """Return the health of the pool.

        :param state: of the pool, which may have ended meanwhile.
        :param since: since when the pool has been in this state, epoch seconds.
        """
        return decision.decide(
            state,
            since,
            now=time.time(),
            blocked=self.watchdog.ping(),
            blocked_limit=self.options.tuning.blocked,
            silence=self.redis_clock.age,
            silence_limit=self._longest_silence,
        )

    @property
    def _longest_silence(self) -> float:
        # A heartbeat is due, and Redis has the time of another to reply to it, and a second more.
        return 2 * self.options.heartbeat + 1.0
