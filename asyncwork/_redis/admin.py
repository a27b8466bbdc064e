"""Changes that an operator makes to a namespace: pauses, concurrency limits, deletions and their undoing.

One file for pauses, limits and deletions, because each is a few commands on the same keys.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from typing import NamedTuple

from .._jobs.hold import read_hold
from .._jobs.ids import make_identifier
from .._jobs.location import JOB_SETS, JobSet, queue_name
from .._jobs.membership import MemberState, member_in
from .._jobs.step_names import KEPT_FOR
from .._json import codec
from ..errors import PayloadError
from ..models.job_status import JobState
from ..rate import Rate
from .batch_store import BatchStore
from .batches import batches
from .client import run_script
from .deleted_job import id_in, read_deleted
from .errors import ErrorReply, is_out_of_memory, is_wrong_type
from .fair_queues import FairQueues, tenanted_name
from .held_keys import HeldKeys
from .limits import Limits
from .member import Member
from .member_calls import MemberCalls
from .namespace import Namespace
from .new_jobs import UNIQUE_TTL
from .protocol import decode, encode, read_count, value_of
from .rates import Rates
from .rule_requests import SUCCESSOR_AT
from .step_records import StepRecords
from .unique_value import owned_by

# Seconds for which a deletion can be undone.
UNDO_FOR = 600
# Jobs moved or deleted by one command; keeps every command far below 10 ms.
_BATCH = 100

# How many deletions are listed, the newest ones, and how many characters of a user's name.
_MAX_DELETIONS = 1_000
_MAX_NAME = 200


class KeptDeletion(NamedTuple):
    """A deletion that can be undone.

    :ivar token: identifies it, see :meth:`Admin.prepare_undo`.
    :ivar location: the location of the jobs.
    :ivar who: the user who deleted them.
    :ivar left: seconds for which it can be undone.
    :ivar jobs: how many jobs were deleted.
    :ivar first: the payload of the first of them.
    :ivar at: the score of the first in its sorted set; ``None`` in a list.
    """

    token: str
    location: str
    who: str
    left: float
    jobs: int
    first: bytes
    at: float | None


class Admin:
    """Changes one namespace.

    Every method raises RedisError or OSError when Redis refuses or cannot be reached.
    """

    def __init__(self, namespace: Namespace) -> None:
        self._redis = namespace.redis
        self._keys = namespace.keys
        self._steps = StepRecords(namespace)
        self._batches = BatchStore(namespace)
        self._fair = FairQueues(namespace)
        self._rates = Rates(namespace)
        self._limits = Limits(namespace)
        self._held = HeldKeys(namespace)

    async def pause(self, name: str) -> None:
        """Pause a queue, so that no job is fetched from it."""
        await self._redis.client().set(self._keys.paused(name), 1)  # which also ends the end of a rest

    async def unpause(self, name: str) -> None:
        """Resume a queue that is paused or rests."""
        await self._redis.client().delete(self._keys.paused(name))
        await self._rates.wake_pools()

    async def set_max_concurrency(self, name: str, limit: int) -> None:
        """Set how many jobs of a name may run at once; 0 for any number."""
        await self._redis.client().set(self._keys.max_concurrency(name), limit)

    async def set_max_waiting(self, name: str, limit: int | None) -> None:
        """Set how many jobs may wait in a queue; 0 for any number, ``None`` for what enqueuers have."""
        if limit is None:
            await self._redis.client().hdel(self._keys.max_waiting, name)
        else:
            await self._redis.client().hset(self._keys.max_waiting, name, limit)

    async def set_rate(self, name: str, rate: Rate | None) -> None:
        """Set the rate of a queue, whatever the code says; ``None`` for any number of jobs."""
        await self._rates.set_rate(name, rate)

    async def reset_rate(self, name: str) -> None:
        """Have the rate of the code hold again."""
        await self._rates.reset_rate(name)

    async def forget_job(self, name: str) -> bool:
        """Forget a job name unless jobs of that name wait or run; return whether it was forgotten."""
        keys = self._keys
        if name in await self._fair.names() and not await self._fair.forget(name):
            return False
        related = [keys.paused(name), keys.lock(name), keys.lock_info(name), keys.max_concurrency(name)]
        own = [keys.queue_options, keys.max_waiting, keys.rate(name), keys.rates]
        all_keys = [keys.known_jobs, keys.queue(name), *related, *own]
        is_forgotten = bool(await run_script(self._redis.client(), "forget_job", all_keys, [name]))
        if is_forgotten:
            await self._limits.forget(name)
            fields = [encode(f"{what}:{name}") for what in ("dropped", "replaced")]
            # A key of another type is for the doctor.
            with suppress(ErrorReply):
                await self._redis.client().hdel(keys.duplicates, *fields)
        return is_forgotten

    async def register_names(self, names: Sequence[str]) -> None:
        """Register job names, so that their queues are listed. Does nothing if Redis's memory is full or the key of the
        names holds another type.
        """
        if names:
            try:
                await self._redis.client().sadd(self._keys.known_jobs, *names)
            except ErrorReply as error:
                if not (is_out_of_memory(error) or is_wrong_type(error)):
                    raise

    # Deletions and their undoing

    async def prepare_undo(self, location: str, who: str = "") -> str:
        """Return a token by which deletions from a location can be undone for ten minutes; an empty one when Redis's
        memory is full, so that deleted jobs cannot be kept.

        :param who: the user who deletes, for :meth:`deletions`.
        """
        token, now, index = make_identifier(), time.time(), self._keys.deletions
        entry = b'{"undo":%b,"who":%b}' % (
            codec.encode_string(token),
            codec.encode_string(who[:_MAX_NAME]),
        )
        async with self._redis.client().pipeline(transaction=False) as pipe:
            pipe.set(self._keys.deleted_from(token), location, ex=UNDO_FOR)
            pipe.zadd(index, {entry: now})
            pipe.zremrangebyscore(index, "-inf", now - UNDO_FOR)
            pipe.zremrangebyrank(index, 0, -_MAX_DELETIONS - 1)
            pipe.expire(index, UNDO_FOR)
            # The index may fail: the deletion can be undone all the same.
            kept, *_ = await pipe.execute(raise_on_error=False)
        if is_out_of_memory(kept):
            return ""
        if isinstance(kept, Exception):
            raise kept
        return token

    async def deletions(self, most: int) -> list[KeptDeletion]:
        """Return the last deletions that can be undone, the newest first, ``most`` at most."""
        client, keys = self._redis.client(), self._keys
        entries = await client.zrange(keys.deletions, 0, _MAX_DELETIONS - 1, desc=True)
        listed = [each for each in map(_read_deletion, entries) if each is not None]
        found: list[KeptDeletion] = []
        for start in range(0, len(listed), _BATCH):
            chunk = listed[start : start + _BATCH]
            async with client.pipeline(transaction=False) as pipe:
                for token, _ in chunk:
                    pipe.get(keys.deleted_from(token))
                    pipe.pttl(keys.deleted_from(token))
                    pipe.llen(keys.deleted(token))
                    pipe.lrange(keys.deleted(token), 0, 1)
                replies = await pipe.execute()
            for number, (token, who) in enumerate(chunk):
                location, left, length, first = replies[4 * number : 4 * number + 4]
                location = decode(location or b"")
                in_set = location in JOB_SETS
                # It was undone, maybe right now, or is too old, or nothing was deleted.
                if not location or left <= 0 or len(first) <= in_set:
                    continue
                raw, at = (first[1], float(first[0])) if in_set else (first[0], None)
                count = length // 2 if in_set else length
                found.append(KeptDeletion(token, location, who, left / 1000, count, raw, at))
            if len(found) >= most:
                break
        return found[:most]

    async def delete(
        self,
        location: str,
        members: Sequence[Member],
        undo: str = "",
        *,
        state: JobState = JobState.DELETED,
        reason: str = "",
    ) -> int:
        """Delete members of a location, and their unique keys; return how many were still there.

        :param undo: a token of :meth:`prepare_undo`, or empty to delete them for good.
        :param state: how they have ended, for their records.
        :param reason: why, for the same.
        """
        if location not in JOB_SETS:
            # So that they are restored in their order.
            members = sorted(members, key=lambda member: member.rank)
        # The record of a dead job says already how it has ended.
        deleted, kept = 0, {} if location == JobSet.DEAD else await self._kept_results()
        for some in batches(members, _BATCH):
            ends: list[bytes | int | float] = [UNDO_FOR if undo else 0, state.value.encode(), encode(reason)]
            deleted += await self._delete(location, some, undo, kept, ends)
        return deleted

    async def _delete(
        self,
        location: str,
        members: Sequence[Member],
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
            fair = await self._fair_keys(location, [each.raw for each, _ in of_batches])
            if is_set:
                reply = await run_script(client, "delete_members", calls.keys, calls.args, fair=fair)
            else:
                reply = await run_script(client, "delete_members_from_list", calls.keys, calls.args, fair=fair)
            deleted += reply[0]
            left_out = {id(each) for each, _ in of_batches}
            members = [each for each in members if id(each) not in left_out]
        if members:
            keys, args = self._deletion(location, members, undo, kept, head)
            fair = await self._fair_keys(location, [each.raw for each in members])
            if is_set:
                return deleted + int(await run_script(client, "delete", keys, args, fair=fair))
            deleted += int(await run_script(client, "delete_from_list", keys, args, fair=fair))
        return deleted

    def _deletion(
        self,
        location: str,
        members: Sequence[Member],
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

    async def _fair_keys(self, location: str, payloads: Sequence[bytes]) -> list[tuple[str, ...]]:
        """Return the keys of the fair queues that a deletion from a location concerns."""
        if name := queue_name(location):
            return await self._fair.keys_of([name])
        return await self._fair.keys_of(sorted({tenanted_name(payload) for payload in payloads} - {""}))

    async def _kept_results(self) -> Mapping[str, int]:
        """Return for how long results are kept, seconds by job name; names whose results are not are missing."""
        try:
            found = await self._redis.client().hgetall(self._keys.results)
        except ErrorReply as error:
            if not is_wrong_type(error):
                raise
            return {}
        return {decode(name): seconds for name, value in found.items() if (seconds := read_count(value))}

    async def _end_records(self, payloads: Sequence[bytes], kept: Mapping[str, int]) -> None:
        """Write to the records of jobs that they were deleted."""
        ended = [each for each in (read_deleted(payload, kept) for payload in payloads) if each.seconds]
        if ended:
            args = [time.time(), *(value for each in ended for value in each)]
            await run_script(self._redis.client(), "end_deleted", self._records(payloads, kept), args)

    async def _settle(self, payloads: Sequence[bytes], state: MemberState) -> None:
        """Note in their batches that jobs were deleted."""
        await self._batches.settle([each for each in map(member_in, payloads) if each is not None], state)

    def _records(self, payloads: Iterable[bytes], kept: Mapping[str, int]) -> list[str]:
        """Return the keys of the records of those jobs that have one."""
        recorded = (read_deleted(payload, kept) for payload in payloads)
        return [self._keys.job_record(each.job_id.decode(errors="replace")) for each in recorded if each.seconds]

    async def empty_queue(self, name: str, undo: str) -> int:
        """Delete all jobs of a queue at once, and then their unique keys; return how many jobs there were.

        :param undo: a token of :meth:`prepare_undo`, or empty to delete them for good.
        """
        client, kept = self._redis.client(), self._keys.deleted(undo or make_identifier())
        if fair := await self._fair.keys_of([name]):
            count, moved = 0, _BATCH
            while moved == _BATCH:
                moved = int(await run_script(client, "empty_fair_queue", [kept], [_BATCH, UNDO_FOR], fair=fair))
                count += moved
        else:
            count = await self._rename(self._keys.queue(name), kept, "LLEN")
        results = await self._kept_results()
        for start in range(0, count, _BATCH):
            payloads = await client.lrange(kept, start, start + _BATCH - 1)
            await self._held.free(payloads)
            await self._end_records(payloads, results)
            await self._steps.expire(list(map(id_in, payloads)), UNDO_FOR if undo else 0)
            await self._settle(payloads, MemberState.CANCELLED)
        if not undo:
            await client.unlink(kept)
        return count

    async def restore(self, undo: str) -> int:
        """Restore deleted jobs and their unique keys; return how many were restored."""
        client, kept = self._redis.client(), self._keys.deleted(undo)
        location = await client.get(self._keys.deleted_from(undo))
        if location is None:
            return 0
        location = decode(location)
        results, restored, in_set = await self._kept_results(), 0, location in JOB_SETS
        while payloads := await client.lrange(kept, 0, _BATCH - 1):
            payloads = payloads[1::2] if in_set else payloads
            keys = [kept, self._keys.location(location)]
            args = self._restored(keys, payloads, results, location == JobSet.DEAD)
            fair = await self._fair_keys(location, payloads)
            if in_set:
                restored += int(await run_script(client, "restore", keys, args, fair=fair))
            else:
                restored += int(await run_script(client, "restore_to_list", keys, args, fair=fair))
            await self._steps.expire(list(map(id_in, payloads)), KEPT_FOR, gone=False)
            async with client.pipeline(transaction=False) as pipe:
                for job_id, key in self._held.unique_keys(payloads):
                    pipe.set(key, owned_by(job_id), ex=UNIQUE_TTL, nx=True)
                await pipe.execute()
        return restored

    def _restored(
        self, keys: list[str], payloads: Sequence[bytes], kept: Mapping[str, int], dead: bool
    ) -> list[bytes | int]:
        """Return the arguments of the scripts that restore jobs, and append the keys of their records and holds.

        :param dead: whether they are restored to the dead jobs. Only some of these hold a key.
        """
        numbers: dict[str, int] = {}
        for record in self._records(payloads, kept):
            keys.append(record)
            numbers.setdefault(record, len(keys))
        args: list[bytes | int] = [len(payloads), len(keys) - 2, SUCCESSOR_AT]
        for payload in payloads:
            hold = read_hold(payload)
            if hold is not None and not (dead and hold.dead_frees):
                keys.append(self._keys.hold(hold.name, hold.digest))
                number = numbers.get(self._keys.job_record(hold.job_id), 0)
                args += (payload, encode(hold.job_id), encode(hold.until), len(keys), number)
        return args

    async def delete_all(self, location: str) -> int:
        """Delete all jobs of a sorted set at once, for good, and then their unique keys; return how many there were."""
        client, dropped = self._redis.client(), self._keys.deleted(make_identifier())
        count = await self._rename(self._keys.location(location), dropped, "ZCARD")
        results = await self._kept_results()
        for start in range(0, count, _BATCH):
            payloads = await client.zrange(dropped, start, start + _BATCH - 1)
            await self._held.free(payloads, dead=location == JobSet.DEAD)
            await self._end_records(payloads, results)
            await self._steps.expire(list(map(id_in, payloads)), 0)
            await self._settle(payloads, MemberState.FAILED if location == JobSet.DEAD else MemberState.CANCELLED)
        # UNLINK frees the memory in another thread, however much it is.
        await client.unlink(dropped)
        return count

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


def _read_deletion(raw: bytes) -> tuple[str, str] | None:
    """Return the token and the user of a deletion; ``None`` for anything else."""
    try:
        entry = codec.decode(raw)
        token, who = entry["undo"], entry["who"]
    except (PayloadError, KeyError, TypeError):
        return None
    return (token, who) if isinstance(token, str) and isinstance(who, str) else None
