"""Diagnoses a namespace while its pools run."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import replace

from .._admin.search import Searcher
from .._jobs.clock import Clock, wall_clock
from .._jobs.location import QUARANTINE
from .._redis.batch_store import BatchStore
from .._redis.cancels import Cancels
from .._redis.holds import Holds
from .._redis.inspector import Inspector
from .._redis.limits import Limits
from .._redis.metrics import MetricsStore
from .._redis.namespace import Namespace
from .._redis.periodic_changes import PeriodicChanges
from .._redis.pool_registry import PoolRegistry
from .._redis.rates import Rates
from .._redis.unique_value import UNIQUE_TTL
from ..models.diagnosis import Diagnosis, Repairs, UniqueKey
from ..models.queues import QueueInfo
from ..models.unique_holder import UniqueHolder
from .batch_reader import BatchReading, read_batches
from .batch_rules import BatchFindings, batch_findings, is_abandoned
from .diagnosis import make_diagnosis
from .flow_reader import FlowReading, read_flows
from .flow_rules import FlowFindings, flow_findings
from .heartbeats import HeartbeatHistory
from .namespace_keys import NamespaceKeys, read_keys, wrong_types
from .rate_rules import RatesReading
from .reader import NamespaceReader
from .readings import Finding, JobsReading, Reading, Readings, RecordsReading, ServerReading, findings
from .repairer import Repairer
from .rules import RECENT_MINUTES
from .unfinished_jobs import UnfinishedJobReader, UnfinishedJobs

# Jobs, and unique keys, beyond which the doctor does not read them all.
MOST_JOBS = 100_000
# The newest batches are read.
_MOST_BATCHES = 1000

# Seconds between two readings.
_PAUSE = 1.0
# Seconds for which a unique key without an owner is left alone after it was written.
_YOUNG = 60
# Seconds for which the quarantine is read.
_QUARANTINE_TIME = 1.0


class Doctor:
    """Diagnoses and repairs one namespace.

    Every method raises RedisError or OSError when Redis refuses or cannot be reached.
    """

    def __init__(
        self,
        namespace: Namespace,
        inspector: Inspector,
        searcher: Searcher,
        clock: Clock = wall_clock,
    ) -> None:
        self._namespace = namespace
        self._redis = namespace.redis
        self._keys = namespace.keys
        self._inspector = inspector
        self._searcher = searcher
        self._clock = clock
        self._registry = PoolRegistry(namespace)
        self._reader = NamespaceReader(namespace)
        self._rates = Rates(namespace)
        self._limits = Limits(namespace)
        self._repairer = Repairer(namespace, self._reader)
        self._cancels = Cancels(namespace)
        self._holds = Holds(namespace)
        self._changes = PeriodicChanges(namespace)
        self._batches = BatchStore(namespace)
        self._unfinished = UnfinishedJobReader(namespace, inspector)

    async def diagnose(self, seconds: float) -> Diagnosis:
        """Read everything once, and pools and queues repeatedly for up to ``seconds`` while something looks wrong.

        :raises RedisUnavailable: when Redis is too old.
        """
        version = await self._redis.check()
        scan = await read_keys(self._namespace, MOST_JOBS)
        last, history, confirmed = await self._confirm(scan, seconds)
        queues = await self._inspector.queues(last.now, {})
        waiting = {**last.unregistered, **{each.name: each.count for each in queues}}
        quarantined = await self._searcher.error_kinds(QUARANTINE, seconds=_QUARANTINE_TIME)
        count = sum(waiting.values()) + await self._other_jobs(queues, last)
        jobs = JobsReading(count, waiting, None, None)
        if count <= MOST_JOBS:
            jobs = await self._read_jobs(scan, last, jobs)
        jobs = replace(jobs, tenants=await self._read_tenants())
        readings = Readings(
            server=ServerReading(
                version=version,
                info=await self._inspector.server(),
                settings=await self._reader.settings("save", "maxclients"),
                ahead=await self._ahead(),
            ),
            wrong_types=await wrong_types(self._namespace, sorted(scan.wrong_types)),
            last=last,
            history=history,
            findings=confirmed,
            queues=queues,
            jobs=jobs,
            quarantined=quarantined,
            records=await self._read_records(scan),
            recent=await MetricsStore(self._namespace).recent_with_expired(
                [each.name for each in queues], RECENT_MINUTES
            ),
            rates=await self._read_rates(scan),
        )
        return make_diagnosis(readings, self._keys)

    async def repair(self, repairs: Repairs) -> AsyncIterator[str]:
        """Repair what is still as it was; yield a line for each repair."""
        async for line in self._repairer.repair(repairs):
            yield line

    async def _other_jobs(self, queues: list[QueueInfo], last: Reading) -> int:
        """Return how many jobs are retried, scheduled or in progress."""
        sizes = await self._inspector.sizes(queues)
        running = sum(sum(lock.in_progress.values()) for lock in last.locks.values())
        return sizes.retry + sizes.scheduled + running

    async def _ahead(self) -> float:
        """Return by how many seconds this machine's clock is ahead of Redis's."""
        before = self._clock()
        now = await self._redis.now()
        return (before + self._clock()) / 2 - now

    async def _confirm(self, scan: NamespaceKeys, seconds: float) -> tuple[Reading, HeartbeatHistory, list[Finding]]:
        """Read until nothing looks wrong any more, or time is up.

        :returns: the last reading, the heartbeats of all readings, and the findings that every reading had.
        """
        history, deadline = HeartbeatHistory(), time.monotonic() + seconds
        reading = await self._read(scan, history)
        confirmed = list(findings(reading, history))
        while confirmed and (left := deadline - time.monotonic()) > 0:
            await asyncio.sleep(min(_PAUSE, left))
            reading = await self._read(scan, history)
            current = set(findings(reading, history))
            confirmed = [each for each in confirmed if each in current]
        return reading, history, confirmed

    async def _read(self, scan: NamespaceKeys, history: HeartbeatHistory) -> Reading:
        registered = set(await self._inspector.names())
        holders = {name: scan.holders.get(name, set()) for name in sorted(registered | scan.queues)}
        locks = await self._reader.locks(holders, await self._registry.pool_ids())
        # After the locks, so that a pool that has just started is among the heartbeats.
        heartbeats, now = await self._registry.heartbeats(), await self._redis.now()
        history.record(heartbeats, now)
        holding = {pool_id for lock in locks.values() for pool_id in lock.holders}
        return Reading(
            now,
            heartbeats,
            locks,
            gone=await self._reader.heartbeats_at(sorted(holding - {each.pool_id for each in heartbeats})),
            unregistered=await self._reader.lengths(sorted(scan.queues - registered)),
            changes=await self._changes.read(),
        )

    async def _read_tenants(self) -> dict[str, int]:
        fair = self._inspector.fair.queues
        found = {name: await fair.wrong(name) for name in sorted(await fair.names())}
        return {name: count for name, count in found.items() if count}

    async def _read_rates(self, scan: NamespaceKeys) -> RatesReading:
        states, limits = await self._rates.states(sorted(scan.rates)), await self._limits.read()
        return RatesReading(await self._rates.read(), states, limits.invalid)

    async def _read_records(self, scan: NamespaceKeys) -> RecordsReading:
        keys = [self._keys.look_ahead_paused, *(scan.records or ()), *(scan.streams or ()), *(scan.steps or ())]
        complete = None not in (scan.records, scan.streams, scan.steps)
        return RecordsReading(await self._reader.kept_names(), await self._reader.unexpiring(keys), complete)

    async def _read_jobs(self, scan: NamespaceKeys, last: Reading, jobs: JobsReading) -> JobsReading:
        """Read all unfinished jobs; return what they have in them, and the unique keys and marks that are held for none
        of them; ``None`` for the keys when there are too many.

        A job that waits all the time keeps its key as it was. So a key is held for no job if it existed before all
        jobs were read twice, neither time its job was there, and it is still the same afterwards. A key with an owner
        may be young, because the key of the next job has another owner.

        The same holds for the mark of a job that is to be cancelled. A young one may be that of a cancel that has not
        ended. It holds for a wait, too: a job that is dead may be retried by hand, so the dead jobs are read as
        well; and for what is recorded of the steps of a job.
        """
        in_progress = {name: sorted(lock.in_progress) for name, lock in last.locks.items()}
        oldest = (last.now + UNIQUE_TTL - _YOUNG) * 1000
        held = await self._reader.unique_keys(scan.unique_keys or [])
        old = {key: each for key, each in held.items() if each.owner or each.end < oldest}
        marks = await self._cancels.read(sorted(await self._cancels.ids()))
        marked = {job_id: mark.at for job_id, mark in marks.items() if mark.at < last.now - _YOUNG}
        awaited = await self._reader.awaited(scan.records or ())
        stepped = await self._reader.stepped(scan.steps or ())
        batches = await read_batches(self._namespace, await self._batches.ids(0, _MOST_BATCHES))
        open_ids = {each.status.id for each in batches if not each.status.ended}
        flows = await read_flows(self._namespace, sorted(open_ids))
        marked = {job_id: at for job_id, at in marked.items() if job_id not in open_ids}
        holds = await self._old_holds(scan, last.now)
        wanted = {*marked, *awaited, *stepped}
        unfinished = await self._unfinished.read(jobs.waiting, in_progress, wanted, batch_ids=open_ids)
        left, lost = self._unclaimed(old, unfinished), marked.keys() - unfinished.ids
        awaited -= unfinished.ids
        stepped -= unfinished.ids
        holds = _unheld(holds, unfinished)
        successors = await self._forgotten(unfinished.successors)
        if left or lost or awaited or stepped or holds or successors:
            wanted, dead = {*lost, *awaited, *stepped}, bool(awaited or stepped or holds)
            again = await self._unfinished.read(jobs.waiting, in_progress, wanted, dead=dead)
            left = await self._reader.unchanged(self._unclaimed(left, again))
            lost = (lost - again.ids) & await self._cancels.ids()
            awaited = await self._reader.awaited([self._keys.job_record(each) for each in awaited - again.ids])
            stepped = await self._reader.stepped([self._keys.steps(each) for each in stepped - again.ids])
            holds = _unheld(holds, again)
            there = {each: key for each, key in successors.items() if each in again.successors}
            successors = await self._forgotten(there)
        unclaimed = None if scan.unique_keys is None else left
        cancels = {job_id: marked[job_id] for job_id in sorted(lost)}
        return replace(
            jobs,
            later=unfinished.names,
            unclaimed=unclaimed,
            cancels=cancels,
            awaited=tuple(sorted(awaited)),
            stepped=tuple(sorted(stepped)),
            batches=await self._check_batches(batches, flows, unfinished, jobs, in_progress, last.now),
            flows=await self._check_flows(flows),
            holds=holds,
            successors=sorted(successors),
        )

    async def _forgotten(self, successors: Mapping[str, str]) -> dict[str, str]:
        """Return the jobs, with their keys, that wait for the end of another, and that no holder of a key knows."""
        known = await self._holds.read({*successors.values()})
        return {
            job_id: key
            for job_id, key in successors.items()
            if (held := known.get(key)) is None or held.next_id != job_id
        }

    async def _check_batches(
        self,
        batches: Sequence[BatchReading],
        flows: Mapping[str, FlowReading],
        first: UnfinishedJobs,
        jobs: JobsReading,
        in_progress: Mapping[str, Sequence[str]],
        now: float,
    ) -> BatchFindings:
        """Return what is wrong with batches: what it was when they were read before all jobs, and still is.

        A node of a flow that waits for others is there, even if its job is lost.
        """
        for each in batches:
            if (flow := flows.get(each.status.id)) is not None:
                waiting = flow.waiting(is_open=each.status.open and not is_abandoned(each.status, now))
                first.members.setdefault(each.status.id, set()).update(waiting)
        found = batch_findings(batches, first.members, now)
        if not found:
            return found
        ids = {each.status.id for each in batches if not each.status.ended}
        again = await self._unfinished.read(jobs.waiting, in_progress, batch_ids=ids)
        seen = {each: first.members.get(each, set()) | again.members.get(each, set()) for each in ids}
        current = await read_batches(self._namespace, [each.status.id for each in batches])
        return found.still(batch_findings(current, seen, now))

    async def _check_flows(self, flows: Mapping[str, FlowReading]) -> FlowFindings:
        """Return what is wrong with flows: what it was when they were read first, and still is."""
        found = flow_findings(flows)
        if not found:
            return found
        return found.still(flow_findings(await read_flows(self._namespace, found.ids())))

    async def _old_holds(self, scan: NamespaceKeys, now: float) -> dict[str, UniqueHolder]:
        """Return the keys that jobs have held for a while. A job may go to its queue just before it takes its key.

        A time in the future was written when Redis's clock was ahead.
        """
        found = await self._holds.read(scan.holds)
        return {key: each for key, each in found.items() if not now - _YOUNG <= each.since <= now + _YOUNG}

    def _unclaimed(self, keys: Mapping[str, UniqueKey], jobs: UnfinishedJobs) -> dict[str, UniqueKey]:
        unclear = tuple(f"{self._keys.unique}{name}:" for name in jobs.unclear)
        return {
            key: each
            for key, each in keys.items()
            if not key.startswith(unclear) and not _is_claimed(each, jobs.claimed.get(key, set()))
        }


def _unheld(holds: Mapping[str, UniqueHolder], jobs: UnfinishedJobs) -> dict[str, UniqueHolder]:
    """Return the keys that are held by none of the jobs."""
    return {key: each for key, each in holds.items() if each.job_id not in jobs.holding.get(key, ())}


def _is_claimed(key: UniqueKey, ids: set[str]) -> bool:
    return key.owner in ids if key.owner else bool(ids)
