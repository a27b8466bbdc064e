"""Records the steps of a pool's running jobs in Redis, with the batches of the dispatcher.

A write whose reply is lost is sent again until Redis has replied, as results are, because the step has had its effect.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import anyio.to_thread

from .._jobs.calling import Threads
from .._jobs.clock import Clock
from .._jobs.hold import read_hold
from .._jobs.ids import make_identifier
from .._jobs.job_steps import sources
from .._jobs.payload import with_time
from .._jobs.step_fields import EVENT, SLEEP, STEP, WAIT, field_of
from .._jobs.step_names import KEPT_FOR
from .._jobs.step_run import StepRun
from .._jobs.step_waits import Deferred
from .._redis.commands import Command
from .._redis.job_end import JobEnd
from .._redis.queue import Queue
from .._redis.step_commands import DeferJob, FinishSteps, MoveCursor, ReadSteps, RecordStep
from ..job import Job
from .dispatcher import Dispatcher

if TYPE_CHECKING:
    from .worker import Worker

# The kind of a recorded step, as it is counted, by what its field says.
_KIND_OF = {STEP: "step", SLEEP: "sleep", WAIT: "event", EVENT: "event_timeout"}


class PoolSteps:
    """The steps of the jobs that one pool runs.

    :param workers: the pool's workers; one of them runs the job that asks for a step.
    :param stepped: gets the jobs that have asked for a step.
    :param step_types: gets their names.
    :param clock: returns the time by Redis's clock, epoch seconds.
    :param ending: returns whether the workers are to end.
    :param counts: by name of the jobs, what counts a step that is recorded, by its kind.
    :ivar threads: limits how many plain functions run at once.
    """

    def __init__(
        self,
        dispatcher: Dispatcher,
        workers: Sequence[Worker],
        stepped: set[Job],
        step_types: set[str],
        clock: Clock,
        ending: Callable[[], bool],
        counts: Mapping[str, Callable[[str], None]],
    ) -> None:
        self._dispatcher = dispatcher
        self._ending = ending
        self._counts = counts
        self._workers = workers
        self._stepped = stepped
        self._step_types = step_types
        self._clock = clock
        self.threads: Threads = anyio.to_thread.current_default_thread_limiter
        self._loop = asyncio.get_running_loop()

    def start(self) -> None:
        """Let the jobs of the pool take steps."""
        sources.append(self)

    def stop(self) -> None:
        """Let no more jobs begin to take steps."""
        if self in sources:
            sources.remove(self)

    def open(self, job: Any) -> StepRun | None:
        """Return the steps of the attempt that runs a job; ``None`` if no worker of the pool runs it."""
        if asyncio._get_running_loop() is not self._loop:
            return None
        worker = next((each for each in self._workers if each.job is job), None)
        if worker is None or worker.queue is None or worker.payload is None:
            return None
        queue = worker.queue
        count = self._counts[queue.name]
        store = _RedisStore(self._dispatcher, queue, worker.payload, self._clock, self._ending, count)
        self._stepped.add(job)
        self._step_types.add(queue.name)
        return PoolStepRun(job, store, self._clock, self.threads)


class PoolStepRun(StepRun):
    """The steps of one attempt in a pool, and how they end with it."""

    def __init__(self, job: Job, store: _RedisStore, clock: Clock, threads: Threads) -> None:
        super().__init__(job, store, clock, threads, anyio.to_thread.run_sync)
        self._in_redis = store
        self._token = make_identifier().encode()

    def finish(self, end: JobEnd | None) -> FinishSteps:
        """Return the command that ends a job that succeeded.

        :param end: for its record, if it has one.
        """
        return finish_steps(self._in_redis.queue, self._in_redis.payload, end)

    def defer(self, deferred: Deferred, end: JobEnd | None) -> DeferJob:
        """Return the command that has the job run again later.

        :param end: for the record of the job, if it has one.
        """
        in_redis, until = self._in_redis, deferred.until
        events = [field_of(EVENT, wait.name) for wait in deferred.waits if wait.is_event]
        seconds = KEPT_FOR + max(0, math.ceil(until - self._clock()))
        job = in_redis.queue, [in_redis.payload], in_redis.job_id
        renewed = with_time(in_redis.payload, int(self._clock()))
        return DeferJob(*job, score=until, token=self._token, renewed=renewed, events=events, seconds=seconds, end=end)


class _RedisStore:
    """Records the steps of one attempt.

    :ivar payload: what is in progress.
    """

    def __init__(
        self,
        dispatcher: Dispatcher,
        queue: Queue,
        payload: bytes,
        clock: Clock,
        ending: Callable[[], bool],
        count: Callable[[str], None],
    ) -> None:
        self._dispatcher = dispatcher
        self._ending = ending
        self._count = count
        self.queue = queue
        self.payload = payload
        # The handler may have replaced it.
        self.job_id = Job.decode(payload).id
        self._clock = clock

    async def read(self) -> dict[bytes, bytes] | None:
        reply = await self._dispatcher.request(ReadSteps(self.queue, [self.payload], self.job_id))
        return None if reply == 0 else dict(zip(reply[::2], reply[1::2], strict=True))

    async def record(self, field: bytes, value: bytes) -> bytes | None:
        reply = await self._written(RecordStep(self.queue, [self.payload], self.job_id, field, value, KEPT_FOR))
        if reply == 0:
            return None
        # Else there is another value, which was counted when it came.
        if reply == value and (kind := _KIND_OF.get(field.decode().partition(":")[0] + ":")) is not None:
            self._count(kind)
        return bytes(reply)

    async def move(self, field: bytes, value: bytes) -> bool:
        return bool(await self._written(self._moved(field, value)))

    async def _written(self, command: Command) -> Any:
        """Return the reply to a command, also if this is cancelled meanwhile: the cancellation comes after it.

        If the attempt ended before, and the command had to be sent again, the job would not be in progress any more:
        nothing would be recorded, and the next attempt would run the step again. When the pool stops, it writes what is
        to be written before it returns the job.
        """
        reply: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._dispatcher.submit(command, lambda value: None if reply.done() else reply.set_result(value))
        try:
            return await asyncio.shield(reply)
        except asyncio.CancelledError:
            if not self._ending():
                await reply
            raise

    def move_soon(self, field: bytes, value: bytes, on_reply: Callable[[bool], None]) -> None:
        self._dispatcher.submit(self._moved(field, value), lambda reply: on_reply(bool(reply)))

    def _moved(self, field: bytes, value: bytes) -> MoveCursor:
        return MoveCursor(self.queue, [self.payload], self.job_id, field, value, KEPT_FOR)

    def is_in_doubt(self) -> bool:
        return self._dispatcher.lease.in_doubt


def finish_steps(queue: Queue, payload: bytes, end: JobEnd | None) -> FinishSteps:
    """Return the command that ends a job that succeeded, and may have taken steps.

    :param end: for its record, if it has one.
    """
    # The handler may have replaced the id.
    return FinishSteps(queue, [payload], Job.decode(payload).id, end, read_hold(payload))


def end_steps(stepped: set[Job], job: Job) -> PoolStepRun | None:
    """Let an attempt that has ended take no more steps; return those that it has taken, ``None`` if none.

    :param stepped: the jobs that have asked for a step.
    """
    if not stepped or (steps := steps_of(job)) is None:
        return None
    stepped.discard(job)
    steps.end()
    return steps


def steps_of(job: Job) -> PoolStepRun | None:
    """Return the steps that an attempt has taken; ``None`` if it has asked for none."""
    run = getattr(job, "_steps", None)
    return run if isinstance(run, PoolStepRun) else None
