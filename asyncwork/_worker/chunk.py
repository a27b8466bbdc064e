"""A chunk: jobs that share one call of their handler.

Each job runs through its own middlewares, and joins the call from within them. The call begins when each job has
joined, or has ended before: it has expired, was cancelled, or a middleware does not call the handler for it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextvars import Context
from typing import Any

from .._jobs import forks
from .._jobs.attempt import attempt_of
from .._jobs.chunk_calling import Chunked, JobGroup, JobOutcome, run_alone
from ..job import Job
from ..options import JobOptions
from .chunk_member import ChunkMember
from .interruption import GroupTimeLimit
from .job_context import SuspendedJob, start


class Chunk:
    """One chunk.

    :param members: its jobs.
    :param variables: the context variables in which the handler runs.
    :param context: makes the context of the call.
    :param on_called: called with the number of jobs when the call begins.
    :param on_ended: called with each member that has ended.
    :ivar has_begun: whether the call has begun, or will not.
    :ivar has_time_limit: whether the chunk as a whole has one, instead of each job.
    """

    def __init__(
        self,
        members: Sequence[ChunkMember],
        chunked: Chunked,
        options: JobOptions,
        *,
        variables: Context,
        context: Callable[[], Any],
        on_called: Callable[[int], None],
        on_ended: Callable[[ChunkMember], None],
    ) -> None:
        self._members = members
        self._chunked = chunked
        self._variables = variables
        self._context = context
        self._on_called = on_called
        self.on_ended = on_ended
        self._missing = len(members)
        # In the order of the queue, whichever middleware is the quickest.
        self._joined: dict[ChunkMember, Job] = {}
        self._group: JobGroup | None = None
        self._task: asyncio.Task[None] | None = None
        self._is_cut_off = False
        self._pid = forks.pid
        self._loop = asyncio.get_running_loop()
        self.has_begun = False
        # A job that is alone may have a limit of its own.
        self._seconds = options.timeout if len(members) > 1 else None
        self.has_time_limit = bool(self._seconds)

    async def run(self) -> None:
        """Run the jobs; return when all of them have ended."""
        limit = None
        if self._seconds:
            limit = GroupTimeLimit(self, self._jobs, float(self._seconds))  # type: ignore[arg-type]
        tasks = [each.start_in(self) for each in self._members]
        try:
            await asyncio.wait(tasks)
            # A middleware may have given up on the call, which can take longer to end.
            while self._task is not None and not self._task.done():
                await asyncio.wait([self._task])
        finally:
            if limit is not None:
                limit.stop()
            self._forget_ended()

    def _forget_ended(self) -> None:
        """Break the reference cycles, because finding them would take the garbage collector as long as all else."""
        for each in self._members:
            # Members that were cut off are still needed, to say where they are.
            if each.has_ended and each.task is not None and each.task.done():
                each.task = None
        self._members = [each for each in self._members if each.task is not None]

    def _jobs(self) -> list[Job]:
        return [each.job for each in self._members if each.job is not None]

    # For the members

    def join(self, member: ChunkMember) -> None:
        """Have a job take part in the call."""
        assert member.job is not None
        self._joined[member] = member.job
        self._arrived()

    def leave(self, member: ChunkMember, *, joined: bool) -> None:
        """Note that a job has ended."""
        self._joined.pop(member, None)
        if not joined:
            self._arrived()

    def withdraw(self, member: ChunkMember) -> None:
        """Note that a job that had joined goes on, because the call has ended or the job is not to wait for it."""
        member.is_in_call = False
        self._joined.pop(member, None)
        if not self._joined:
            self.on_interrupted()

    def _arrived(self) -> None:
        self._missing -= 1
        # The loop is closed if it has ended without notice.
        if not self._missing and not self._loop.is_closed():
            # In another step: the last job may have been cancelled in this one.
            self._loop.call_soon(self._begin)

    def _begin(self) -> None:
        self.has_begun = True
        if not self._joined:
            return
        members = [each for each in self._members if each in self._joined]
        for each in members:
            each.is_in_call = True
        self._group = JobGroup([self._joined[each] for each in members])
        self._on_called(len(members))
        name = f"asyncwork call of a chunk of {len(members)}"
        # Not in the context variables of the job that was the last to join.
        self._task = self._loop.create_task(self._call(members, self._group), name=name, context=self._variables.copy())

    async def call_alone(self, context: Any, job: Job) -> object:
        """Call the handler for one job alone."""
        return await run_alone(self._chunked.call, context, job)

    # The call

    async def _call(self, members: Sequence[ChunkMember], group: JobGroup) -> None:
        outcomes: Sequence[JobOutcome] = ()
        suspended: SuspendedJob | None = None

        async def run(context: Any, _: Job) -> None:
            nonlocal outcomes
            outcomes = await self._chunked.call(context, group)

        try:
            # Log records belong to a job only if it is alone.
            current: Any = group.jobs[0] if len(group.jobs) == 1 else None
            if (suspended := start(run, self._context(), current)) is not None:
                await suspended
        except BaseException as error:
            if forks.pid != self._pid:
                forks.end_process(error)
            if suspended is not None and suspended.closed:
                raise
            outcomes = [JobOutcome(error=error)] * len(members)
        if forks.pid != self._pid:
            forks.end_process()
        for member, outcome in zip(members, outcomes, strict=True):
            member.on_called(outcome)

    def get_coro(self) -> object:
        """Return the coroutine of the call; ``None`` if there is none."""
        return None if self._task is None else self._task.get_coro()

    # Ends from outside

    def interrupt(self, make_cause: Callable[[], BaseException]) -> None:
        """End the attempts of all jobs.

        :param make_cause: makes the error with which one of them ends.
        """
        for member in self._members:
            if member.job is not None and not member.has_ended:
                member.interrupt(member.job, make_cause())

    def on_interrupted(self) -> None:
        """Cancel the call if all of its jobs are to end. It goes on for the others, and can see ``job.cancelled``."""
        if self._group is None or self._task is None or self._task.done():
            return
        if all(each.task is None or each.task.was_cancelled or each.task.done() for each in self._joined):
            attempt = self._group.attempt
            attempt.interrupt()
            if attempt.thread is None:
                self._task.cancel()

    def cut_off(self) -> asyncio.Task[None] | None:
        """Cancel the call, because the pool ends, and return its task. A plain function goes on in its thread."""
        if self._task is not None and not self._is_cut_off:
            self._is_cut_off = True
            for job in self._group.jobs if self._group is not None else ():
                attempt_of(job).interrupt()
            self._task.cancel()
        return self._task
