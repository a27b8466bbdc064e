"""The heartbeater: writes the heartbeat that shows the other pools that this one is alive."""

from __future__ import annotations

import logging
import math
import os
import socket
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from typing import Protocol

from ..._jobs.clock import Clock
from ..._jobs.periodic_job import PeriodicJob
from ..._redis.errors import REDIS_ERRORS, is_out_of_connections
from ..._redis.namespace import Namespace
from ..._redis.pool_registry import PoolRegistry, WrittenHeartbeat
from ..._version import version
from ...errors import ScheduleError, UsageError
from ...models.periodic import PeriodicState
from ...models.pools import Heartbeat, IgnoredArgument
from ..lease import Renewable

logger = logging.getLogger("asyncwork")


class ReportedState(Protocol):
    """The state of the pool, as its heartbeat reports it."""

    def name(self) -> str:
        """Return ``running``, ``quiet`` or ``stopping``."""

    def followed(self) -> tuple[float, ...]:
        """Return when the requests were made that the pool has followed, epoch seconds."""


class HeartbeatSource:
    """Composes the heartbeats of one pool.

    :param job_names: the jobs that the pool handles, each with whether its type has streams.
    :param size: returns the concurrency, and the ids of the workers, in any order; called from the heartbeat's thread.
    :param started_at: when the pool was started, epoch seconds.
    :param periodic: the jobs that the pool enqueues by a schedule.
    :param version_label: the version of the application; empty for none.
    :param state: of the pool; read from the heartbeat's thread.
    :param ignored: returns the arguments ignored so far; called from the heartbeat's thread.
    """

    def __init__(
        self,
        pool_id: str,
        *,
        job_names: Mapping[str, bool],
        size: Callable[[], tuple[int, Collection[str]]],
        started_at: float,
        periodic: Sequence[PeriodicJob],
        state: ReportedState,
        ignored: Callable[[], tuple[IgnoredArgument, ...]],
        version_label: str = "",
    ) -> None:
        self._next_firings = NextFirings(periodic)
        self._size = size
        self._state = state
        self._ignored = ignored
        self._constant = Heartbeat(
            pool_id=pool_id,
            heartbeat_at=0,
            started_at=int(started_at),
            job_names=tuple(sorted(job_names)),
            concurrency=0,
            worker_ids=(),
            host=socket.gethostname(),
            pid=os.getpid(),
            runner=f"asyncwork {version()}",
            takes_requests=True,
            version_label=version_label,
            streams=tuple(sorted(name for name, has_streams in job_names.items() if has_streams)),
        )

    def at(self, now: float) -> Heartbeat:
        """Return the heartbeat of a moment, epoch seconds."""
        concurrency, worker_ids = self._size()
        return replace(
            self._constant,
            heartbeat_at=int(now),
            concurrency=concurrency,
            worker_ids=tuple(sorted(worker_ids)),
            state=self._state.name(),
            followed=self._state.followed(),
            periodic=self._next_firings.after(now),
            ignored=self._ignored(),
        )


class Heartbeater:
    """Writes the heartbeat of one pool.

    :param max_concurrency: the concurrency limit of each job name that the pool handles; 0 for none.
    :param results: for how long the records of its jobs are kept, seconds by job name.
    :param lease: renewed by each heartbeat.
    :param on_no_connection: called with the error when Redis accepts no connection for a heartbeat.
    :param on_written: called with each heartbeat and what Redis has replied to it.
    :param registered: whether the pool has written a heartbeat before.
    """

    name = "heartbeater"

    def __init__(
        self,
        namespace: Namespace,
        source: HeartbeatSource,
        *,
        max_concurrency: Mapping[str, int],
        results: Mapping[str, int],
        period: float,
        clock: Clock,
        lease: Renewable,
        on_no_connection: Callable[[BaseException], None],
        on_written: Callable[[Heartbeat, WrittenHeartbeat], None],
        registered: bool,
    ) -> None:
        self._registry = PoolRegistry(namespace)
        self._source = source
        self._max_concurrency = max_concurrency
        self._results = results
        self._period = period
        self._clock = clock
        self._lease = lease
        self._on_no_connection = on_no_connection
        self._on_written = on_written
        self._registered = registered

    async def run_once(self) -> float:
        """Write the heartbeat; warn if another pool has considered this one dead since the last."""
        now, sent = self._clock(), time.monotonic()
        heartbeat = self._source.at(now)
        try:
            written = await self._registry.write_heartbeat(heartbeat, self._max_concurrency, again=self._registered)
        except REDIS_ERRORS as error:
            if is_out_of_connections(error):
                self._on_no_connection(error)
            raise
        self._on_written(heartbeat, written)
        reaped = self._registered and not written.known
        self._lease.renew(now, time.monotonic() - sent, reaped=reaped)
        if reaped:
            logger.warning(
                "pool %s was considered dead: the jobs that it was running may run twice. Was its process stopped, or "
                "cut off, did a handler hold the GIL, or did Redis lose its data?",
                heartbeat.pool_id,
            )
            await self._registry.restore_results(self._results)
        self._registered = True
        return self._period


class NextFirings:
    """Finds when each periodic job fires next. A schedule is evaluated again only when its next firing has passed."""

    def __init__(self, jobs: Sequence[PeriodicJob]) -> None:
        self._jobs = jobs
        self._next = [-math.inf] * len(jobs)
        self._last_now = -math.inf

    def after(self, now: float) -> tuple[PeriodicState, ...]:
        """Return the jobs with their first firings after ``now``, epoch seconds, in this host's time zone."""
        if now < self._last_now:
            # The clock was set back, so the known firings may not be the next ones any more.
            self._next = [-math.inf] * len(self._jobs)
        self._last_now = now
        return tuple(self._state(number, job, now) for number, job in enumerate(self._jobs))

    def _state(self, number: int, job: PeriodicJob, now: float) -> PeriodicState:
        firing = self._next[number]
        if firing <= now:
            firing = self._next[number] = _next(job, now)
        upcoming = int(firing) if math.isfinite(firing) else None
        return PeriodicState(job.name, job.schedule.spec, job.key, job.args, upcoming)


def _next(job: PeriodicJob, now: float) -> float:
    try:
        return job.schedule.next(now)
    except ScheduleError:
        return math.inf  # never
    except UsageError:
        return -math.inf  # a clock that is centuries off; it may be corrected
