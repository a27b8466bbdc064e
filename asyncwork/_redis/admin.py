"""What those who steer a namespace say to Redis."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from typing import NamedTuple

from .._jobs.ids import make_identifier
from .._jobs.location import JOB_SETS
from .._json import codec
from ..errors import ArgumentsError, PayloadError
from ..job import Job
from .client import run_script
from .errors import ErrorReply, is_out_of_memory, is_wrong_type
from .inspector import Member
from .namespace import Namespace
from .producer import UNIQUE_TTL
from .unique_value import held_for

# Seconds for which a deletion can be undone.
UNDO_FOR = 600
# Jobs moved or deleted by one command; keeps every command far below 10 ms.
_BATCH = 100

# Deletions that are remembered, the newest ones, and characters of the name of whoever deleted.
_MOST_REMEMBERED = 1_000
_LONGEST_WHO = 200

# What the payload of every unique job has, and few others: most need not be read as JSON.
MAY_BE_UNIQUE = re.compile(rb'"unique"\s*:\s*true')


class KeptDeletion(NamedTuple):
    """What was deleted at once and can be brought back.

    :ivar token: of :meth:`Admin.prepare_undo`.
    :ivar left: seconds for which it can be brought back.
    :ivar jobs: how many.
    :ivar first: the payload of the first of them.
    :ivar at: its score in a sorted set; ``None`` in a list.
    """

    token: str
    place: str
    who: str
    left: float
    jobs: int
    first: bytes
    at: float | None


class Admin:
    """A namespace, from the side of those who change it by hand.

    Every method raises RedisError or OSError when Redis refuses or cannot be reached.
    """

    def __init__(self, namespace: Namespace) -> None:
        self._redis = namespace.redis
        self._keys = namespace.keys

    async def pause(self, name: str) -> None:
        """Have nothing taken from a queue."""
        await self._redis.client().set(self._keys.paused(name), 1)

    async def unpause(self, name: str) -> None:
        """Have jobs taken from a queue again."""
        await self._redis.client().delete(self._keys.paused(name))

    async def set_max_concurrency(self, name: str, cap: int) -> None:
        """Set how many jobs of a name may run at once; 0 for any number."""
        await self._redis.client().set(self._keys.max_concurrency(name), cap)

    async def forget_job(self, name: str) -> bool:
        """Forget a job name; return whether nothing of that name waits or runs, without which it is kept."""
        keys = self._keys
        beside = [keys.paused(name), keys.lock(name), keys.lock_info(name), keys.max_concurrency(name)]
        args = [name]
        return bool(
            await run_script(self._redis.client(), "forget_job", [keys.known_jobs, keys.queue(name), *beside], args)
        )

    async def know(self, names: Sequence[str]) -> None:
        """Add names to those that are known, so that their queues are seen; unless Redis's memory is full, or their key
        is no set.
        """
        if names:
            try:
                await self._redis.client().sadd(self._keys.known_jobs, *names)
            except ErrorReply as error:
                if not (is_out_of_memory(error) or is_wrong_type(error)):
                    raise

    # Deletion, and its undoing

    async def prepare_undo(self, place: str, who: str = "") -> str:
        """Return a token by which deletions from a place can be undone for ten minutes; an empty one when Redis's
        memory is full, and nothing can be kept.

        :param who: deletes, for :meth:`deletions`.
        """
        token, now, index = make_identifier(), time.time(), self._keys.deletions
        told = b'{"undo":%b,"who":%b}' % (
            codec.encode_string(token),
            codec.encode_string(who[:_LONGEST_WHO]),
        )
        async with self._redis.client().pipeline(transaction=False) as pipe:
            pipe.set(self._keys.deleted_from(token), place, ex=UNDO_FOR)
            pipe.zadd(index, {told: now})
            pipe.zremrangebyscore(index, "-inf", now - UNDO_FOR)
            pipe.zremrangebyrank(index, 0, -_MOST_REMEMBERED - 1)
            pipe.expire(index, UNDO_FOR)
            # What is only told may fail: the deletion can be undone all the same.
            kept, *_ = await pipe.execute(raise_on_error=False)
        if is_out_of_memory(kept):
            return ""
        if isinstance(kept, Exception):
            raise kept
        return token

    async def deletions(self, most: int) -> list[KeptDeletion]:
        """Return the last deletions that can be undone, the newest first.

        :param most: how many at most.
        """
        client, keys = self._redis.client(), self._keys
        told = await client.zrange(keys.deletions, 0, _MOST_REMEMBERED - 1, desc=True)
        known = [each for each in map(_read_deletion, told) if each is not None]
        found: list[KeptDeletion] = []
        for start in range(0, len(known), _BATCH):
            chunk = known[start : start + _BATCH]
            async with client.pipeline(transaction=False) as pipe:
                for token, _ in chunk:
                    pipe.get(keys.deleted_from(token))
                    pipe.pttl(keys.deleted_from(token))
                    pipe.llen(keys.deleted(token))
                    pipe.lrange(keys.deleted(token), 0, 1)
                answers = await pipe.execute()
            for number, (token, who) in enumerate(chunk):
                place, left, length, first = answers[4 * number : 4 * number + 4]
                place = (place or b"").decode(errors="surrogateescape")
                shelved = place in JOB_SETS
                # It was undone, maybe right now, is too old, or nothing was there to be deleted.
                if not place or left <= 0 or len(first) <= shelved:
                    continue
                raw, at = (first[1], float(first[0])) if shelved else (first[0], None)
                count = length // 2 if shelved else length
                found.append(KeptDeletion(token, place, who, left / 1000, count, raw, at))
            if len(found) >= most:
                break
        return found[:most]

    async def delete(self, place: str, members: Sequence[Member], undo: str = "") -> int:
        """Delete members of a place, and free what they keep unique; return how many were still there.

        :param undo: a token of :meth:`prepare_undo`, or empty: then they are gone for good.
        """
        if place not in JOB_SETS:
            # So that undoing it brings them back in their order.
            members = sorted(members, key=lambda member: member.rank)
        gone = 0
        for start in range(0, len(members), _BATCH):
            gone += await self._delete(place, members[start : start + _BATCH], undo)
        return gone

    async def _delete(self, place: str, members: Sequence[Member], undo: str) -> int:
        keys = [self._keys.place(place), self._keys.deleted(undo)]
        args: list[bytes | int] = [UNDO_FOR if undo else 0]
        for member in members:
            job_id, held = self._held_by(member.raw)
            args += (member.raw, job_id, len(keys) + 1, len(keys) + len(held))
            keys += held
            if place not in JOB_SETS:
                args.append(member.rank)
        client = self._redis.client()
        if place in JOB_SETS:
            return int(await run_script(client, "delete", keys, args))
        return int(await run_script(client, "delete_from_list", keys, args))

    async def empty_queue(self, name: str, undo: str) -> int:
        """Take everything out of a queue at once, and then free what it kept unique; return how many jobs that were.

        :param undo: a token of :meth:`prepare_undo`, or empty.
        """
        client, kept = self._redis.client(), self._keys.deleted(undo or make_identifier())
        count = await self._take_out(self._keys.queue(name), kept, "LLEN")
        for start in range(0, count, _BATCH):
            await self._free(await client.lrange(kept, start, start + _BATCH - 1))
        if not undo:
            await client.unlink(kept)
        return count

    async def restore(self, undo: str) -> int:
        """Put back what was deleted, and what it kept unique; return how many came back."""
        client, kept = self._redis.client(), self._keys.deleted(undo)
        place = await client.get(self._keys.deleted_from(undo))
        if place is None:
            return 0
        place = place.decode(errors="surrogateescape")
        keys, restored = [kept, self._keys.place(place)], 0
        while payloads := await client.lrange(kept, 0, _BATCH - 1):
            if place in JOB_SETS:
                restored += int(await run_script(client, "restore", keys, [_BATCH // 2]))
                payloads = payloads[1::2]
            else:
                restored += int(await run_script(client, "restore_to_list", keys, [_BATCH]))
            async with client.pipeline(transaction=False) as pipe:
                for job_id, key in self._unique_keys(payloads):
                    pipe.set(key, held_for(job_id), ex=UNIQUE_TTL, nx=True)
                await pipe.execute()
        return restored

    async def drop_all(self, place: str) -> int:
        """Delete everything in a sorted set at once, for good, and then free what it kept unique; return how much that
        was.
        """
        client, dropped = self._redis.client(), self._keys.deleted(make_identifier())
        count = await self._take_out(self._keys.place(place), dropped, "ZCARD")
        for start in range(0, count, _BATCH):
            await self._free(await client.zrange(dropped, start, start + _BATCH - 1))
        # Frees the memory aside, however much it is.
        await client.unlink(dropped)
        return count

    async def _take_out(self, key: str, kept: str, count: str) -> int:
        """Give a key another name, under which it expires; return how many elements it has, as ``count`` tells."""
        async with self._redis.client().pipeline(transaction=False) as pipe:
            pipe.rename(key, kept)
            pipe.expire(kept, UNDO_FOR)
            pipe.execute_command(count, kept)
            renamed, _, found = await pipe.execute(raise_on_error=False)
        if isinstance(renamed, ErrorReply) and "no such key" in str(renamed):
            return 0
        for answer in (renamed, found):
            if isinstance(answer, Exception):
                raise answer
        return int(found)

    async def _free(self, payloads: Sequence[bytes]) -> None:
        """Free what jobs kept unique that are gone."""
        if held := self._unique_keys(payloads):
            ids, keys = zip(*held, strict=True)
            await run_script(self._redis.client(), "free_owned", keys, ids)

    def _unique_keys(self, payloads: Sequence[bytes]) -> list[tuple[bytes, str]]:
        """Return the id and the unique key of each job that may keep one."""
        held = map(self._held_by, payloads)
        return [(job_id, key) for job_id, keys in held for key in keys]

    def _held_by(self, payload: bytes) -> tuple[bytes, list[str]]:
        """Return a job's id and the key that it may keep, as that may be spelled.

        A job that has failed was started, and let go of it then.
        """
        if not MAY_BE_UNIQUE.search(payload):
            return b"", []
        try:
            job = Job.decode(payload)
            keys = self._keys.unique_of(job) if job.unique and not job.fails else []
        except (PayloadError, ArgumentsError):
            return b"", []
        return job.id.encode("utf-8", "replace"), keys


def _read_deletion(told: bytes) -> tuple[str, str] | None:
    """Return the token and who deleted; ``None`` when something else was written there."""
    try:
        entry = codec.decode(told)
        token, who = entry["undo"], entry["who"]
    except (PayloadError, KeyError, TypeError):
        return None
    return (token, who) if isinstance(token, str) and isinstance(who, str) else None
