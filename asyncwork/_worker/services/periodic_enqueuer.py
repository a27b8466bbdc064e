"""The periodic enqueuer: puts the coming instances of periodic jobs into the scheduled set."""

from __future__ import annotations

import logging
import math
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ..._jobs.payload import write_payload
from ..._jobs.periodic_key import periodic_key
from ..._jobs.printable import printable
from ..._json import members
from ..._redis.namespace import Namespace
from ..._redis.periodic import PeriodicInstances
from ..._redis.registry import Registry
from ...job import Job
from ...models.pools import Heartbeat
from ...schedule import Schedule

logger = logging.getLogger("asyncwork")

_INSTANCE_ID = re.compile(r"periodic:(.+):([0-9]{1,12})", re.DOTALL)
# Seconds between two checks that the planned instances are still in Redis.
_CHECK_PERIOD = 2.0
# Seconds for which no pool must have had a periodic job before it is removed.
_REMOVE_AFTER = 3600.0


@dataclass(frozen=True, slots=True)
class PeriodicJob:
    """A job that is enqueued by a schedule.

    :ivar args: its arguments as JSON; ``null`` for none, as gocraft/work's periodic jobs have.
    """

    name: str
    schedule: Schedule
    args: bytes = b"null"

    @property
    def key(self) -> str:
        """The name and the schedule, with a digest of the arguments if there are any; unique within the namespace."""
        return periodic_key(self.name, self.schedule.spec, self.args)

    def instance(self, at: int) -> bytes:
        """Return the payload of the instance at an epoch second, the same bytes in every pool and in Go."""
        return write_payload(self.name, f"periodic:{self.key}:{at}", at, self.args)


def firing_of(job_id: str) -> tuple[str, int] | None:
    """Return the key and the epoch second from the id of a periodic job's instance; ``None`` for other ids."""
    match = _INSTANCE_ID.fullmatch(job_id)
    return None if match is None else (match[1], int(match[2]))


class PeriodicEnqueuer:
    """Plans the instances of periodic jobs up to a horizon. Every pool does so, but each instance is planned once.

    :param period: seconds between two passes that plan. In between, a plan that is gone because Redis lost its data, or
        wrong because the clock of Redis was, is noticed within seconds.
    :param horizon: how far ahead instances are planned, seconds.
    """

    name = "periodic enqueuer"

    def __init__(
        self,
        namespace: Namespace,
        jobs: Sequence[PeriodicJob],
        *,
        period: float,
        horizon: float,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._redis = namespace.redis
        self._instances = PeriodicInstances(namespace)
        self._registry = Registry(namespace)
        self._jobs = jobs
        self._period = period
        self._horizon = horizon
        self._monotonic = monotonic
        self._planned_at = -math.inf
        # The keys of the jobs that had an instance within the horizon when they were last planned.
        self._planned: set[str] = set()
        # By key, since when no pool has listed the periodic job in its heartbeat, by the monotonic clock.
        self._absent_since: dict[str, float] = {}

    async def run_once(self) -> float:
        """Plan every instance from now to the horizon, by the clock of Redis, if it is time or the plan is gone."""
        if self._monotonic() - self._planned_at >= self._period:
            await self._plan(self._jobs)
            self._planned_at = self._monotonic()
            await self._remove_unused()
        elif self._planned:
            gone = await self._instances.unplanned(sorted(self._planned), self._horizon)
            await self._plan([job for job in self._jobs if job.key in gone])
        return min(self._period, _CHECK_PERIOD)

    async def _plan(self, jobs: Sequence[PeriodicJob]) -> None:
        if not jobs:
            return
        now = math.floor(await self._redis.now())
        for job in jobs:
            firings = job.schedule.firings(now, math.ceil(now + self._horizon))
            if not firings:
                self._planned.discard(job.key)
                continue
            self._planned.add(job.key)
            instances = [(at, job.instance(at)) for at in firings]
            planned = await self._instances.plan(job.key, self._horizon, instances)
            if planned.ahead:
                text = "planned periodic job %s again: it was planned %d s too far ahead, by a wrong clock of Redis"
                logger.warning(text, printable(job.key), planned.ahead)

    async def _remove_unused(self) -> None:
        """Remove the periodic jobs that no pool has had for an hour."""
        keys = await self._instances.jobs()
        heartbeats = await self._registry.heartbeats() if keys else []
        # The heartbeats of gocraft/work's pools do not list their periodic jobs.
        in_use = keys if any(map(_is_go, heartbeats)) else {job.key for each in heartbeats for job in each.periodic}
        now = self._monotonic()
        self._absent_since = {key: self._absent_since.get(key, now) for key in keys - in_use}
        unused = sorted(key for key, since in self._absent_since.items() if now - since >= _REMOVE_AFTER)
        if unused:
            await self._instances.forget(unused)
            logger.info("removed periodic jobs that no pool has any more: %s", ", ".join(map(printable, unused)))


def superseded(job: Job, key: str, at: int, heartbeats: Sequence[Heartbeat]) -> bool:
    """Return whether a planned instance of a periodic job must not run because its schedule was changed.

    That is so if no registered pool has the schedule any more, and a pool that was started before the instance's time
    enqueues the same job with the same arguments by another schedule. While a pool of gocraft/work is registered, an
    instance without arguments may be its own, because such pools do not list their schedules.

    :param key: the key of the periodic job.
    :param at: the epoch second of the instance.
    :param heartbeats: those of all registered pools.
    """
    if any(state.key == key for each in heartbeats for state in each.periodic):
        return False
    args = members.fields(job.raw)["args"]
    if args == b"null" and any(map(_is_go, heartbeats)):
        return False
    return any(
        state.name == job.name and state.args == args
        for each in heartbeats
        if each.started_at < at
        for state in each.periodic
    )


def _is_go(heartbeat: Heartbeat) -> bool:
    """Return whether gocraft/work wrote a heartbeat; those have no ``runner``."""
    return bool(heartbeat.heartbeat_at and not heartbeat.runner)
