"""Deletions that can be undone: they are listed, and their jobs are restored."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from .._jobs.hold import read_hold
from .._jobs.ids import make_identifier
from .._jobs.location import JOB_SETS, JobSet
from .._jobs.step_names import KEPT_FOR
from .._json import codec
from ..errors import PayloadError
from .client import run_script
from .deleted_job import id_in, read_kept_results, record_keys
from .enqueue_rules import SUCCESSOR_AT
from .errors import is_out_of_memory
from .fair_queues import FairQueues
from .held_keys import HeldKeys
from .namespace import Namespace
from .protocol import decode, encode
from .step_records import StepRecords
from .unique_value import UNIQUE_TTL, owned_by

# Seconds for which a deletion can be undone.
UNDO_FOR = 600
# Deletions read, and jobs restored, by one command; keeps every command far below 10 ms.
_SLICE = 100

# How many deletions are listed, the newest ones, and how many characters of a user's name.
_MAX_DELETIONS = 1_000
_MAX_NAME = 200


class KeptDeletion(NamedTuple):
    """A deletion that can be undone.

    :ivar token: identifies it, see :meth:`UndoStore.prepare`.
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


class UndoStore:
    """The deletions of one namespace that can be undone.

    Every method raises RedisError or OSError when Redis refuses or cannot be reached.
    """

    def __init__(self, namespace: Namespace) -> None:
        self._redis = namespace.redis
        self._keys = namespace.keys
        self._steps = StepRecords(namespace)
        self._fair = FairQueues(namespace)
        self._held = HeldKeys(namespace)

    async def prepare(self, location: str, who: str = "") -> str:
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
        for start in range(0, len(listed), _SLICE):
            chunk = listed[start : start + _SLICE]
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

    async def restore(self, undo: str) -> int:
        """Restore deleted jobs and their unique keys; return how many were restored."""
        client, kept = self._redis.client(), self._keys.deleted(undo)
        location = await client.get(self._keys.deleted_from(undo))
        if location is None:
            return 0
        location = decode(location)
        results, restored, in_set = await read_kept_results(self._redis, self._keys), 0, location in JOB_SETS
        while payloads := await client.lrange(kept, 0, _SLICE - 1):
            payloads = payloads[1::2] if in_set else payloads
            keys = [kept, self._keys.location(location)]
            args = self._restored(keys, payloads, results, location == JobSet.DEAD)
            fair = await self._fair.keys_at(location, payloads)
            if in_set:
                restored += int(await run_script(client, "restore_to_set", keys, args, fair=fair))
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
        for record in record_keys(self._keys, payloads, kept):
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


def _read_deletion(raw: bytes) -> tuple[str, str] | None:
    """Return the token and the user of a deletion; ``None`` for anything else."""
    try:
        entry = codec.decode(raw)
        token, who = entry["undo"], entry["who"]
    except (PayloadError, KeyError, TypeError):
        return None
    return (token, who) if isinstance(token, str) and isinstance(who, str) else None
