"""Deletes jobs: some of a location, or all of a queue or a sorted set. The keys that they hold become free, and their
records say that they were deleted.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence

from .._jobs.hold import read_hold
from .._jobs.location import JOB_SETS, JobSet, queue_location
from .._jobs.membership import MemberState, is_settlement, member_in
from ..models.job_status import JobState
from .client import run_script
from .deleted_job import id_in, read_deleted, read_kept_results
from .fair_listing import FairListing
from .held_keys import HeldKeys
from .located_payload import LocatedPayload
from .member_calls import MemberCalls
from .namespace import Namespace
from .protocol import encode
from .slices import slices
from .undo import UNDO_FOR

# Jobs moved or deleted by one command; keeps every command far below 10 ms.
_SLICE = 100


class Deletions:
    """Deletes jobs of one namespace.

    Every method raises RedisError or OSError when Redis refuses or cannot be reached.
    """

    def __init__(self, namespace: Namespace) -> None:
        self._redis = namespace.redis
        self._keys = namespace.keys
        self._listing = FairListing(namespace)
        self._fair = self._listing.queues
        self._held = HeldKeys(namespace)

    async def delete(
        self,
        location: str,
        members: Sequence[LocatedPayload],
        undo: str = "",
        *,
        state: JobState = JobState.DELETED,
        reason: str = "",
    ) -> int:
        """Delete members of a location, and their unique keys; return how many were still there. Entries stay
        that settle members of batches, or by which flows go on.

        :param undo: a token of :meth:`UndoStore.prepare`, or empty to delete them for good.
        :param state: how they have ended, for their records.
        :param reason: why, for the same.
        """
        members = [each for each in members if not is_settlement(each.raw)]
        if location not in JOB_SETS:
            # So that they are restored in their order.
            members = sorted(members, key=lambda member: member.rank)
        # The record of a dead job says already how it has ended.
        deleted, kept = 0, {} if location == JobSet.DEAD else await self._kept_results()
        for some in slices(members, _SLICE):
            deleted += await self._delete(location, some, undo, kept, _ends(undo, state, reason))
        return deleted

    async def _delete(
        self,
        location: str,
        members: Sequence[LocatedPayload],
        undo: str,
        kept: Mapping[str, int],
        head: Sequence[bytes | int | float],
    ) -> int:
        """Delete some members of a location.

        :param head: the first arguments of the script.
        """
        of_batches = [(each, found) for each in members if (found := member_in(each.raw)) is not None]
        client, is_set, deleted = self._redis.client(), location in JOB_SETS, 0
        if of_batches:
            # A dead one has failed, also where its batch does not have that yet.
            state = MemberState.FAILED if location == JobSet.DEAD else MemberState.CANCELLED
            calls = MemberCalls(self._keys)
            for each, member in of_batches:
                calls.add(member, state, *self._deletion(location, [each], undo, kept, head))
            fair = await self._fair.keys_at(location, [each.raw for each, _ in of_batches])
            if is_set:
                reply = await run_script(client, "delete_members_from_set", calls.keys, calls.args, fair=fair)
            else:
                reply = await run_script(client, "delete_members_from_list", calls.keys, calls.args, fair=fair)
            deleted += reply[0]
            left_out = {id(each) for each, _ in of_batches}
            members = [each for each in members if id(each) not in left_out]
        if members:
            keys, args = self._deletion(location, members, undo, kept, head)
            fair = await self._fair.keys_at(location, [each.raw for each in members])
            if is_set:
                return deleted + int(await run_script(client, "delete_from_set", keys, args, fair=fair))
            deleted += int(await run_script(client, "delete_from_list", keys, args, fair=fair))
        return deleted

    def _deletion(
        self,
        location: str,
        members: Sequence[LocatedPayload],
        undo: str,
        kept: Mapping[str, int],
        head: Sequence[bytes | int | float],
    ) -> tuple[list[str], list[bytes | int | float]]:
        """Return the keys and the arguments of the script that deletes members of a location."""
        keys = [self._keys.location(location), self._keys.deleted(undo), self._keys.scheduled]
        args, now = list(head), time.time()
        for member in members:
            job_id, unique_keys = self._held.unique_keys_of(member.raw)
            ended, hold = read_deleted(member.raw, kept), read_hold(member.raw)
            if hold is not None and hold.dead_frees and location == JobSet.DEAD:
                # It has freed the key. A job with its id may hold it by now.
                hold = None
            keys.append(self._keys.steps(id_in(member.raw)))
            if hold is not None:
                job_id = encode(hold.job_id)
            args += (member.raw, job_id or ended.job_id, len(keys) + 1, len(keys) + len(unique_keys))
            keys += unique_keys
            if ended.seconds:
                keys.append(self._keys.job_record(ended.job_id.decode(errors="replace")))
            number = len(keys) if ended.seconds else 0
            args += (number, ended.seconds, now, ended.name, ended.enqueued_at, ended.attempts)
            args.append(0 if hold is None else len(keys) + 1)
            if hold is not None:
                keys += (self._keys.hold(hold.name, hold.digest), self._keys.queue(hold.name))
            if location not in JOB_SETS:
                args.append(member.rank)
        return keys, args

    async def empty_queue(self, name: str, undo: str) -> int:
        """Delete all jobs that are in a queue now; return how many were there.

        Each step is whole: a program that is killed meanwhile leaves the other jobs in their queue.

        :param undo: a token of :meth:`UndoStore.prepare`, or empty to delete them for good.
        """
        client, kept, deleted = self._redis.client(), await self._kept_results(), 0
        tenants = await self._listing.waiting(name) if await self._listing.is_fair(name) else []
        counts = {each.name: each.waiting for each in tenants}
        # Go pools push to the queue itself also where it is fair.
        counts[""] = await client.llen(self._keys.queue(name))
        for ranges in _ranges(counts):
            async with client.pipeline(transaction=False) as pipe:
                for tenant, left, count in ranges:
                    pipe.lrange(self._keys.tenants.list(name, tenant), -left, count - left - 1)
                found = await pipe.execute()
            # The jobs that were in front of them are deleted.
            members = [LocatedPayload(raw, None, rank) for payloads in found for rank, raw in enumerate(payloads)]
            deleted += await self._delete(queue_location(name), members, undo, kept, _ends(undo))
        return deleted

    async def delete_all(self, location: str) -> int:
        """Delete all jobs that are in a sorted set now, for good; return how many were there. Entries that settle
        members of batches, or by which flows go on, are scheduled, or stay so.

        Each step is whole, as in :meth:`empty_queue`.
        """
        client, key, start, deleted = self._redis.client(), self._keys.location(location), 0, 0
        kept = {} if location == JobSet.DEAD else await self._kept_results()
        for _ in range(0, await client.zcard(key), _SLICE):
            payloads = await client.zrange(key, start, start + _SLICE - 1)
            settlements = [each for each in payloads if is_settlement(each)]
            if location == JobSet.SCHEDULED:
                start += len(settlements)
            elif settlements:
                # In this order, none is lost; to settle a member twice does no harm.
                await client.zadd(self._keys.scheduled, dict.fromkeys(settlements, int(time.time())))
                await client.zrem(key, *settlements)
            members = [LocatedPayload(each, 0.0, 0) for each in payloads if not is_settlement(each)]
            if members:
                deleted += await self._delete(location, members, "", kept, _ends(""))
        return deleted

    async def _kept_results(self) -> Mapping[str, int]:
        return await read_kept_results(self._redis, self._keys)


def _ranges(counts: Mapping[str, int]) -> Iterator[list[tuple[str, int, int]]]:
    """Divide the jobs of a queue into parts that one command deletes; yield the ranges of lists in each part: the
    tenant, how far from the end of its list the range begins, and how many jobs it has.

    The newest come first, so that they are restored in their order. Jobs that come meanwhile are in front of them, and
    if some are fetched, as many that came take their places.

    :param counts: by tenant, how many of its jobs wait.
    """
    part, room = list[tuple[str, int, int]](), _SLICE
    for tenant, waiting in counts.items():
        left = waiting
        while left > 0:
            count = min(left, room)
            part.append((tenant, left, count))
            left, room = left - count, room - count
            if not room:
                yield part
                part, room = [], _SLICE
    if part:
        yield part


def _ends(undo: str, state: JobState = JobState.DELETED, reason: str = "") -> list[bytes | int | float]:
    """Return the first arguments of the scripts that delete jobs."""
    return [UNDO_FOR if undo else 0, state.value.encode(), encode(reason)]
