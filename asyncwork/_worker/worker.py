"""A worker: a slot that runs one job at a time as long as its pool lives.

It runs in a task, and a job can leave something behind that would cancel that task later: a timer, an asyncio timeout
or anyio scope that was entered and never left, a task group whose reader fails later. Two things keep it from the next
job:

- What is to cancel a task refers to it. So a worker counts the references to its task: when they are not as many behind
  a job as before, or the job has cancelled it, the task ends, and the worker goes on in a new one. Cancelling a task
  that has ended does nothing.
- Timers, callbacks and tasks run in the context variables of whom they were started by. So a cancellation that comes
  from a job that has ended is ignored.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from sys import getrefcount
from typing import Any

from .._jobs import forks
from .._jobs.calling import Call
from .._jobs.clock import Clock
from .._jobs.current_job import current_job
from .._jobs.error_text import describe_error, is_of
from .._jobs.ids import make_identifier
from .._jobs.location import JobSet
from .._jobs.quarantine import decode_failure, write_entry
from .._redis.keys import Queue
from .._redis.work_queue import FreeUnique, Move, Order, Quarantine
from ..errors import PayloadError, Retry
from ..job import Job
from ..options import JobOptions
from . import outcome
from .dispatcher import Dispatcher
from .job_context import Waiting, begin
from .metrics import QueueMetrics
from .poison_pills import JobTakenError, PoisonPills

logger = logging.getLogger("asyncwork.job")


@dataclass(frozen=True, slots=True)
class JobType:
    """What a worker needs to know of one job name: how to run it, with all middleware, how to treat it, and where to
    count it.

    :ivar ignored: by name, how many jobs brought an argument that the handler does not take.
    """

    call: Call
    options: JobOptions
    metrics: QueueMetrics = field(default_factory=QueueMetrics)
    ignored: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Workplace:
    """What all workers of a pool share.

    :ivar job_types: by job name.
    :ivar context: makes a fresh context for a job.
    :ivar unique_keys: the key that keeps a job unique, in each way that it may be spelled.
    :ivar ending: tells whether the workers are to end. Only then is a cancellation a stop; any other is a job's doing.
    :ivar runs: tells whether any of them runs a job now.
    :ivar pid: the process that the workers are of.
    :ivar broken: called with what a worker was not prepared for, which has ended it.
    :ivar warned: the names of the jobs that were warned of, because they leave their task cancelled.
    """

    dispatcher: Dispatcher
    job_types: Mapping[str, JobType]
    context: Callable[[], Any]
    clock: Clock
    unique_keys: Callable[[Job], Sequence[str]]
    suspicion: PoisonPills
    ending: Callable[[], bool]
    broken: Callable[[Exception], None]
    runs: Callable[[Job], bool]
    pid: int
    warned: set[str] = field(default_factory=set)


class _WorkerTask(asyncio.Task[None]):
    """What a worker runs in for a while.

    :ivar worker: whose it is.
    :ivar was_cancelled: whether it was ever cancelled.
    :ivar last: the name and id of the job with which it has ended, if it has.
    """

    __slots__ = ("last", "was_cancelled", "worker")

    last: tuple[str, str] | None
    was_cancelled: bool
    worker: Worker

    def cancel(self, msg: Any | None = None) -> bool:
        """Cancel the job that runs, if it asks for it or the workers are to end."""
        if not self.worker.heeds_cancellation(self):
            return False
        self.was_cancelled = True
        return super().cancel(msg)


class Worker:
    """One slot of a pool.

    :ivar id: 24 hex digits.
    :ivar task: the task that it runs in now; the last one once the workers are to end.
    :ivar job: what it runs now, or ``None``.
    :ivar payload: the bytes by which Redis holds that job as in progress.
    :ivar queue: where it was taken from.
    :ivar started_at: when that began, epoch seconds.
    """

    __slots__ = ("_name", "_place", "id", "job", "payload", "queue", "started_at", "task")

    def __init__(self, place: Workplace) -> None:
        self._place = place
        self.id = make_identifier()
        self._name = f"asyncwork worker {self.id}"
        self.task: _WorkerTask | None = None
        self.job: Job | None = None
        self.payload: bytes | None = None
        self.queue: Queue | None = None
        self.started_at = 0.0

    def start(self) -> None:
        """Run jobs as they come, in a task. A job that is cut off by its cancellation stays in progress in Redis."""
        # Not by the loop's factory: an eager one would have each task begin within the one before it.
        self.task = task = _WorkerTask(self._run(), loop=asyncio.get_running_loop(), name=self._name)
        task.worker, task.was_cancelled, task.last = self, False, None

    def _closed(self) -> None:
        """Go on in another task when somebody has closed the coroutine of this one."""
        if self._is_over():
            return
        logger.error("worker %s goes on: something has closed its coroutine", self.id)
        self.start()

    def _is_over(self) -> bool:
        """Tell whether the workers are to end, or their event loop has ended without telling them."""
        return self._place.ending() or asyncio._get_running_loop() is None

    def heeds_cancellation(self, task: _WorkerTask) -> bool:
        """Tell whether a task may be cancelled by who asks for it now: not by what an ended job has left behind."""
        if self._place.ending():
            return True
        if task.done():
            if task.last is not None:
                self._left_cancelled(*task.last)
            return False
        asking = current_job.get()
        if asking is None or asking is self.job or self._place.runs(asking):
            return True
        self._left_cancelled(asking.name, asking.id)
        return False

    async def _run(self) -> None:
        """Run jobs until the task is to be given up, or the workers are to end."""
        ending = self._place.ending
        turns = self._place.dispatcher.turns
        task = self.task
        assert task is not None
        try:
            usable = True
            while usable:
                while not turns.jobs:
                    await turns.wait()
                usable = await self._work_off(task)
                if forks.pid != self._place.pid:
                    forks.end_process()
        except asyncio.CancelledError:
            if ending():
                raise
            # Between two jobs: not even whatever a job has left behind comes here, only who looks for all tasks.
            logger.warning("ignoring a cancellation of worker %s: the pool does not stop", self.id)
        except GeneratorExit:
            self._closed()
            raise
        except Exception as error:
            self._place.broken(error)
            return
        if not ending():
            self.start()

    async def _work_off(self, task: _WorkerTask) -> bool:
        """Run jobs as long as there are any and the task is as it was; return whether it is.

        One coroutine for as many as there are, and the time at which one ends is that at which the next begins: on the
        hot path, another coroutine or another look at the clock would be one for each job.
        """
        place = self._place
        dispatcher, job_types, clock = place.dispatcher, place.job_types, place.clock
        turns, lease = dispatcher.turns, dispatcher.lease
        jobs = turns.jobs
        now = clock()
        references = getrefcount(task)
        while jobs:
            queue, payload = jobs.popleft()
            if now > lease.expires:
                # The process was stopped, or a job held it up: by now this one may be another pool's.
                dispatcher.hold_back(queue, payload)
                break
            self.queue, self.payload = queue, payload
            try:
                job = Job.decode(payload)
            except Exception as error:
                self._quarantine(queue, payload, decode_failure(error))
                self.payload = None
                continue
            job_type = job_types.get(job.name)
            # Read before the handler can have replaced it.
            enqueued_at = job.enqueued_at
            waiting: Waiting | None = None
            failed = False
            try:
                if job.unique and not job.fails:
                    turns.share_out()
                    begun = await self._free_unique(queue, job)
                    now = clock()
                    if begun is None:
                        continue
                    job, job_type, enqueued_at = begun, job_types.get(begun.name), begun.enqueued_at
                if job_type is None:
                    raise outcome.UnknownJobError(job.name)
                self.job, self.started_at = job, now
                call = job_type.call
                if dispatcher.crashes and (crashes := dispatcher.crashes.pop(payload, 0)):
                    limit = job_type.options.max_crashes
                    call = place.suspicion.wrap(call, queue, self.payload, crashes, limit)
                waiting = begin(call, place.context(), job)
                if waiting is not None:
                    turns.share_out()
                    await waiting
            except BaseException as error:
                if forks.pid != place.pid:
                    forks.end_process(error)
                if self._is_cut_off(error, waiting):
                    if self._is_over():
                        dispatcher.leave()
                    else:
                        self._let_go(job)
                    raise
                if is_of(error, JobTakenError):
                    self._let_go(job)
                    return False
                # Whatever else: a handler may exit, interrupt, or cancel itself, and it has failed as any other.
                failed = True
                self._failed(queue, job, job_type, error, enqueued_at)
                now = clock()
                if waiting is not None and waiting.closed:
                    self.job = self.payload = None
                    raise
            else:
                started, now = now, clock()
                job_type.metrics.record_attempt(enqueued_at, started, now)
                dispatcher.ack(queue, self.payload)
            self.job = self.payload = None
            if task.was_cancelled or getrefcount(task) != references:
                task.last = queue.name, job.id
                if task.cancelling() and not failed:
                    self._left_cancelled(*task.last)
                return False
        return True

    def _left_cancelled(self, name: str, job_id: str) -> None:
        """Tell, once for a job name, that the task of a job is cancelled although it has ended; there is no other harm
        in it.
        """
        warned = self._place.warned
        # Its handler may have made anything of it.
        name = name if type(name) is str else "a job"
        if name not in warned and not self._place.ending():
            warned.add(name)
            text = "%s %s has its task cancelled as it ends, or later; ignoring that, for all jobs of this name"
            logger.warning(text, name, job_id, extra={"job_name": name, "job_id": job_id})

    def _is_cut_off(self, error: BaseException, waiting: Waiting | None) -> bool:
        """Tell whether a job was ended from outside: by a stop, or as its event loop ended."""
        if waiting is not None and waiting.closed:
            return self._is_over()
        if is_of(error, GeneratorExit):
            return self.job is None  # it had not begun: nothing of the handler's can have raised this
        return is_of(error, asyncio.CancelledError) and self._place.ending()

    async def _free_unique(self, queue: Queue, job: Job) -> Job | None:
        """Let the next job of this kind in; return the one to run: the newest, if it was enqueued by key again.

        Returns ``None`` when it is no longer this pool's, or may not be: its worker is then free.
        """
        dispatcher, keys = self._place.dispatcher, self._place.unique_keys(job)
        while True:
            order = FreeUnique(queue, [job.raw], keys=keys, job_id=job.id)
            (mine, *newest), in_time = await dispatcher.confirm_in_time(order)
            if in_time or newest or not mine:
                break
            # Since Redis said so this pool may have been taken for dead. The key is free by now.
            keys = ()
        # A newer payload is known here by this answer alone. One that comes late may have been taken for a stray.
        if not mine or (newest and not in_time):
            self._let_go(job)
            return None
        if not newest:
            return job
        newer: bytes = newest[0]
        self.payload = newer
        try:
            return Job.decode(newer)
        except PayloadError as error:
            # It is what is in progress now, so it is what must be settled; the popped one is what can be run.
            logger.warning("%s %s: ignoring what its unique key held: %s", job.name, job.id, error)
            job.raw = newer
            return job

    def _let_go(self, job: Job) -> None:
        """Do not run a job that may be another pool's."""
        assert self.payload is not None
        logger.warning("%s %s not run here: it may no longer be this pool's", job.name, job.id)
        self._place.dispatcher.let_go(self.payload)
        self.job = self.payload = None

    def _failed(self, queue: Queue, job: Job, job_type: JobType | None, error: BaseException, enqueued_at: int) -> None:
        payload = self.payload
        assert payload is not None
        # What the handler may have replaced, and what is settled is this.
        job.raw = payload
        try:
            now, fails = self._place.clock(), job.fails
            decision = outcome.decide(job, None if job_type is None else job_type.options, error, now)
            settle = (
                None if isinstance(decision, (outcome.Done, outcome.Drop)) else _order(queue, payload, job, decision)
            )
        except BaseException as defect:
            reason = (
                f"it failed ({outcome.describe(error)}), and that could not be written down: {describe_error(defect)}"
            )
            self._quarantine(queue, payload, reason)
            return
        # A stray job is counted where it was found: its own name may be any.
        metrics = (job_type or self._place.job_types[queue.name]).metrics
        metrics.record_attempt(enqueued_at, now if self.job is None else self.started_at, now)
        metrics.record_failure(decision, failed=job.fails > fails)
        if settle is None:
            self._place.dispatcher.ack(queue, payload)
        else:
            self._place.dispatcher.settle(settle)
        _log(job, decision, error)

    def _quarantine(self, queue: Queue, payload: bytes, reason: str) -> None:
        record = write_entry(queue.name, payload, reason, self._place.clock())
        self._place.dispatcher.settle(Quarantine(queue, [payload], record=record))
        logger.error("queue %s: set aside a payload of %d bytes: %s", queue.name, len(payload), reason)


def _order(queue: Queue, payload: bytes, job: Job, decision: outcome.Fate) -> Order:
    match decision:
        case outcome.RetryAt(at):
            return Move(queue, [payload], shelf=JobSet.RETRY, score=at, payload=job.payload())
        case outcome.Dead(at):
            return Move(queue, [payload], shelf=JobSet.DEAD, score=at, payload=job.payload())
        case outcome.RunAt(at):
            return Move(queue, [payload], shelf=JobSet.SCHEDULED, score=at, payload=payload)
        case _:
            raise TypeError(f"not the fate of a job that failed: {decision!r}")


def _log(job: Job, decision: outcome.Fate, error: BaseException) -> None:
    label = {"job_name": job.name, "job_id": job.id}
    trace = outcome.trace_in_handler(error)
    # Not the error itself: logging would ask it whether it is true.
    shown = None if trace is None or is_of(error, Retry) else (type(error), error, trace)
    match decision:
        case outcome.RunAt(at):
            logger.info("%s %s snoozed until %d", job.name, job.id, at, extra=label)
        case outcome.RetryAt(at):
            text = "%s %s failed (%d), to be tried again at %d: %s"
            logger.warning(text, job.name, job.id, job.fails, at, job.err, exc_info=shown, extra=label)
        case outcome.Dead():
            text = "%s %s is dead (%d): %s"
            logger.error(text, job.name, job.id, job.fails, job.err, exc_info=shown, extra=label)
        case outcome.Drop(reason):
            logger.warning("%s %s dropped: %s", job.name, job.id, reason, extra=label)
