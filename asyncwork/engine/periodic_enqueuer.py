"""Puts the coming instances of periodic jobs among the scheduled ones."""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

from ..job import write_payload
from ..schedule import Schedule
from ..store.upkeep import Upkeep

_INSTANCE_ID = re.compile(r"periodic:(.+):([0-9]{1,12})", re.DOTALL)


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
    """Keeps the horizon filled. Every pool does; each instance is planned once all the same."""

    name = "periodic enqueuer"

    def __init__(self, upkeep: Upkeep, jobs: Sequence[PeriodicJob], *, period: float, horizon: float) -> None:
        self._upkeep = upkeep
        self._jobs = jobs
        self._period = period
        self._horizon = horizon

    async def once(self) -> float:
        """Plan every instance from now to the horizon, by Redis's clock."""
        if not self._jobs:
            return self._period
        now = math.floor(await self._upkeep.now())
        for job in self._jobs:
            firings = job.schedule.firings(now, math.ceil(now + self._horizon))
            if firings:
                await self._upkeep.plan_periodic(job.key, [(at, job.instance(at)) for at in firings])
        return self._period
