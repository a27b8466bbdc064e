"""Repairs a namespace while its pools run."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence

from .._jobs.membership import Member, MemberState
from .._jobs.printable import plural
from .._redis.batch_store import BatchStore
from .._redis.cancels import CancelMark, Cancels
from .._redis.client import run_script
from .._redis.fair_queues import FairQueues
from .._redis.flow_store import FlowStore
from .._redis.holds import Holds
from .._redis.limits import Limits
from .._redis.namespace import Namespace
from .._redis.queue_settings import QueueSettings
from .._redis.rates import Rates
from .._redis.recovery import Recovery
from .._redis.slices import slices
from .._redis.step_records import StepRecords
from ..models.diagnosis import FlowRepair, LostMembers, Repairs, UniqueKey
from .batch_reader import read_batches
from .commands import STEP, send
from .flow_reader import read_flows
from .flow_rules import NOTHING_WRONG, flow_findings
from .reader import END_SLACK_MS, NamespaceReader, lock_keys

# Seconds for which records and streams without an expiry are kept from then on, as are those of lost jobs.
_EXPIRY = 86_400
_LOST = "it did not exist when the namespace was repaired; a pool that keeps no results may have run it"

# Why a batch without members is cancelled.
_ABANDONED = "its creator had added no member in an hour"


class Repairer:
    """Repairs what a diagnosis found, as far as it is still so."""

    def __init__(self, namespace: Namespace, reader: NamespaceReader) -> None:
        self._namespace = namespace
        self._redis = namespace.redis
        self._batches = BatchStore(namespace)
        self._flows = FlowStore(namespace)
        self._keys = namespace.keys
        self._reader = reader
        self._recovery = Recovery(namespace)
        self._settings = QueueSettings(namespace)
        self._cancels = Cancels(namespace)
        self._steps = StepRecords(namespace)
        self._fair = FairQueues(namespace)
        self._holds = Holds(namespace)
        self._rates = Rates(namespace)
        self._limits = Limits(namespace)

    async def repair(self, repairs: Repairs) -> AsyncIterator[str]:
        """Repair what is still as it was; yield a line for each repair.

        :raises RedisError, OSError: when Redis refuses or cannot be reached.
        """
        for pool_id, (heartbeat_at, names) in repairs.gone.items():
            if (await self._reader.heartbeats_at([pool_id]))[pool_id] != heartbeat_at:
                continue
            moved = await self._recovery.recover(pool_id, names, heartbeat_at)
            if moved is not None:
                jobs = plural(moved, "job")
                yield f"requeued {jobs} of dead pool {pool_id} at the front of their queues; removed the pool"
        for name, pool_ids in repairs.locks.items():
            yield f"recomputed the lock of {name}: it is {await self._recompute_lock(name, pool_ids)}"
        for name in repairs.tenants:
            count = await self._fair.review(name, tenants=await self._fair.listed(name))
            yield f"corrected the state of {plural(count, 'tenant')} of the fair queue {name}"
        if repairs.unknown:
            await self._settings.register_names(repairs.unknown)
            yield f"registered the names of queues: {', '.join(repairs.unknown)}"
        if repairs.unclaimed:
            yield f"freed unique keys that were held for no job: {await self._free(repairs.unclaimed)}"
        if repairs.holds:
            yield f"freed keys that were held by jobs that do not exist: {await self._holds.free(repairs.holds)}"
        if repairs.cancels:
            marks = await self._cancels.read(list(repairs.cancels))
            same = [job_id for job_id, mark in marks.items() if mark.at == repairs.cancels[job_id]]
            yield f"removed the marks of cancelled jobs that do not exist: {len(await self._cancels.clear(same))}"
        if repairs.awaited:
            yield f"ended the waits for jobs that do not exist: {await self._end_waits(repairs.awaited)}"
        if repairs.abandoned:
            for batch_id in repairs.abandoned:
                await self._batches.close(batch_id, CancelMark.new(_ABANDONED, ""))
            yield f"closed batches, so that they end with their members: {', '.join(repairs.abandoned)}"
        for batch_id, lost in repairs.lost_members.items():
            settled = await self._settle_lost(batch_id, lost)
            yield f"counted members of batch {batch_id} as failed that are nowhere: {settled}"
        for flow_id, repair in repairs.flows.items():
            yield f"had flow {flow_id} go on: corrected {await self._repair_flow(flow_id, repair)} nodes and counts"
        if repairs.unexpiring:
            replies = await send(self._redis, [("EXPIRE", key, _EXPIRY) for key in repairs.unexpiring])
            yield f"had keys expire in a day that should expire: {replies.count(1)}"
        if repairs.stepped:
            expiring = await self._steps.expire(repairs.stepped, _EXPIRY)
            yield f"had the steps of jobs expire in a day that do not exist: {expiring}"
        if repairs.rates:
            yield f"removed rates that cannot be read: {await self._rates.remove_invalid(repairs.rates)}"
        if repairs.rate_states:
            await send(self._redis, [("DEL", self._keys.rate(name)) for name in repairs.rate_states])
            yield f"removed what was written about tokens: {', '.join(repairs.rate_states)}"

        if repairs.limits:
            removed = await self._limits.remove_invalid(repairs.limits)
            yield f"removed fields of shared limits that cannot be read: {removed}"

    async def _end_waits(self, job_ids: Sequence[str]) -> int:
        """Write to the records of jobs that they were lost, unless they say how the jobs have ended; return how many
        there were.
        """
        ended = 0
        for some in slices(job_ids, STEP):
            keys = [self._keys.job_record(each) for each in some]
            ended += int(await run_script(self._redis.client(), "end_lost", keys, [_EXPIRY, _LOST, *some]))
        return ended

    async def _settle_lost(self, batch_id: str, lost: LostMembers) -> int:
        """Count members of a batch as failed if no other has ended or was added meanwhile; return how many."""
        found = await read_batches(self._namespace, [batch_id])
        if [(each.status.total, each.status.left) for each in found] != [(lost.total, lost.left)]:
            return 0
        await self._batches.settle([Member(batch_id, number) for number in lost.numbers], MemberState.FAILED)
        return len(lost.numbers)

    async def _repair_flow(self, flow_id: str, repair: FlowRepair) -> int:
        """Correct what is still as it was in a flow; return how many nodes and sets of nodes."""
        found = await read_flows(self._namespace, [flow_id])
        flow = found.get(flow_id)
        if flow is None:
            return 0
        wrong = flow_findings(found).repairs().get(flow_id, NOTHING_WRONG)
        sets = [
            (each.span.first, each.text, each.after)
            for each in flow.sets
            if repair.sets.get(each.span.first) == each.text == wrong.sets.get(each.span.first)
        ]
        again = set(repair.stuck) & set(wrong.stuck)
        stuck = [(number, each.span.first) for each in flow.sets for number in each.numbers if number in again]
        unreadable = sorted(set(repair.lost_jobs) & flow.unreadable)
        return await self._flows.repair(flow_id, sets, stuck, unreadable)

    async def _recompute_lock(self, name: str, pool_ids: Sequence[str]) -> int:
        """Set these pools' shares of a lock to their numbers of jobs in progress, and the lock to the sum of all
        shares; return it.
        """
        keys = lock_keys(self._keys, name, pool_ids)
        return int(await run_script(self._redis.client(), "rebuild_lock", keys, pool_ids))

    async def _free(self, unclaimed: Mapping[str, UniqueKey]) -> int:
        """Delete the unique keys whose owner and end are still the same; return how many."""
        freed = 0
        for some in slices(list(unclaimed), STEP):
            args = [END_SLACK_MS, *(part for key in some for part in unclaimed[key])]
            freed += int(await run_script(self._redis.client(), "free_unclaimed", some, args))
        return freed
