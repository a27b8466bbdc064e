"""The dead trimmer: deletes the oldest dead jobs, so that their number is bounded."""

from __future__ import annotations

import logging
import math

from ..._jobs.clock import Clock, wall_clock
from ..._jobs.location import JobSet
from ..._jobs.printable import plural
from ..._redis.delayed import DelayedJobs
from ..._redis.deletions import Deletions
from ..._redis.located_payload import LocatedPayload
from ..._redis.namespace import Namespace

logger = logging.getLogger("asyncwork")

# Jobs deleted by one command; keeps every command far below 10 ms.
_SLICE = 100


class DeadTrimmer:
    """Deletes dead jobs every ``period`` seconds, the oldest first, for good. Several pools may do so at once.

    :param most: how many dead jobs are kept; 0 for any number.
    :param seconds: for how long they are kept; 0 for ever.
    """

    name = "dead trimmer"

    def __init__(
        self, namespace: Namespace, *, period: float, most: int, seconds: float, clock: Clock = wall_clock
    ) -> None:
        self._redis = namespace.redis
        self._delayed = DelayedJobs(namespace)
        self._deletions = Deletions(namespace)
        self._period = period
        self._most = most
        self._seconds = seconds
        self._clock = clock
        # Jobs that were deleted and are not in the log yet.
        self._trimmed = 0

    async def run_once(self) -> float:
        """Delete the dead jobs that are too many or too old."""
        if self._most or self._seconds:
            while batch := await self._oldest():
                self._trimmed += await self._deletions.delete(JobSet.DEAD.value, batch)
        if self._trimmed:
            logger.info("trimmed %s: %s", plural(self._trimmed, "dead job"), self._limits())
            self._trimmed = 0
        return self._period

    async def _oldest(self) -> list[LocatedPayload]:
        """Return the next dead jobs to delete."""
        before = -math.inf
        if self._seconds:
            # A clock that is ahead, Redis's or this host's, must not make all jobs old.
            before = min(await self._redis.now(), self._clock()) - self._seconds
        # Nearly always there is nothing to do, and one job is enough to see that.
        return await self._too_many_or_old(1, before) and await self._too_many_or_old(_SLICE, before)

    async def _too_many_or_old(self, limit: int, before: float) -> list[LocatedPayload]:
        """Return which of the oldest jobs are too many, or died before a time (epoch seconds).

        :param limit: how many jobs are read.
        """
        # In this order: if another pool deletes some in between, fewer are too many.
        page = await self._delayed.page(JobSet.DEAD, 0, limit)
        excess = await self._delayed.count(JobSet.DEAD) - self._most if self._most else 0
        return [LocatedPayload(raw, at, rank) for rank, (raw, at) in enumerate(page) if rank < excess or at < before]

    def _limits(self) -> str:
        limits = [f"at most {self._most} are kept"] if self._most else []
        if self._seconds:
            limits.append(f"for at most {self._seconds / 86_400:g} days")
        return ", ".join(limits)
