"""Cancellations: jobs that are to be cancelled do not start here, and their marks are removed when they end.

The canceller interrupts those that run. A job that may have to be cancelled has a mark in Redis, which its worker reads
before the job begins.
"""

from __future__ import annotations

from typing import Any

from .._jobs.calling import Call
from .._jobs.membership import member_of
from .._redis.cancels import CancelMark
from .._redis.commands import ClearCancelMark, ReadCancelMark
from .._redis.queue import Queue
from ..job import Job
from .dispatcher import Dispatcher
from .outcome import CancelRequested
from .poison_pills import JobTakenError, PoisonPills


class Cancellations:
    """The jobs of one pool that are to be cancelled.

    :ivar marked: the ids of jobs, and of batches, that are to be cancelled, as the canceller last read them.
    """

    def __init__(self, dispatcher: Dispatcher, poison_pills: PoisonPills) -> None:
        self._dispatcher = dispatcher
        self._poison_pills = poison_pills
        self.marked: set[str] = set()

    def is_marked(self, job_id: str) -> bool:
        """Return whether a job is to be cancelled, alone or with all of its batch."""
        return job_id in self.marked or ((member := member_of(job_id)) is not None and member.batch_id in self.marked)

    def guard(self, call: Call, queue: Queue, payload: bytes, job: Job, crashes: int, limit: int) -> Call:
        """Return what runs a job that may have to be cancelled, or is a suspect.

        :param crashes: number of times that it was running when its process died; if it may have to be cancelled, that
            number plus one, times -1.
        :param limit: number of crashes from which it is not run any more; 0 for no limit.
        """
        may_be_marked = crashes < 0 or self.is_marked(job.id)
        if crashes := -1 - crashes if crashes < 0 else crashes:
            call = self._poison_pills.wrap(call, queue, payload, crashes, limit)
        return self._unless_marked(call, queue, payload) if may_be_marked else call

    def _unless_marked(self, call: Call, queue: Queue, payload: bytes) -> Call:
        async def run(context: Any, job: Job) -> None:
            in_time = False
            while not in_time:
                read = ReadCancelMark(queue, [payload], job.id)
                (is_held, raw), in_time = await self._dispatcher.request_in_time(read)
                if not is_held:
                    raise JobTakenError
                if raw:
                    raise CancelRequested(job.id, CancelMark.decode(raw))
            await call(context, job)

        return run

    def replaced(self, job: Job, newer: Job) -> None:
        """Note that a newer job with the same unique key runs in the place of another. The mark of that is now its."""
        if job.id in self.marked:
            self.marked.add(newer.id)

    def ended(self, queue: Queue, job: Job) -> None:
        """Remove the mark of a job that has ended although it was to be cancelled."""
        # The handler may have replaced the id by any object.
        if type(job.id) is str and job.id in self.marked:
            self.marked.discard(job.id)
            self._dispatcher.submit(ClearCancelMark(queue, [], job.id))
