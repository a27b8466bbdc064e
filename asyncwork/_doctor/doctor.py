"""Examines a namespace that is at work, and mends what can be mended safely meanwhile."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping

from .._admin.query import EVERYTHING
from .._admin.search import Searcher
from .._jobs.clock import Clock, wall_clock
from .._jobs.location import QUARANTINE
from .._redis.admin import Admin
from .._redis.inspector import Inspector
from .._redis.namespace import Namespace
from .._redis.producer import UNIQUE_TTL
from .._redis.recovery import Recovery
from .._redis.registry import Registry
from ..models import Diagnosis, Repairs, UniqueKey
from .diagnosis import Look, Seen, Sign, conclude, holders, signs
from .reader import NamespaceReader, Traces
from .rules import Watch
from .survey import Survey, Surveyor

# Jobs, and unique keys, beyond which they are not gone through.
MOST_SURVEYED = 100_000

# Seconds between two looks.
_PAUSE = 1.0
# Seconds for which a unique key is left alone after it was written, where it does not tell whose it is.
_YOUNG = 60
# Seconds for which the quarantine is read.
_PATIENCE = 1.0


class Doctor:
    """Examines one namespace.

    Every method raises RedisError or OSError when Redis refuses or cannot be reached.
    """

    def __init__(
        self,
        namespace: Namespace,
        inspection: Inspector,
        searcher: Searcher,
        clock: Clock = wall_clock,
    ) -> None:
        self._redis = namespace.redis
        self._keys = namespace.keys
        self._inspection = inspection
        self._searcher = searcher
        self._clock = clock
        self._registry = Registry(namespace)
        self._recovery = Recovery(namespace)
        self._steering = Admin(namespace)
        self._checkup = NamespaceReader(namespace)
        self._surveyor = Surveyor(namespace, inspection)

    async def examine(self, seconds: float) -> Diagnosis:
        """Look at everything, and again and again at what looks wrong, for so many seconds at most.

        :raises RedisUnusable: when Redis cannot be reached, refuses, or is too old.
        """
        version = await self._redis.check()
        traces = await self._checkup.search(MOST_SURVEYED)
        look, watch, found = await self._watch(traces, seconds)
        queues = await self._inspection.queues(look.now, {})
        waiting = {**look.unknown, **{each.name: each.count for each in queues}}
        kinds = await self._searcher.error_kinds(QUARANTINE, EVERYTHING, "", _PATIENCE)
        sizes = await self._inspection.sizes(queues)
        running = sum(sum(each.lengths.values()) for each in look.holdings.values())
        jobs = sum(waiting.values()) + sizes.retry + sizes.scheduled + running
        survey, unclaimed = None, None
        if jobs <= MOST_SURVEYED:
            survey, unclaimed = await self._survey(traces, look, waiting)
        seen = Seen(
            version=version,
            wrong_types=await self._checkup.wrong_types(sorted(traces.wrong)),
            info=await self._inspection.server(),
            settings=await self._checkup.settings("save", "maxclients"),
            ahead=await self._ahead(),
            look=look,
            watch=watch,
            signs=found,
            queues=queues,
            waiting=waiting,
            later=None if survey is None else survey.names,
            unclaimed=unclaimed,
            quarantined=kinds,
            jobs=jobs,
        )
        return conclude(seen, self._keys)

    async def repair(self, cures: Repairs) -> AsyncIterator[str]:
        """Mend what can be mended while pools run, as long as it is as it was; yield a line for each thing done."""
        for pool_id, (beat, names) in cures.gone.items():
            if (await self._checkup.beats([pool_id]))[pool_id] != beat:
                continue
            moved = await self._recovery.recover(pool_id, names, beat)
            if moved is not None:
                yield f"pool {pool_id} is gone: jobs put back to the front of their queues: {moved}; it was forgotten"
        for name, pool_ids in cures.locks.items():
            lock = await self._checkup.rebuild_lock(name, pool_ids)
            yield f"the lock of {name} was counted anew, and is {lock}"
        if cures.unknown:
            await self._steering.register_names(cures.unknown)
            yield f"made known: {', '.join(cures.unknown)}"
        if cures.unclaimed:
            freed = await self._checkup.free_unclaimed(cures.unclaimed)
            yield f"unique keys freed that were held for no job: {freed}"

    async def _ahead(self) -> float:
        """Return by how many seconds this machine's clock is ahead of Redis's."""
        before = self._clock()
        now = await self._redis.now()
        return (before + self._clock()) / 2 - now

    async def _watch(self, traces: Traces, seconds: float) -> tuple[Look, Watch, list[Sign]]:
        """Look until nothing looks wrong any more, or time is up; return how it was last, and what looked wrong each
        time.
        """
        watch, deadline = Watch(), time.monotonic() + seconds
        look = await self._look(traces, watch)
        found = list(signs(look, watch))
        while found and (left := deadline - time.monotonic()) > 0:
            await asyncio.sleep(min(_PAUSE, left))
            look = await self._look(traces, watch)
            again = set(signs(look, watch))
            found = [each for each in found if each in again]
        return look, watch, found

    async def _look(self, traces: Traces, watch: Watch) -> Look:
        known = set(await self._inspection.names())
        candidates = {name: traces.holders.get(name, set()) for name in sorted(known | traces.queues)}
        holdings = await self._checkup.holdings(candidates, await self._registry.pool_ids())
        heartbeats, now = await self._registry.heartbeats(), await self._redis.now()
        watch.see(heartbeats, now)
        registered = {each.pool_id for each in heartbeats}
        return Look(
            now,
            heartbeats,
            holdings,
            beats=await self._checkup.beats(sorted(holders(holdings) - registered)),
            unknown=await self._checkup.lengths(sorted(traces.queues - known)),
        )

    async def _survey(
        self, traces: Traces, look: Look, waiting: Mapping[str, int]
    ) -> tuple[Survey, dict[str, UniqueKey] | None]:
        """Go through the jobs; return what they tell, and the unique keys that are held for none of them; ``None`` for
        these when there are too many.

        A job that waits all the while keeps its key as it was. Only keys that were there before, and are as they were
        after two ways through all jobs, none of which met their job, are held for none. A key that tells whose it is
        need not be old: the key of the next job is another's.
        """
        in_progress = {name: sorted(each.lengths) for name, each in look.holdings.items()}
        oldest = (look.now + UNIQUE_TTL - _YOUNG) * 1000
        keys = traces.unique_keys or []
        held = await self._checkup.unique_keys(keys)
        old = {key: each for key, each in held.items() if each.owner or each.end < oldest}
        survey = await self._surveyor.survey(waiting, in_progress)
        left = self._without_job(old, survey)
        if left:
            left = self._without_job(left, await self._surveyor.survey(waiting, in_progress))
            left = await self._checkup.unchanged(left)
        return survey, None if traces.unique_keys is None else left

    def _without_job(self, keys: Mapping[str, UniqueKey], survey: Survey) -> dict[str, UniqueKey]:
        unclear = tuple(f"{self._keys.unique}{name}:" for name in survey.unclear)
        return {
            key: each
            for key, each in keys.items()
            if not key.startswith(unclear) and not _is_claimed(each, survey.claimed.get(key, set()))
        }


def _is_claimed(key: UniqueKey, ids: set[str]) -> bool:
    return key.owner in ids if key.owner else bool(ids)
