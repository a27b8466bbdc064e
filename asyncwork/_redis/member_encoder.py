"""Makes Redis commands of what a pool writes about members of batches."""

from __future__ import annotations

from collections.abc import Sequence

from .._jobs.membership import Member
from . import scripts
from .commands import (
    DropCancelled,
    EndHolder,
    FinishJob,
    MemberAck,
    MoveToQuarantine,
    MoveToSet,
    ReadResults,
    how_ended,
)
from .end_calls import EndCalls, Parts
from .member_calls import BatchKeys, shared_keys
from .member_commands import EndMember
from .packed_keys import PackedKeys
from .protocol import encode, pack
from .queue import Queue
from .step_commands import FinishSteps


class MemberEncoder:
    """Encodes the commands of one pool about members of batches."""

    def __init__(self, packed: PackedKeys, ends: EndCalls) -> None:
        self._packed = packed
        self._ends = ends
        keys = packed.names
        self._shared = pack(*map(encode, shared_keys(keys)))
        self._acked = pack(*map(encode, (keys.cancels, keys.scheduled, keys.open_batches, keys.unique_flows)))

    def ack(self, queue: Queue, members: Sequence[MemberAck]) -> bytes:
        """Return the command that acknowledges members of one queue that have no record."""
        batches, args = BatchKeys(self._packed.names, 7), [self._packed.pool_id]
        for payload, (batch_id, index), state, result in members:
            first, how = batches.first(batch_id), how_ended(state, result) if result else state.encode()
            job_id = b"%b-%d" % (batch_id.encode(), index)
            args += (payload, job_id, b"%d" % first, b"%d" % index, how)
        keys = queue.ack_keys + self._acked + pack(*map(encode, batches.names))
        return scripts.call("ack_members", 7 + 5 * len(batches), keys, args, fair=queue.fair)

    def end(self, do: EndMember) -> bytes:
        """Return the command that ends a member by the variant of the script that ends other jobs so."""
        ends, fair = self._ends, do.queue.fair
        match do.by:
            case MoveToSet():
                return scripts.call("move_members", *self._with_batch(do, ends.move(do.by)), fair=fair)
            case MoveToQuarantine():
                return scripts.call("quarantine_members", *self._with_batch(do, ends.quarantine(do.by)), fair=fair)
            case DropCancelled():
                parts = ends.drop_cancelled(do.by)
                return scripts.call("drop_cancelled_members", *self._with_batch(do, parts), fair=fair)
            case EndHolder():
                return scripts.call("end_holder_members", *self._with_batch(do, ends.end_holder(do.by)), fair=fair)
            case FinishSteps():
                return scripts.call("finish_steps_members", *self._with_batch(do, ends.finish_steps(do.by)), fair=fair)
            case FinishJob():
                return scripts.call("finish_members", *self._with_batch(do, ends.finish(do.by)), fair=fair)

    def _with_batch(self, do: EndMember, parts: Parts) -> Parts:
        """Return the parts of a call of the script that ends a member as another script does with these parts."""
        count, keys, args = parts
        batches = BatchKeys(self._packed.names, 4)
        first, index = batches.first(do.member.batch_id), do.member.number
        numbers = (b"1", b"%d" % first, b"%d" % index, how_ended(do.state, do.result), b"%d" % count, b"%d" % len(args))
        return 9 + count, self._shared + pack(*map(encode, batches.names)) + keys, [*numbers, *args]

    def free_unique_key(self, member: Member, parts: Parts, fair: bytes) -> bytes:
        """Return the command that frees the unique key of a member as ``free_unique`` does with these parts."""
        count, keys, args = parts
        packed = self._shared + pack(*map(encode, self._packed.names.batch(member.batch_id))) + keys
        return scripts.call("free_unique_member", 9 + count, packed, [b"%d" % member.number, *args], fair=fair)

    def read_results(self, do: ReadResults) -> bytes:
        """Return the command that reads what nodes of a flow have returned."""
        keys = pack(do.queue.in_progress) + pack(encode(self._packed.names.batch(do.flow_id)[4]))
        return scripts.call("read_results", 2, keys, [do.payloads[0], *(b"%d" % each for each in do.numbers)])
