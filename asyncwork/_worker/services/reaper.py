"""Takes the jobs of pools that are dead back to their queues.

A pool is dead when its heartbeat has stood still for long enough, as seen from here. No clock of another host is
trusted for that, and time in which this reaper could not look (it was stopped, or Redis was away) or in which Redis let
nobody write does not count.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from ..._redis.errors import ErrorReply
from ..._redis.namespace import Namespace
from ..._redis.recovery import Recovery
from ..._redis.registry import RawHeartbeat, Registry

logger = logging.getLogger("asyncwork")


@dataclass(slots=True)
class _Suspect:
    """What is known of a pool that may be dead: by what its last beat is known, and for how many seconds it has stood
    still."""

    beat: tuple[bytes, bytes]
    still: float = 0.0


class Reaper:
    """Watches the other pools of a namespace.

    :param own: this pool's id.
    :param period: seconds between two looks.
    :param dead_after: seconds that a heartbeat must have stood still.
    :param orphans_period: seconds between two searches for lists of pools that nobody knows.
    :param jitter: called for the part of ``period`` to wait.
    """

    name = "reaper"

    def __init__(
        self,
        namespace: Namespace,
        own: str,
        *,
        period: float,
        dead_after: float,
        orphans_period: float,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._registry = Registry(namespace)
        self._recovery = Recovery(namespace)
        self._own = own
        self._period = period
        self._dead_after = dead_after
        self._orphans_period = orphans_period
        self._monotonic = monotonic
        self._looked_at: float | None = None
        self._searched_at: float | None = None
        self._suspects: dict[str, _Suspect] = {}
        self._orphans: dict[str, set[str]] = {}

    async def once(self) -> float:
        """Look at all heartbeats, and reap the pools whose has stood still for too long."""
        # What Redis refuses to write, it refuses to the others too: while it does, no heartbeat can be expected.
        await self._recovery.check_writable(self._own)
        registered = await self._registry.pool_ids()
        holders = await self._holders(registered)
        # A pool that is registered no more may beat all the same, or have beaten.
        heartbeats = await self._registry.raw_heartbeats(registered | holders.keys())
        passed = self._time_passed()
        suspects: dict[str, _Suspect] = {}
        for pool_id in heartbeats.keys() - {self._own}:
            beat = heartbeats[pool_id].heartbeat_at, heartbeats[pool_id].beats
            suspect = self._suspects.get(pool_id)
            if suspect is None or suspect.beat != beat:
                suspect = _Suspect(beat)
            else:
                suspect.still += passed
            suspects[pool_id] = suspect
        self._suspects = suspects
        dead = [pool_id for pool_id, suspect in suspects.items() if suspect.still >= self._dead_after]
        refusal: ErrorReply | None = None
        for pool_id in dead:
            heartbeat = heartbeats[pool_id]
            try:
                await self._reap(pool_id, heartbeat, {*heartbeat.job_names, *holders.get(pool_id, ())})
            except ErrorReply as error:
                refusal = error
        if refusal is not None:
            # Not before the others are reaped.
            raise refusal
        return self._period

    def _time_passed(self) -> float:
        """Return for how long the heartbeats were watched since the last look, seconds.

        No more than twice the period: what was longer was no watching.
        """
        now = self._monotonic()
        passed = 0.0 if self._looked_at is None else min(now - self._looked_at, 2 * self._period)
        self._looked_at = now
        return passed

    async def _holders(self, registered: set[str]) -> dict[str, set[str]]:
        """Return the queues in which each pool holds something, of which its heartbeat may not tell."""
        now = self._monotonic()
        if self._searched_at is None or now - self._searched_at >= self._orphans_period:
            self._searched_at = now
            known = {self._own, *registered}
            found = await self._recovery.in_progress_lists()
            self._orphans = {pool_id: names for pool_id, names in found.items() if pool_id not in known}
            for name in await self._recovery.fix_locks():
                logger.warning("queue %s: its lock was not what the pools hold of it; put right", shown(name))
        holders = await self._recovery.lock_holders()
        for pool_id, names in self._orphans.items():
            holders.setdefault(pool_id, set()).update(names)
        return holders

    async def _reap(self, pool_id: str, heartbeat: RawHeartbeat, names: Iterable[str]) -> None:
        """Take a dead pool's jobs back."""
        moved = await self._recovery.recover(pool_id, names, heartbeat.heartbeat_at, heartbeat.worker_ids)
        if moved is None:
            logger.warning("pool %s was silent for %.0f s, but lives", shown(pool_id), self._dead_after)
            return
        self._suspects.pop(pool_id, None)
        self._orphans.pop(pool_id, None)
        logger.warning("pool %s is dead; its jobs go back to the front of their queues: %d", shown(pool_id), moved)


def shown(text: str) -> str:
    """Return a name or id as it can be written, whatever bytes it was."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
