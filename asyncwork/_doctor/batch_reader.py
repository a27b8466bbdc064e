"""Reads batches with the bitmaps of their members, to compare them."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from .._admin.batches import parent_of, read_batch
from .._jobs.membership import Callback, Member
from .._redis.batch_store import BatchFields, BatchStore
from .._redis.namespace import Namespace
from .._redis.protocol import read_count
from ..models.batches import BatchState, BatchStatus

# Seconds for which a batch is read again because it has changed meanwhile. One that changes all the time goes on.
READ_AGAIN_FOR = 1.0


@dataclass(frozen=True, slots=True)
class BatchReading:
    """A batch at one moment.

    :ivar numbers: how many numbers of members it has given away. Some of them may not have been used.
    :ivar parent: the member of another batch that it is; ``None`` if it is none.
    :ivar bits: how many of its members have ended, have failed and were cancelled, by its bitmaps.
    :ivar ended_bits: the bitmap of the members that have ended.
    :ivar overdue: the callbacks that should have been scheduled.
    """

    status: BatchStatus
    numbers: int
    parent: Member | None
    bits: tuple[int, int, int]
    ended_bits: bytes
    overdue: tuple[str, ...]

    def has_ended(self, number: int) -> bool:
        """Return whether a member has ended, by its bitmap."""
        at, bit = divmod(number, 8)
        return at < len(self.ended_bits) and bool(self.ended_bits[at] & (0x80 >> bit))

    def unended(self) -> Iterator[int]:
        """Yield the numbers of members that have not ended, or were never used."""
        return (number for number in range(self.numbers) if not self.has_ended(number))


async def read_batches(namespace: Namespace, batch_ids: Sequence[str]) -> list[BatchReading]:
    """Return batches; those that are gone are left out.

    If a batch changes all the time, its bitmaps are older than the rest: more members seem to be left than are.

    :raises RedisError, OSError: when Redis refuses or cannot be reached.
    """
    store, found = BatchStore(namespace), list[BatchReading]()
    for batch_id in batch_ids:
        deadline = time.monotonic() + READ_AGAIN_FOR
        (fields,) = await store.read([batch_id])
        while fields:
            before, bits = fields, await store.bits(batch_id)
            (fields,) = await store.read([batch_id])
            # A member may have ended between the two.
            if fields and (fields == before or time.monotonic() >= deadline):
                ended, failed, cancelled = (int.from_bytes(each).bit_count() for each in bits)
                found.append(_reading(batch_id, fields, (ended, failed, cancelled), bits.ended))
                break
    return found


def _reading(batch_id: str, fields: BatchFields, bits: tuple[int, int, int], ended_bits: bytes) -> BatchReading:
    status = read_batch(batch_id, fields)
    good = status.state is BatchState.SUCCEEDED
    is_due = {Callback.FAILURE: status.failed > 0, Callback.DONE: status.ended, Callback.SUCCESS: good}
    overdue = [each.value for each in Callback if is_due[each] and each.value in status.waiting]
    numbers = read_count(fields.get(b"next")) or 0
    return BatchReading(status, numbers, parent_of(fields), bits, ended_bits, tuple(overdue))
