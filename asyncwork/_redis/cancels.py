"""The marks of jobs that are to be cancelled.

A marked job does not start: the scripts that take jobs report it, and its worker reads the mark before it begins. A
mark is removed when its job ends.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from .._json import codec
from ..errors import PayloadError
from .client import run_script
from .errors import ErrorReply, is_wrong_type
from .namespace import Namespace
from .protocol import decode, encode
from .slices import slices

# Seconds for which the marks are kept after the newest of them, and for which one is kept among newer ones.
MARKS_TTL = 7 * 86_400
# Jobs in one command; keeps it far below 10 ms.
_SLICE = 500


@dataclass(frozen=True, slots=True)
class CancelMark:
    """Why a job is to be cancelled.

    :ivar reason: why; empty if that was not given.
    :ivar who: the user who has cancelled it; empty if that was not given.
    :ivar at: when, epoch seconds; 0 if that is unknown.
    """

    reason: str
    who: str
    at: int

    @classmethod
    def new(cls, reason: str, who: str) -> CancelMark:
        """Return a mark of this moment."""
        return cls(reason, who, int(time.time()))

    def __str__(self) -> str:
        """Return it for a log line."""
        by = f" by {self.who}" if self.who else ""
        return f"cancelled{by}: {self.reason}" if self.reason else f"cancelled{by}"

    def encode(self) -> bytes:
        """Return the mark as JSON."""
        who, reason = codec.encode_string(self.who), codec.encode_string(self.reason)
        return b'{"by":%b,"reason":%b,"at":%d}' % (who, reason, self.at)

    @classmethod
    def decode(cls, raw: bytes) -> CancelMark:
        """Return a mark. A value that another program wrote is a mark, too, without a reason if it cannot be read."""
        try:
            fields = codec.decode(raw)
        except PayloadError:
            fields = None
        found = fields if isinstance(fields, Mapping) else {}
        who, reason, at = found.get("by"), found.get("reason"), found.get("at")
        return cls(
            reason if isinstance(reason, str) else "", who if isinstance(who, str) else "", at if type(at) is int else 0
        )


class Cancels:
    """The marks of one namespace. Every method raises RedisError or OSError when Redis refuses or cannot be reached."""

    def __init__(self, namespace: Namespace) -> None:
        self._redis = namespace.redis
        self._keys = namespace.keys

    async def mark(self, job_ids: Sequence[str], mark: CancelMark) -> None:
        """Mark jobs. A job that is marked already keeps its first mark."""
        raw = mark.encode()
        for some in slices(job_ids, _SLICE):
            args: list[bytes | int | str] = [MARKS_TTL]
            for job_id in some:
                args += (encode(job_id), raw)
            await run_script(self._redis.client(), "mark_cancelled", [self._keys.cancels], args)

    async def mark_batch(self, batch_id: str, mark: CancelMark) -> bool:
        """Mark a batch, so that none of its members starts; return whether it was there, and had not ended. One that is
        marked already keeps its first mark.
        """
        keys = [self._keys.cancels, self._keys.batch(batch_id)[0]]
        args: list[bytes | int] = [MARKS_TTL, encode(batch_id), mark.encode()]
        return bool(await run_script(self._redis.client(), "cancel_batch", keys, args))

    async def ids(self) -> set[str]:
        """Return the ids of all marked jobs; none when the key holds another type."""
        try:
            return set(map(decode, await self._redis.client().hkeys(self._keys.cancels)))
        except ErrorReply as error:
            if not is_wrong_type(error):
                raise
            return set()

    async def read(self, job_ids: Sequence[str]) -> dict[str, CancelMark]:
        """Return the marks of those of the jobs that are marked."""
        found: dict[str, CancelMark] = {}
        for some in slices(job_ids, _SLICE):
            replies = await self._redis.client().hmget(self._keys.cancels, [encode(each) for each in some])
            marks = zip(some, replies, strict=True)
            found |= {job_id: CancelMark.decode(raw) for job_id, raw in marks if raw is not None}
        return found

    async def clear_old(self, job_ids: Sequence[str]) -> None:
        """Remove those of the marks that are a week old. Their jobs have ended without removing them."""
        marks, oldest = await self.read(job_ids), time.time() - MARKS_TTL
        await self.clear([job_id for job_id, mark in marks.items() if 0 < mark.at < oldest])

    async def clear(self, job_ids: Sequence[str]) -> set[str]:
        """Remove the marks of jobs; return the ids of those that had one."""
        cleared: set[str] = set()
        for some in slices(job_ids, _SLICE):
            async with self._redis.client().pipeline(transaction=False) as pipe:
                for job_id in some:
                    pipe.hdel(self._keys.cancels, encode(job_id))
                replies = await pipe.execute()
            cleared.update(job_id for job_id, count in zip(some, replies, strict=True) if count)
        return cleared
