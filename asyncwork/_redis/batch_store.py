"""The batches of a namespace, as Redis holds them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from .._jobs.location import JobSet
from .._jobs.membership import Member, MemberState, member_in, member_of
from ..job import Job
from .cancels import CancelMark
from .client import run_script
from .delayed import Scored
from .errors import ErrorReply, is_wrong_type
from .member_calls import BatchKeys, shared_keys
from .namespace import Namespace
from .protocol import decode
from .slices import slices

# Members settled by one command, and batches read by one round trip.
_SLICE = 500
# Bytes of a bitmap that one command returns.
_PART = 65_536

# The fields of a batch by their names, and their values.
BatchFields = Mapping[bytes, bytes]


class Bits(NamedTuple):
    """The bitmaps of a batch: a bit for each of its members."""

    ended: bytes
    failed: bytes
    cancelled: bytes


class BatchStore:
    """Reads batches, and settles members for which no worker does.

    Every method raises RedisError or OSError when Redis refuses or cannot be reached.
    """

    def __init__(self, namespace: Namespace) -> None:
        self._redis = namespace.redis
        self._keys = namespace.keys

    async def read(self, batch_ids: Sequence[str]) -> list[BatchFields]:
        """Return the fields of batches; none for one that is gone, or whose key holds another type."""
        found: list[BatchFields] = []
        for some in slices(batch_ids, _SLICE):
            async with self._redis.client().pipeline(transaction=False) as pipe:
                for batch_id in some:
                    pipe.hgetall(self._keys.batch(batch_id)[0])
                replies = await pipe.execute(raise_on_error=False)
            for reply in replies:
                if isinstance(reply, Exception) and not is_wrong_type(reply):
                    raise reply
                found.append({} if isinstance(reply, Exception) or b"next" not in reply else reply)
        return found

    async def ids(self, start: int, count: int, *, open_only: bool = False) -> list[str]:
        """Return the ids of batches from a rank on, the newest first."""
        key = self._keys.open_batches if open_only else self._keys.batches
        try:
            found = await self._redis.client().zrevrange(key, start, start + count - 1)
        except ErrorReply as error:
            if not is_wrong_type(error):
                raise
            return []
        return list(map(decode, found))

    async def count(self, *, open_only: bool = False) -> int:
        """Return how many batches are listed."""
        key = self._keys.open_batches if open_only else self._keys.batches
        try:
            return int(await self._redis.client().zcard(key))
        except ErrorReply as error:
            if not is_wrong_type(error):
                raise
            return 0

    async def forget(self, batch_ids: Sequence[str]) -> None:
        """Remove batches that are gone from the lists."""
        for key in (self._keys.batches, self._keys.open_batches):
            await self._redis.client().zrem(key, *batch_ids)

    async def bits(self, batch_id: str) -> Bits:
        """Return the bitmaps of a batch; empty ones where a key is missing or of another type."""
        ended, failed, cancelled = self._keys.batch(batch_id)[1:4]
        return Bits(await self._bitmap(ended), await self._bitmap(failed), await self._bitmap(cancelled))

    async def _bitmap(self, key: str) -> bytes:
        parts: list[bytes] = []
        while not parts or len(parts[-1]) == _PART:
            start = len(parts) * _PART
            try:
                parts.append(await self._redis.client().getrange(key, start, start + _PART - 1))
            except ErrorReply as error:
                if not is_wrong_type(error):
                    raise
                return b""
        return b"".join(parts)

    async def settle(self, members: Sequence[Member], state: MemberState) -> None:
        """Note how members have ended that no list or set holds any more."""
        for some in slices(members, _SLICE):
            numbers = BatchKeys(self._keys, 4)
            args = [part for each in some for part in (numbers.first(each.batch_id), each.number, state.value)]
            keys = [*shared_keys(self._keys), *numbers.names]
            await run_script(self._redis.client(), "settle_members", keys, args)

    async def settle_quarantined(self, payloads: Sequence[bytes]) -> None:
        """Note that members have failed because their payloads are quarantined, as far as these can be read."""
        if members := [member for each in payloads if (member := member_in(each)) is not None]:
            await self.settle(members, MemberState.FAILED)

    async def close(self, batch_id: str, empty: CancelMark | None = None) -> None:
        """Let a batch end with its last member, although its creator has not said that it adds no more.

        :param empty: with which it is cancelled if it has no members.
        """
        keys = [*shared_keys(self._keys), *self._keys.batch(batch_id)]
        args: list[int | bytes] = [0, 1, *([] if empty is None else [empty.encode()])]
        await run_script(self._redis.client(), "close_batch", keys, args)

    async def settle_parents(self, job_set: JobSet, entries: Sequence[tuple[Scored, Job]]) -> tuple[set[bytes], bool]:
        """Settle the members that are batches which have ended, and go on with the steps of flows, by their entries in
        a sorted set; return the entries that were taken from it, and whether jobs are due now.
        """
        taken: set[bytes] = set()
        any_due = False
        for (entry, _), job in entries:
            if isinstance(flow := job.args.get("flow"), str) and job.id == f"{flow}-settle":
                any_due = await self._advance(job_set, entry, flow) or any_due
                taken.add(entry)
                continue
            member, child = member_of(job.id), job.args.get("batch")
            if member is None or not isinstance(child, str):
                continue
            batch, parent = self._keys.batch(child)[0], self._keys.batch(member.batch_id)
            keys = [getattr(self._keys, job_set.value), *shared_keys(self._keys), batch, *parent]
            _, due = await run_script(self._redis.client(), "settle_parent", keys, [entry, member.number])
            any_due = any_due or bool(due)
            taken.add(entry)
        return taken, any_due

    async def _advance(self, job_set: JobSet, entry: bytes, flow_id: str) -> bool:
        """Go on with the steps of a flow; return whether jobs are due now."""
        keys = [getattr(self._keys, job_set.value), *shared_keys(self._keys), *self._keys.batch(flow_id)]
        _, due = await run_script(self._redis.client(), "advance_flow", keys, [entry])
        return bool(due)
