"""Deletes jobs: some of a location, or all of a queue or a sorted set. The keys that they hold become free, and their
records say that they were deleted.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

from .._jobs.hold import read_hold
from .._jobs.ids import make_identifier
from .._jobs.location import JOB_SETS, JobSet
from .._jobs.membership import MemberState, is_settlement, member_in
from ..models.job_status import JobState
from .batch_store import BatchStore
from .client import run_script
from .deleted_job import id_in, read_deleted, read_kept_results, record_keys
from .errors import ErrorReply
from .fair_queues import FairQueues
from .held_keys import HeldKeys
from .located_payload import LocatedPayload
from .member_calls import MemberCalls
from .namespace import Namespace
from .protocol import encode, value_of
from .slices import slices
from .step_records import StepRecords
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
        self._steps = StepRecords(namespace)
        self._batches = BatchStore(namespace)
        self._fair = FairQueues(namespace)
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
        deleted, kept = 0, {} if location == JobSet.DEAD else await read_kept_results(self._redis, self._keys)
        for some in slices(members, _SLICE):
            ends: list[bytes | int | float] = [UNDO_FOR if undo else 0, state.value.encode(), encode(reason)]
            deleted += await self._delete(location, some, undo, kept, ends)
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
        """Delete all jobs of a queue at once, and then their unique keys; return how many jobs there were.

        :param undo: a token of :meth:`UndoStore.prepare`, or empty to delete them for good.
        """
        client, kept = self._redis.client(), self._keys.deleted(undo or make_identifier())
        if fair := await self._fair.keys_of([name]):
            count, moved = 0, _SLICE
            while moved == _SLICE:
                moved = int(await run_script(client, "empty_fair_queue", [kept], [_SLICE, UNDO_FOR], fair=fair))
                count += moved
        else:
            count = await self._rename(self._keys.queue(name), kept, "LLEN")
        results = await read_kept_results(self._redis, self._keys)
        for start in range(0, count, _SLICE):
            payloads = await client.lrange(kept, start, start + _SLICE - 1)
            await self._held.free(payloads)
            await self._end_records(payloads, results)
            await self._steps.expire(list(map(id_in, payloads)), UNDO_FOR if undo else 0)
            await self._settle(payloads, MemberState.CANCELLED)
        if not undo:
            await client.unlink(kept)
        return count

    async def delete_all(self, location: str) -> int:
        """Delete all jobs of a sorted set at once, for good, and then their unique keys; return how many there were.
        Entries that settle members of batches, or by which flows go on, are scheduled again.
        """
        client, dropped = self._redis.client(), self._keys.deleted(make_identifier())
        count = await self._rename(self._keys.location(location), dropped, "ZCARD")
        results, left = await read_kept_results(self._redis, self._keys), 0
        for start in range(0, count, _SLICE):
            payloads = await client.zrange(dropped, start, start + _SLICE - 1)
            if kept := [each for each in payloads if is_settlement(each)]:
                await client.zadd(self._keys.scheduled, dict.fromkeys(kept, int(time.time())))
                payloads, left = [each for each in payloads if each not in kept], left + len(kept)
            await self._held.free(payloads, dead=location == JobSet.DEAD)
            await self._end_records(payloads, results)
            await self._steps.expire(list(map(id_in, payloads)), 0)
            await self._settle(payloads, MemberState.FAILED if location == JobSet.DEAD else MemberState.CANCELLED)
        # UNLINK frees the memory in another thread, however much it is.
        await client.unlink(dropped)
        return count - left

    async def _rename(self, key: str, name: str, count: str) -> int:
        """Rename a key, and let it expire; return how many elements it has.

        :param count: the command that counts them.
        """
        async with self._redis.client().pipeline(transaction=False) as pipe:
            pipe.rename(key, name)
            pipe.expire(name, UNDO_FOR)
            pipe.execute_command(count, name)
            renamed, _, counted = await pipe.execute(raise_on_error=False)
        if isinstance(renamed, ErrorReply) and "no such key" in str(renamed):
            return 0
        value_of(renamed)
        return int(value_of(counted))

    async def _end_records(self, payloads: Sequence[bytes], kept: Mapping[str, int]) -> None:
        """Write to the records of jobs that they were deleted."""
        ended = [each for each in (read_deleted(payload, kept) for payload in payloads) if each.seconds]
        if ended:
            args = [time.time(), *(value for each in ended for value in each)]
            await run_script(self._redis.client(), "end_deleted", record_keys(self._keys, payloads, kept), args)

    async def _settle(self, payloads: Sequence[bytes], state: MemberState) -> None:
        """Note in their batches that jobs were deleted."""
        await self._batches.settle([each for each in map(member_in, payloads) if each is not None], state)
