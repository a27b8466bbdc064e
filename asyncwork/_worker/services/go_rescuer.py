"""The Go rescuer: requeues the jobs that a Go pool killed only because it does not handle their name.

gocraft/work's requeuers move every due job, and send those with names that their own pool does not handle to the dead.
"""

from __future__ import annotations

import logging

from ..._jobs.location import JobSet
from ..._jobs.membership import SETTLE_NAME
from ..._jobs.printable import plural
from ..._json.members import splice
from ..._redis.batch_store import BatchStore
from ..._redis.delayed import DelayedJobs, Scored
from ..._redis.namespace import Namespace
from ..._redis.pool_registry import PoolRegistry
from ...job import Job

logger = logging.getLogger("asyncwork")

_KILLED = "unknown job when requeueing"
# Dead jobs read by one command.
_PAGE = 500
# Seconds by which the clock of a Go pool may be behind; each pass reads again the jobs that died within them.
_LAG = 60.0


class GoRescuer:
    """Reads the jobs that have died since the last pass, every ``period`` seconds."""

    name = "go rescuer"

    def __init__(self, namespace: Namespace, period: float) -> None:
        self._redis = namespace.redis
        self._delayed = DelayedJobs(namespace)
        self._batches = BatchStore(namespace)
        self._registry = PoolRegistry(namespace)
        self._period = period
        self._newest = 0.0

    async def run_once(self) -> float:
        """Requeue the jobs that were killed for their name if the name is registered."""
        now = await self._redis.now()
        # The clock of Redis may have been ahead at the last pass.
        self._newest = min(self._newest, now)
        since, skip = self._newest - _LAG, 0
        while True:
            page = await self._delayed.dead_since(since, skip, _PAGE)
            moved = await self._rescue([member for member, _ in page])
            if page:
                # A score in the future, or one that is not a time, must not hide the jobs that die until then.
                self._newest = max(self._newest, min(page[-1][1], now))
            skip += len(page) - moved
            if len(page) < _PAGE:
                return self._period

    async def _rescue(self, members: list[bytes]) -> int:
        killed = [(member, job) for member in members if (job := _killed(member)) is not None]
        settled = [(Scored(member, 0.0), job) for member, job in killed if job.name == SETTLE_NAME]
        taken, _ = await self._batches.settle_parents(JobSet.DEAD, settled)
        registered = await self._registry.registered_names(sorted({job.name for _, job in killed}))
        now = b"%d" % int(await self._redis.now()) if killed else b""
        moves: list[tuple[bytes, str | None, bytes]] = [
            (member, job.name, splice(member, {"t": now, "err": None, "failed_at": None}))
            for member, job in killed
            if job.name in registered
        ]
        if not moves:
            return len(taken)
        moved = (await self._delayed.requeue(JobSet.DEAD, moves)).moved
        if moved:
            logger.warning("rescued %s killed by a Go pool that does not handle their name", plural(moved, "dead job"))
        return moved + len(taken)


def _killed(member: bytes) -> Job | None:
    """Return the job if it was killed for its name, else ``None``."""
    if _KILLED.encode() not in member:
        return None
    try:
        job = Job.decode(member)
    except Exception:  # a payload that cannot be read was not killed for its name
        return None
    return job if job.err == _KILLED else None
