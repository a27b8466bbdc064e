"""The keys and arguments of the scripts that end jobs.

Each of them has a variant for members of batches, which takes the same and more.
"""

from __future__ import annotations

from typing import TypeAlias

from .._jobs.hold import Hold
from .._jobs.location import JobSet
from .commands import DropCancelled, EndHolder, FinishJob, MoveToQuarantine, MoveToSet
from .job_end import END_NUMBERS, JobEnd
from .packed_keys import PackedKeys
from .protocol import encode, pack
from .queue import Queue
from .step_commands import FinishSteps

# The parts of a call of a script: how many keys it has, the packed keys, and the arguments.
Parts: TypeAlias = tuple[int, bytes, list[bytes]]


class EndCalls:
    """Makes the keys and arguments of the scripts that end jobs of one pool."""

    def __init__(self, packed: PackedKeys) -> None:
        self._packed = packed

    def finish(self, do: FinishJob) -> Parts:
        """Return the parts of a call of ``finish`` for one job."""
        queue, end = do.queue, do.end
        keys = queue.ack_keys + self._packed.cancels + self._packed.finished + self._packed.record(end.job_id)
        count = 6
        if end.stream_seconds:
            count, keys = 7, keys + self._packed.stream(end.job_id)
        numbers = END_NUMBERS % (
            *(end.seconds, end.stream_seconds, end.listed, len(end.more)),
            *(end.attempts, end.enqueued_at, end.started_at, end.ended_at),
        )
        args = [self._packed.pool_id, end.payload, encode(end.job_id), numbers, end.state, end.name, *end.more]
        return count, keys, args

    def move(self, do: MoveToSet) -> Parts:
        """Return the parts of a call of ``move``."""
        keys = do.queue.ack_keys + self._packed.sets[do.job_set]
        args = [self._packed.pool_id, do.payloads[0], b"%d" % do.score, do.payload, _holder(do.frees)]
        return (*self._add_hold(*self.add_end(4, keys, args, do.end), do.queue, do.frees), args)

    def quarantine(self, do: MoveToQuarantine) -> Parts:
        """Return the parts of a call of ``quarantine``."""
        args = [self._packed.pool_id, do.payloads[0], do.entry, _holder(do.frees)]
        count, keys = self.add_end(4, do.queue.ack_keys + self._packed.quarantine, args, do.end)
        return (*self._add_hold(count, keys, do.queue, do.frees), args)

    def drop_cancelled(self, do: DropCancelled) -> Parts:
        """Return the parts of a call of ``drop_cancelled``."""
        args = [self._packed.pool_id, do.payloads[0], encode(do.job_id)]
        keys = do.queue.ack_keys + self._packed.cancels + self._packed.steps(do.job_id)
        return (*self.add_end(5, keys, args, do.end), args)

    def end_holder(self, do: EndHolder) -> Parts:
        """Return the parts of a call of ``end_holder``."""
        args = [self._packed.pool_id, do.payloads[0], encode(do.hold.job_id)]
        count, keys = self._add_hold(4, do.queue.ack_keys + self._packed.cancels, do.queue, do.hold)
        return (*self.add_end(count, keys, args, do.end), args)

    def finish_steps(self, do: FinishSteps) -> Parts:
        """Return the parts of a call of ``finish_steps``."""
        args = [self._packed.pool_id, do.payloads[0], encode(do.job_id), _holder(do.hold)]
        keys = do.queue.ack_keys + self._packed.cancels + self._packed.steps(do.job_id)
        return (*self._add_hold(*self.add_end(5, keys, args, do.end), do.queue, do.hold), args)

    def add_end(self, count: int, keys: bytes, args: list[bytes], end: JobEnd | None) -> tuple[int, bytes]:
        """Add the end of a job, if it has a record, to the keys and arguments of a script; return the keys."""
        if end is None:
            return count, keys
        args += (encode(end.job_id), b"%d" % end.seconds, b"%d" % end.stream_seconds, b"%d" % end.listed, *end.fields())
        record, stream = self._packed.record(end.job_id), self._packed.stream(end.job_id)
        return count + 3, keys + record + stream + self._packed.finished

    def _add_hold(self, count: int, keys: bytes, queue: Queue, frees: Hold | None) -> tuple[int, bytes]:
        """Add the key that a job frees, if there is one, to the keys of a script; return them."""
        if frees is None:
            return count, keys
        hold = self._packed.hold(frees.name, frees.digest)
        return count + 3, keys + hold + self._packed.sets[JobSet.SCHEDULED] + pack(queue.queue)


def _holder(frees: Hold | None) -> bytes:
    return b"" if frees is None else encode(frees.job_id)
