"""Puts the coming instances of periodic jobs among the scheduled ones."""

from __future__ import annotations

import hashlib
import logging
import math
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ..._json import members
from ..._redis.namespace import Namespace
from ..._redis.periodic import PeriodicInstances
from ..._redis.registry import Registry
from ...job import Job, write_payload
from ...models import Heartbeat
from ...schedule import Schedule
from .reaper import shown

logger = logging.getLogger("asyncwork")

_INSTANCE_ID = re.compile(r"periodic:(.+):([0-9]{1,12})", re.DOTALL)
# Seconds between two looks at whether the plan is still there.
_LOOK = 2.0
# Seconds for which no pool must have had a periodic job until it is forgotten.
_FORGET_AFTER = 3600.0


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
        """What tells this periodic job from the others of the namespace."""
        key = f"{self.name}:{self.schedule.spec}"
        return key if self.args == b"null" else f"{key}:{hashlib.sha256(self.args).hexdigest()[:12]}"

    def instance(self, at: int) -> bytes:
        """Return the payload of the instance of an epoch second: the same bytes in every pool, and in Go."""
        return write_payload(self.name, f"periodic:{self.key}:{at}", at, self.args)


def firing_of(job_id: str) -> tuple[str, int] | None:
    """Return the key and the epoch second of the instance of a periodic job whose id this is; ``None`` for others."""
    match = _INSTANCE_ID.fullmatch(job_id)
    return None if match is None else (match[1], int(match[2]))


class PeriodicEnqueuer:
    """Keeps the horizon filled. Every pool does; each instance is planned once all the same.

    :param period: seconds between two fillings. A plan that is gone, for Redis lost its data, or that a wrong clock of
        Redis spoilt is noticed within seconds.
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
        self._filled_at = -math.inf
        # The keys of the jobs of which an instance was within the horizon when it was filled.
        self._planned: set[str] = set()
        # Since when no pool has told that it enqueues a periodic job, by its key; of the monotonic clock.
        self._absent: dict[str, float] = {}

    async def once(self) -> float:
        """Plan every instance from now to the horizon, by Redis's clock, if it is time or the plan is gone."""
        if self._monotonic() - self._filled_at >= self._period:
            await self._fill(self._jobs)
            self._filled_at = self._monotonic()
            await self._forget()
        elif self._planned:
            gone = await self._instances.unplanned(sorted(self._planned), self._horizon)
            await self._fill([job for job in self._jobs if job.key in gone])
        return min(self._period, _LOOK)

    async def _fill(self, jobs: Sequence[PeriodicJob]) -> None:
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
                text = "periodic job %s was planned %d s too far ahead: Redis's clock had been wrong; planned anew"
                logger.warning(text, shown(job.key), planned.ahead)

    async def _forget(self) -> None:
        """Forget the periodic jobs that no pool has had for a while."""
        keys = await self._instances.jobs()
        heartbeats = await self._registry.heartbeats() if keys else []
        # What gocraft/work's pools enqueue they do not tell.
        known = keys if any(map(_is_other, heartbeats)) else {job.key for each in heartbeats for job in each.periodic}
        now = self._monotonic()
        self._absent = {key: self._absent.get(key, now) for key in keys - known}
        gone = sorted(key for key, since in self._absent.items() if now - since >= _FORGET_AFTER)
        if gone:
            await self._instances.forget(gone)
            logger.info("periodic jobs forgotten that no pool has any more: %s", ", ".join(map(shown, gone)))


def superseded(job: Job, key: str, at: int, heartbeats: Sequence[Heartbeat]) -> bool:
    """Tell whether a planned instance of a periodic job is not to run: its schedule was changed.

    So it is when no registered pool has that schedule any more, and one that was started before the instance's time
    enqueues the same job with the same arguments by another. Beside a pool of gocraft/work, which does not tell its
    schedules, an instance without arguments may be that pool's.

    :param key: of the periodic job.
    :param at: the instance's epoch second.
    :param heartbeats: those of all registered pools.
    """
    if any(state.key == key for each in heartbeats for state in each.periodic):
        return False
    args = members.fields(job.raw)["args"]
    if args == b"null" and any(map(_is_other, heartbeats)):
        return False
    return any(
        state.name == job.name and state.args == args
        for each in heartbeats
        if each.started_at < at
        for state in each.periodic
    )


def _is_other(heartbeat: Heartbeat) -> bool:
    """Tell whether a pool is not of asyncwork."""
    return bool(heartbeat.heartbeat_at and not heartbeat.runner)
