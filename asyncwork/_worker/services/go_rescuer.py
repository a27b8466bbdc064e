"""Brings back what a Go pool killed for no other reason than that it did not know the job's name.

gocraft/work's requeuers move whatever is due, and send jobs of names that their own pool does not serve to the dead.
"""

from __future__ import annotations

import logging

from ..._jobs.location import JobSet
from ..._json.members import splice
from ..._redis.delayed import DelayedJobs
from ..._redis.namespace import Namespace
from ..._redis.registry import Registry
from ...job import Job

logger = logging.getLogger("asyncwork")

_KILLED = "unknown job when requeueing"
# Dead jobs read by one command.
_PAGE = 500
# Seconds by which the clock of a Go pool may be behind: so far back is looked again at each pass.
_LAG = 60.0


class GoRescuer:
    """Looks through the dead jobs that are new since it last looked."""

    name = "reviver"

    def __init__(self, namespace: Namespace, period: float) -> None:
        self._redis = namespace.redis
        self._delayed = DelayedJobs(namespace)
        self._registry = Registry(namespace)
        self._period = period
        self._newest = 0.0

    async def once(self) -> float:
        """Put back on its queue what was killed for its name and is known to somebody."""
        now = await self._redis.now()
        # Should Redis's clock have been ahead at the last look, nothing is older than now all the same.
        self._newest = min(self._newest, now)
        since, skip = self._newest - _LAG, 0
        while True:
            page = await self._delayed.dead_since(since, skip, _PAGE)
            moved = await self._revive([member for member, _ in page])
            if page:
                # A score that is no time, or one to come, must not hide those that die until then.
                self._newest = max(self._newest, min(page[-1][1], now))
            skip += len(page) - moved
            if len(page) < _PAGE:
                return self._period

    async def _revive(self, members: list[bytes]) -> int:
        killed = [(member, job) for member in members if (job := _killed(member)) is not None]
        known = await self._registry.registered_names(sorted({job.name for _, job in killed}))
        now = b"%d" % int(await self._redis.now()) if killed else b""
        moves: list[tuple[bytes, str | None, bytes]] = [
            (member, job.name, splice(member, {"t": now, "err": None, "failed_at": None}))
            for member, job in killed
            if job.name in known
        ]
        if not moves:
            return 0
        moved = (await self._delayed.requeue(JobSet.DEAD, moves)).moved
        if moved:
            text = "jobs brought back from the dead, sent there by a Go pool that does not know them: %d"
            logger.warning(text, moved)
        return moved


def _killed(member: bytes) -> Job | None:
    if _KILLED.encode() not in member:
        return None
    try:
        job = Job.decode(member)
    except Exception:  # whatever cannot be read was not killed for its name
        return None
    return job if job.err == _KILLED else None
