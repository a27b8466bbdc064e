"""A member of a chunk: runs one job as a worker does, except that it shares the call of the handler with others.

Each job has a task of its own, in which its middlewares run. They call the handler by joining the chunk, whose call
begins when all of its jobs have joined or ended.
"""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import TYPE_CHECKING, Any

from .._jobs import chunk_calling, forks
from .._jobs.chunk_calling import JobOutcome
from .._jobs.error_text import traceback_of
from .._redis.work_queue import HeldJob, crashes_of
from ..errors import UnknownJobError
from ..job import Job
from .interruption import within_timeout
from .job_context import SuspendedJob, start
from .job_type import JobType
from .worker import After, Worker
from .worker_environment import WorkerEnvironment
from .worker_task import WorkerTask

if TYPE_CHECKING:
    from .chunk import Chunk


class MemberTask(WorkerTask):
    """The task of one job of a chunk. It ends with the job."""

    __slots__ = ()

    worker: ChunkMember

    def cancel(self, msg: Any | None = None) -> bool:
        """Cancel the job; when the pool ends, the call that it takes part in."""
        self.was_cancelled = True
        if self.worker.is_ending and self.worker.is_in_call:
            self.worker.chunk.cut_off()
            return True
        return asyncio.Task.cancel(self, msg)

    def interrupt(self) -> None:
        """Cancel the job. A call that it shares with other jobs is cancelled when all of them are to end."""
        self.was_cancelled = True
        if self.worker.is_in_call:
            self.worker.chunk.on_interrupted()
        else:
            asyncio.Task.cancel(self)

    def get_coro(self) -> Any:
        """Return the coroutine of the call if there is one, because the job is there."""
        coroutine = self.worker.chunk.get_coro() if self.worker.is_in_call else None
        return coroutine or super().get_coro()


class ChunkMember(Worker):
    """Runs one job of a chunk.

    :param worker_id: the id under which is shown what it does; empty for none.
    :ivar chunk: in which it takes part.
    :ivar held: the job as it was taken.
    :ivar crashes: how often its process has died while it was running.
    :ivar is_in_call: whether a call of the handler has it now.
    """

    __slots__ = ("_called", "_decoded", "_joined", "_outcome", "_trace", "chunk", "crashes", "held", "is_in_call")

    def __init__(self, env: WorkerEnvironment, overdue_in: float, held: HeldJob, worker_id: str) -> None:
        super().__init__(env, overdue_in, worker_id)
        self.held = held
        self.queue, self.payload = held[0], held[1]
        self.crashes = crashes_of(held)
        self._decoded: Job | None = None
        self._joined = False
        self._called: asyncio.Future[None] | None = None
        self._outcome: JobOutcome | None = None
        self._trace: TracebackType | None = None
        self.is_in_call = False
        self.chunk: Chunk

    def decode(self) -> bool:
        """Decode the payload; return whether it is a job. If not, it is quarantined."""
        assert self.queue is not None
        assert self.payload is not None
        try:
            self._decoded = Job.decode(self.payload)
        except Exception as error:
            self._quarantine(self.queue, self.payload, error)
        return self._decoded is not None

    @property
    def runs_alone(self) -> bool:
        """Whether it needs a call for itself: it may kill the process, or has a time limit of its own."""
        return bool(self.crashes) or (self._decoded is not None and self._decoded.timeout is not None)

    @property
    def is_ending(self) -> bool:
        """Whether the pool cancels what it runs."""
        return self._env.ending()

    @property
    def has_ended(self) -> bool:
        """Whether its job has an outcome, or is another pool's."""
        return self.payload is None

    def start_in(self, chunk: Chunk) -> MemberTask:
        """Run the job as part of a chunk."""
        self.chunk = chunk
        # Not made by the loop's task factory, because an eager one would start each task within the one before it.
        loop = asyncio.get_running_loop()
        self.task = task = MemberTask(self._run_member(), loop=loop, name=f"asyncwork chunk {self.id}")
        task.worker, task.was_cancelled, task.last, task.references, task.retired = self, False, None, 0, False
        return task

    async def _run_member(self) -> None:
        chunk_calling.member.set(self)
        try:
            has_ended = await self._run_held()
        except Exception as defect:
            self._env.on_defect(defect)
            return
        finally:
            self.chunk.leave(self, joined=self._joined)
        if forks.pid != self._pid:
            forks.end_process()
        if has_ended:
            self.job = self.payload = None
            self.chunk.on_ended(self)

    async def _run_held(self) -> bool:
        """Run the job; return whether it has ended, instead of being cut off by the end of the pool."""
        env, clock, held, job = self._env, self._env.clock, self.held, self._decoded
        queue, _, crashes = held
        assert job is not None
        assert self.payload is not None
        job_type, enqueued_at = env.job_types.get(job.name), job.enqueued_at
        suspended: SuspendedJob | None = None
        marked = env.cancellations.marked
        try:
            if job.unique and not job.fails:
                if (unlocked := await self._free_unique_key(queue, job)) is None:
                    return True
                job, job_type, enqueued_at = unlocked, env.job_types.get(unlocked.name), unlocked.enqueued_at
            if job_type is None:
                raise UnknownJobError(job.name)
            self.job, self.started_at = job, clock()
            call = self._special_call(job, job_type, queue)
            if crashes := crashes or (-1 if marked and env.cancellations.is_marked(job.id) else 0):
                call = self._guarded_call(call, job_type.options, queue, self.payload, job, crashes)
            suspended = start(call, env.context(), job)
            if suspended is not None:
                limited = crashes or self.chunk.has_time_limit
                await (suspended if limited else within_timeout(self, suspended, job, job_type.options))
        except BaseException as error:
            after = self._on_raised(queue, job, job_type, error, enqueued_at, suspended, self.crashes)
            return after is not After.RAISE or self.payload is None
        self._on_returned(held, job, job_type, enqueued_at)
        return True

    def _on_returned(self, held: HeldJob, job: Job, job_type: JobType, enqueued_at: int) -> None:
        now = self._env.clock()
        job_type.metrics.record_attempt(enqueued_at, self.started_at, now)
        if self.interruption is not None:
            self.interruption.end(returned=True)
            self.interruption = None
        self._record_success(held, job, job_type, self.started_at, now)

    # The handler

    async def join(self, context: Any, job: Job) -> object:
        """Wait for the call of the chunk; return what it has made of this job, or raise it.

        A middleware may call the handler once more; then the job has a call for itself.
        """
        chunk = self.chunk
        if self._joined or chunk.has_begun:
            return await chunk.call_alone(context, job)
        self._joined = True
        self._called = asyncio.get_running_loop().create_future()
        # Awaited in a step of its own, so that the call does not begin within this one.
        chunk.join(self)
        try:
            await self._called
        finally:
            chunk.withdraw(self)
        assert self._outcome is not None
        value, error = self._outcome
        if error is not None:
            # The other jobs raise the same error, and each would add its frames to those of the handler.
            raise BaseException.with_traceback(error, self._trace)
        return value

    def on_called(self, outcome: JobOutcome) -> None:
        """Go on, because the call has ended."""
        self.is_in_call = False
        self._outcome = outcome
        self._trace = None if outcome.error is None else traceback_of(outcome.error)
        if self._called is not None and not self._called.done():
            self._called.set_result(None)
