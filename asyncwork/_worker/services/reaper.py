"""The reaper: requeues the jobs of dead pools, while it is one of the active reapers of its namespace.

A pool is dead when its heartbeat has not changed for long enough, measured by this reaper's own monotonic clock. The
clocks of other hosts are not trusted. Time does not count while this reaper could not check (its process was stopped,
or Redis was away) or was not active, or while Redis accepted no writes, because then no pool could write a heartbeat.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass

from ..._jobs.printable import plural, printable
from ..._redis.active_reapers import ActiveReapers
from ..._redis.errors import REDIS_ERRORS, ErrorReply
from ..._redis.namespace import Namespace
from ..._redis.pool_registry import PoolRegistry, RawHeartbeat
from ..._redis.recovery import Recovery

logger = logging.getLogger("asyncwork")


@dataclass(slots=True)
class _LastBeat:
    """The last heartbeat that was read of a pool.

    :ivar beat: identifies the heartbeat: its time, and how many there were.
    :ivar age: for how many seconds it has not changed.
    """

    beat: tuple[bytes, bytes]
    age: float = 0.0


class Reaper:
    """Watches the heartbeats of the other pools of a namespace while it is active.

    :param own: this pool's id.
    :param period: seconds between two passes.
    :param dead_after: seconds for which a heartbeat must not have changed.
    :param orphans_period: seconds between two searches for the lists of pools that are not registered.
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
        self._registry = PoolRegistry(namespace)
        self._recovery = Recovery(namespace)
        self._active_reapers = ActiveReapers(namespace, own, period=period, dead_after=dead_after)
        self._own = own
        self._period = period
        self._dead_after = dead_after
        self._orphans_period = orphans_period
        self._monotonic = monotonic
        self._checked_at: float | None = None
        self._searched_at: float | None = None
        self._last_beats: dict[str, _LastBeat] = {}
        self._orphans: dict[str, set[str]] = {}

    async def run_once(self) -> float:
        """If this reaper is active, read all heartbeats, and reap the pools whose heartbeat has not changed for too
        long.
        """
        if not await self._active_reapers.join():
            # The last reading stays true: a heartbeat that is the same at its next pass has not changed.
            return self._period
        async with self._active_reapers.stay():
            await self._reap_dead()
        return self._period

    async def _reap_dead(self) -> None:
        try:
            dead = await self._find_dead()
        except ErrorReply:
            # Redis may allow another pool what it has refused here.
            with suppress(*REDIS_ERRORS):
                await self._active_reapers.leave()
            raise
        refusal: ErrorReply | None = None
        for pool_id, (heartbeat, names) in dead.items():
            try:
                await self._reap(pool_id, heartbeat, names)
            except ErrorReply as error:
                refusal = error
        if refusal is not None:
            # Raised only after the other pools are reaped.
            raise refusal

    async def _find_dead(self) -> dict[str, tuple[RawHeartbeat, set[str]]]:
        """Read all heartbeats; return those that have not changed for too long, by pool id, and the names of the queues
        in which their pools may hold jobs.
        """
        # Redis refuses the same writes of all pools: while it does, no heartbeat can be expected.
        await self._recovery.check_writable(self._own)
        registered = await self._registry.pool_ids()
        holders = await self._holders(registered)
        # A pool that is not registered any more may still write heartbeats, or have left one.
        heartbeats = await self._registry.raw_heartbeats(registered | holders.keys())
        passed = self._time_passed()
        last_beats: dict[str, _LastBeat] = {}
        for pool_id in heartbeats.keys() - {self._own}:
            beat = heartbeats[pool_id].heartbeat_at, heartbeats[pool_id].beats
            last = self._last_beats.get(pool_id)
            if last is None or last.beat != beat:
                last = _LastBeat(beat)
            else:
                last.age += passed
            last_beats[pool_id] = last
        self._last_beats = last_beats
        dead = [pool_id for pool_id, last in last_beats.items() if last.age >= self._dead_after]
        if dead:
            # Their shares of 0 are deleted, too.
            holders = _joined(holders, await self._recovery.lock_holders())
        return {
            pool_id: (heartbeats[pool_id], {*heartbeats[pool_id].job_names, *holders.get(pool_id, ())})
            for pool_id in dead
        }

    def _time_passed(self) -> float:
        """Return the seconds since the last pass that count as watching: at most twice the period, because after a
        longer gap this reaper was stopped itself.
        """
        now = self._monotonic()
        passed = 0.0 if self._checked_at is None else min(now - self._checked_at, 2 * self._period)
        self._checked_at = now
        return passed

    async def _holders(self, registered: set[str]) -> dict[str, set[str]]:
        """Return, by pool id, the queues in which the pool holds something. Its heartbeat may not list all of them."""
        now = self._monotonic()
        if self._searched_at is None or now - self._searched_at >= self._orphans_period:
            self._searched_at = now
            pools = {self._own, *registered}
            found = await self._recovery.in_progress_lists()
            found = _joined(found, await self._recovery.lock_holders())
            self._orphans = {pool_id: names for pool_id, names in found.items() if pool_id not in pools}
            for name in await self._recovery.fix_locks():
                text = "repaired the lock of queue %s: it was not the sum of the pools' shares"
                logger.warning(text, printable(name))
        return _joined(await self._recovery.lock_holders(idle=False), self._orphans)

    async def _reap(self, pool_id: str, heartbeat: RawHeartbeat, names: Iterable[str]) -> None:
        """Requeue the jobs of a dead pool and deregister it."""
        moved = await self._recovery.recover(pool_id, names, heartbeat.heartbeat_at, heartbeat.worker_ids)
        if moved is None:
            if not (await self._registry.raw_heartbeats([pool_id]))[pool_id].heartbeat_at:
                return  # another reaper has deregistered it
            text = "did not reap pool %s: it has written a heartbeat again, after more than %.0f s"
            logger.warning(text, printable(pool_id), self._dead_after)
            return
        self._last_beats.pop(pool_id, None)
        self._orphans.pop(pool_id, None)
        text = "requeued %s of dead pool %s at the front of their queues"
        logger.warning(text, plural(moved, "job"), printable(pool_id))


def _joined(one: dict[str, set[str]], other: dict[str, set[str]]) -> dict[str, set[str]]:
    return {each: one.get(each, set()) | other.get(each, set()) for each in {*one, *other}}
