"""Makes Redis commands of what a pool writes about the steps of its jobs."""

from __future__ import annotations

from .._jobs.location import JobSet
from . import scripts
from .end_calls import EndCalls
from .packed_keys import PackedKeys
from .protocol import pack
from .step_commands import DeferJob, FinishSteps, MoveCursor, ReadSteps, RecordStep


class StepEncoder:
    """Encodes the commands of one pool about the steps of its jobs."""

    def __init__(self, packed: PackedKeys, ends: EndCalls) -> None:
        self._packed = packed
        self._ends = ends

    def read_steps(self, do: ReadSteps) -> bytes:
        """Return the command that reads what is recorded of a job's steps."""
        return scripts.call("read_steps", 2, self._keys(do), [do.payloads[0]])

    def record_step(self, do: RecordStep) -> bytes:
        """Return the command that sets a field unless it is set."""
        return scripts.call("record_step", 2, self._keys(do), [do.payloads[0], do.field, do.value, b"%d" % do.seconds])

    def move_cursor(self, do: MoveCursor) -> bytes:
        """Return the command that sets a field."""
        return scripts.call("move_cursor", 2, self._keys(do), [do.payloads[0], do.field, do.value, b"%d" % do.seconds])

    def _keys(self, do: ReadSteps | RecordStep | MoveCursor) -> bytes:
        return pack(do.queue.in_progress) + self._packed.steps(do.job_id)

    def defer(self, do: DeferJob) -> bytes:
        """Return the command that has a job run again at a time, or when an event comes."""
        scheduled, steps = self._packed.sets[JobSet.SCHEDULED], self._packed.steps(do.job_id)
        numbers = b"%d" % do.seconds, b"%d" % len(do.events)
        args = [self._packed.pool_id, do.payloads[0], b"%d" % do.score, do.token, *numbers, do.renewed, *do.events]
        keys = do.queue.ack_keys + scheduled + pack(do.queue.queue) + steps
        return scripts.call("defer", *self._ends.add_end(6, keys, args, do.end), args, fair=do.queue.fair)

    def finish_steps(self, do: FinishSteps) -> bytes:
        """Return the command that removes a job that has ended, with its steps."""
        return scripts.call("finish_steps", *self._ends.finish_steps(do), fair=do.queue.fair)
