"""A worker: runs one job at a time, for as long as its pool lives and needs it.

It runs in a task, and a job can leave something behind that would cancel that task later: a timer, an asyncio timeout
or anyio scope that was entered and never left, or a task group whose reader fails later. Two measures protect the next
job:

- Code that is to cancel a task refers to it. A worker therefore counts the references to its task. If their number
  after a job differs from that before the task's first job, or the job has cancelled the task, the task ends, and the
  worker goes on in a new one. Cancelling a task that has ended does nothing. That number is not counted again: an
  error that a job has raised may refer to the task until it is collected, and this may be while a job runs that leaves
  as many references behind.
- Timers, callbacks and tasks run in the context variables of the code that started them. A cancellation that comes from
  a job that has ended is therefore ignored.

One file for the loop and the ways in which an attempt ends, because each of them leaves the worker free exactly once.
"""

from __future__ import annotations

import asyncio
import logging
from enum import Enum
from sys import getrefcount
from typing import Any

from .._jobs import forks
from .._jobs.calling import Call
from .._jobs.current_job import current_job
from .._jobs.error_text import is_of
from .._jobs.ids import make_identifier
from .._jobs.membership import FLOW, SHORTEST_ID
from .._jobs.quarantine import decode_failure
from .._redis.job_end import JobEnd
from .._redis.queue import Queue
from .._redis.work_queue import HeldJob, crashes_of
from ..errors import UnknownJobError
from ..job import Job
from ..options import JobOptions
from .failure_recorder import FailureRecorder, quarantine
from .interruption import Interruption, limit_call, within_timeout
from .job_context import SuspendedJob, start
from .job_steps import end_steps, finish_steps
from .job_type import JobType
from .node_results import node_call, node_result
from .outcome_record import record_success
from .poison_pills import JobTakenError
from .unique_keys import free_unique_key
from .worker_environment import WorkerEnvironment
from .worker_task import WorkerTask

logger = logging.getLogger("asyncwork.job")


class After(Enum):
    """How a worker goes on after an attempt has raised."""

    NEXT_JOB = 1
    NEW_TASK = 2
    RAISE = 3


class Worker:
    """Runs the jobs of a pool, one at a time.

    :param overdue_in: seconds after which a job that was to end is overdue.
    :param worker_id: its id; ``None`` for a new one.
    :ivar id: 24 hex digits.
    :ivar task: the task in which it runs now; the last one when the workers are to end.
    :ivar job: the job it runs now, or ``None``.
    :ivar payload: the bytes that Redis holds as in progress for that job.
    :ivar queue: the queue of that job.
    :ivar started_at: when the job started, epoch seconds.
    :ivar waiting: whether the job has not begun, because it is a suspect or may have to be cancelled.
    :ivar interruption: the end of the job from outside, if that was requested.
    """

    __slots__ = (
        *("_bound", "_env", "_overdue_in", "_pid", "id", "interruption"),
        *("job", "payload", "queue", "started_at", "task", "waiting"),
    )

    def __init__(self, env: WorkerEnvironment, overdue_in: float, worker_id: str | None = None) -> None:
        self._env = env
        self._overdue_in = overdue_in
        # Whether the current job may belong to a batch, or holds a key, so that its end concerns these. Plain jobs do
        # neither.
        self._bound = False
        self.id = make_identifier() if worker_id is None else worker_id
        self._pid = forks.pid
        self.task: WorkerTask | None = None
        self.job: Job | None = None
        self.payload: bytes | None = None
        self.queue: Queue | None = None
        self.started_at = 0.0
        self.waiting = False
        self.interruption: Interruption | None = None

    def start(self) -> None:
        """Run jobs in a task. A job that is cut off when the task is cancelled stays in progress in Redis."""
        # Not made by the loop's task factory, because an eager one would start each task within the one before it.
        self.task = task = WorkerTask(self._run(), loop=asyncio.get_running_loop(), name=f"asyncwork worker {self.id}")
        task.worker, task.was_cancelled, task.last, task.references, task.retired = self, False, None, 0, False

    @property
    def overdue(self) -> bool:
        """Whether the job goes on although it was to end some seconds ago."""
        return self.interruption is not None and self.interruption.overdue

    def cut_off_attempt(self) -> JobEnd | None:
        """Return what is kept of the attempt that a stop has cut off; ``None`` if there was none or nothing is."""
        if self.job is None or self.payload is None or self.waiting:
            return None
        # The handler may have replaced the name.
        job_type = self._env.job_types.get(Job.decode(self.payload).name)
        keeper = None if job_type is None else job_type.keeper
        return None if keeper is None else keeper.stopped(self.payload, self.started_at, self._env.clock())

    def interrupt(self, job: Job, cause: BaseException) -> bool:
        """End the attempt of a job, if this worker runs it; return whether it does.

        A coroutine is cancelled where it waits; if it then ends with ``CancelledError``, the attempt has ended with the
        cause instead. A plain function goes on in its thread. A later cause replaces a timeout. When the workers are
        to end, this does nothing, because the job goes back to its queue.

        :param cause: what the outcome is decided by.
        """
        if job is not self.job or self.task is None or self._env.ending():
            return False
        if self.interruption is None:
            self.interruption = Interruption(job, self.task, cause, self._overdue_in)
        else:
            self.interruption.repeat(cause)
        return True

    def _on_closed(self) -> None:
        """Go on in another task when the coroutine of this one was closed."""
        if self._is_over():
            return
        logger.error("worker %s goes on: something has closed its coroutine", self.id)
        self.start()

    def _is_over(self) -> bool:
        """Return whether the workers are to end, or their event loop has ended without notice."""
        return self._env.ending() or asyncio._get_running_loop() is None

    def accepts_cancellation(self, task: WorkerTask) -> bool:
        """Return whether the code that runs now may cancel a task: not if a job that has ended has left it behind."""
        if self._env.ending():
            return True
        if task.done():
            if task.last is not None:
                self._warn_left_cancelled(*task.last)
            return False
        asking = current_job.get()
        if asking is None or asking is self.job or self._env.runs(asking):
            return True
        self._warn_left_cancelled(asking.name, asking.id)
        return False

    async def _run(self) -> None:
        """Run jobs until the task has to be replaced, or the workers are to end."""
        ending, ready, task = self._env.ending, self._env.dispatcher.ready, self.task
        assert task is not None
        try:
            usable = True
            while usable:
                while not ready.jobs:
                    await ready.wait()
                usable = await self._run_ready_jobs(task)
                if forks.pid != self._pid:
                    forks.end_process()
        except asyncio.CancelledError:
            if ending() or task.retired:
                raise
            # Between two jobs. Only code that cancels all tasks gets here, and nothing that a job has left behind.
            logger.warning("ignoring a cancellation of worker %s: the pool does not stop", self.id)
        except GeneratorExit:
            self._on_closed()
            raise
        except Exception as defect:
            self._env.on_defect(defect)
            return
        if not ending():
            self.start()

    async def _run_ready_jobs(self, task: WorkerTask) -> bool:
        """Run the ready jobs, each timed from the end of the one before; return whether the task can run more jobs."""
        env, dispatcher, clock, now = self._env, self._env.dispatcher, self._env.clock, self._env.clock()
        job_types, stepped, marked = env.job_types, env.step_types, env.cancellations.marked
        ready, lease = dispatcher.ready, dispatcher.lease
        references = task.references = task.references or getrefcount(task)
        while ready.jobs:
            held = queue, payload, crashes = ready.jobs.popleft()
            if now > lease.expires or lease.reaped:
                dispatcher.hold_back(held)
                break
            self.queue, self.payload, suspended = queue, payload, None
            try:
                job = Job.decode(payload)
            except Exception as error:
                self._quarantine(queue, payload, error)
                continue
            job_type, enqueued_at = job_types.get(job.name), job.enqueued_at  # before the handler can replace them
            try:
                if not (plain := job._plain) and job.unique and not job.fails:
                    unlocked, now = await self._free_unique_key(queue, job), clock()
                    if unlocked is None:
                        continue
                    job, job_type, enqueued_at = unlocked, job_types.get(unlocked.name), unlocked.enqueued_at
                if job_type is None:
                    raise UnknownJobError(job.name)
                self.job, self.started_at = job, now
                call = job_type.call if plain else self._special_call(job, job_type, queue)
                if crashes := crashes or (-1 if marked and env.cancellations.is_marked(job.id) else 0):
                    call = self._guarded_call(call, job_type.options, queue, self.payload, job, crashes)
                if (suspended := start(call, env.context(), job)) is not None:
                    ready.wake_others()
                    await (suspended if crashes else within_timeout(self, suspended, job, job_type.options))
            except BaseException as error:
                after = self._on_raised(queue, job, job_type, error, enqueued_at, suspended, crashes_of(held))
                if after is After.RAISE:
                    raise
                if after is After.NEW_TASK:
                    return False
                failed, now = True, clock()
            else:
                started, now, failed = now, clock(), False
                job_type.metrics.record_attempt(enqueued_at, started, now)
                if job_type.keeper or marked or (stepped and queue.name in stepped) or (self._bound and not plain):
                    self._record_success(held, job, job_type, started, now)
                else:
                    dispatcher.ack(queue, self.payload)
            self.job = self.payload = None
            if task.was_cancelled or getrefcount(task) != references:
                return self._end_task(task, queue, job, failed)
        return True

    def _special_call(self, job: Job, job_type: JobType, queue: Queue) -> Call:
        """Return what runs a job that is not plain: it may expire, or be a node of a flow."""
        assert self.payload is not None
        may_be_member = len(job.id) >= SHORTEST_ID
        self._bound = may_be_member or job._hold is not None
        call = job_type.call if job.expires is None else job_type.in_time()
        if may_be_member and job.id[0] == FLOW:
            return node_call(call, self._env.dispatcher, queue, self.payload)
        return call

    def _record_success(self, held: HeldJob, job: Job, job_type: JobType, started_at: float, now: float) -> None:
        """Record the success of a job that is not just acknowledged."""
        assert self.payload is not None
        (queue, *_), steps, keeper = held, end_steps(self._env.stepped, job), job_type.keeper
        if steps is not None and (steps.lost or steps.deferred is not None):
            # The handler has caught what was to end the attempt.
            if steps.lost:
                self._release(job)
            else:
                recorder = FailureRecorder(self._env, queue, self.payload, job, job_type)
                recorder.defer(steps, started_at, now, crashes_of(held))
            return
        end = None if keeper is None else keeper.done(self.payload, job, started_at, now, crashes_of(held))
        finish = None if steps is None else steps.finish(end)
        if finish is None and queue.name in self._env.step_types:
            finish = finish_steps(queue, self.payload, end)
        result = node_result(self.payload, job, job_type)
        record_success(self._env.dispatcher, queue, self.payload, end, finish, result)
        if self._env.cancellations.marked:
            self._env.cancellations.ended(queue, job)

    def _end_task(self, task: WorkerTask, queue: Queue, job: Job, failed: bool) -> bool:
        """Note that a task ends with a job; return that it can run no more jobs."""
        task.last = queue.name, job.id
        if self.interruption is not None:
            self.interruption.end(returned=True)
            self.interruption = None
        elif task.cancelling() and not failed:
            self._warn_left_cancelled(*task.last)
        return False

    async def _free_unique_key(self, queue: Queue, job: Job) -> Job | None:
        """Return the job to run, which may be a newer one; ``None`` if there is none, and the worker is free."""
        self._env.dispatcher.ready.wake_others()
        unlocked = await free_unique_key(self._env, queue, job)
        if unlocked is None:
            self._release(job)
        else:
            self.payload = unlocked.raw
        return unlocked

    def _guarded_call(
        self, call: Call, options: JobOptions, queue: Queue, payload: bytes, job: Job, crashes: int
    ) -> Call:
        # It may have to wait before it runs, and that does not count.
        limited = limit_call(self, call, options)

        async def begin(context: Any, job: Job) -> None:
            self.waiting = False
            await limited(context, job)

        self.waiting = True
        return self._env.cancellations.guard(begin, queue, payload, job, crashes, options.max_crashes)

    def _quarantine(self, queue: Queue, payload: bytes, error: Exception) -> None:
        """Quarantine a payload that is not a job."""
        quarantine(self._env, queue, payload, decode_failure(error))
        self.payload = None

    def _on_raised(
        self,
        queue: Queue,
        job: Job,
        job_type: JobType | None,
        error: BaseException,
        enqueued_at: int,
        suspended: SuspendedJob | None,
        crashes: int,
    ) -> After:
        """Record that an attempt has raised; return how the worker goes on."""
        if forks.pid != self._pid:
            forks.end_process(error)
        steps = end_steps(self._env.stepped, job)
        interruption, self.interruption = self.interruption, None
        if interruption is not None:
            interruption.end()
        if self._is_cut_off(error, suspended):
            if self._is_over():
                self._env.dispatcher.leave()
            else:
                self._release(job)
            return After.RAISE
        began = self.job is not None and not self.waiting
        self.waiting = False
        if is_of(error, JobTakenError) or (steps is not None and steps.lost):
            self._release(job)
            return After.NEW_TASK
        if steps is not None:
            error = steps.cause_of(error) or error
        cancel = None if interruption is None else interruption.cancel
        if interruption is not None:
            error = interruption.error_of(error)
        # Any exception counts as a failure: a handler may exit, interrupt, or cancel itself.
        assert self.payload is not None
        recorder = FailureRecorder(self._env, queue, self.payload, job, job_type)
        recorder.record(error, enqueued_at, self.started_at if began else None, crashes, cancel)
        if suspended is not None and suspended.closed:
            self.job = self.payload = None
            return After.RAISE
        return After.NEXT_JOB

    def _warn_left_cancelled(self, name: str, job_id: str) -> None:
        """Log, once for a job name, that its jobs cancel their task as they end or later, which does no harm."""
        warned = self._env.warned
        # The handler may have replaced the name by any object.
        name = name if type(name) is str else "a job"
        if name not in warned and not self._env.ending():
            warned.add(name)
            text = "%s %s has its task cancelled as it ends, or later; ignoring that, for all jobs of this name"
            logger.warning(text, name, job_id, extra={"job_name": name, "job_id": job_id})

    def _is_cut_off(self, error: BaseException, suspended: SuspendedJob | None) -> bool:
        """Return whether a job was ended from outside: by a stop, or because its event loop ended."""
        if suspended is not None and suspended.closed:
            return self._is_over()
        if is_of(error, GeneratorExit):
            return self.job is None  # the job had not started, so that its handler cannot have raised this
        return is_of(error, asyncio.CancelledError) and self._env.ending()

    def _release(self, job: Job) -> None:
        """Do not run a job that may be another pool's."""
        assert self.payload is not None
        logger.warning("%s %s not run here: it may no longer be this pool's", job.name, job.id)
        self._env.dispatcher.release()
        self.job = self.payload = None
        self.waiting = False
