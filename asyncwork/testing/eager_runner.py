"""Runs a job in place, in the code that enqueues it: from its bytes to its outcome, but without Redis."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import anyio.to_thread

from .._jobs.clock import Clock
from .._jobs.handler import make_handler
from .._redis.job_record import Record, read_record
from .._redis.new_jobs import NewJobs
from .._worker import outcome
from .._worker.expiry import Expiry
from .._worker.interruption import timeout_of
from .._worker.job_context import start
from .._worker.job_type import JobType
from .._worker.outcome_record import log_outcome
from .._worker.result_keeper import ResultKeeper
from .._worker.traced_call import traced
from ..job import Job
from ..middleware import Middleware, compose
from ..worker_pool import WorkerPool
from .background_loop import run_plain
from .eager_limits import run_within
from .eager_resources import EagerResources
from .memory_steps import steps_in_memory
from .recorded_stream import RecordedStream
from .records import JobRun, name_of, progress_of, run_at_of


class EagerRunner:
    """Runs jobs of one pool as its workers would, each to its end.

    :param namespace: that of the test, for traces.
    :param is_own: whether a middleware is not the application's.
    :param resources: what contexts take as the value of the pool's resources.
    :ivar records: of the jobs that have ended and whose results are kept, by id.
    """

    def __init__(
        self,
        pool: WorkerPool[Any],
        namespace: str,
        clock: Clock,
        is_own: Callable[[Middleware], bool],
        resources: EagerResources,
    ) -> None:
        self._pool = pool
        self._resources = resources
        self._namespace = namespace
        self._clock = clock
        self._is_own = is_own
        self._expiry = Expiry(clock)
        self._types: dict[str, JobType] = {}
        self.records: dict[str, Record] = {}

    def handles(self, name: str) -> bool:
        """Return whether the pool has a handler for a job name."""
        return name in self._pool._registry.handlers

    def keeps_results(self, name: str) -> bool:
        """Return whether the results of a job name are kept."""
        return self._pool._registry.handlers[name].options.result is not None

    def payload_of(self, new: NewJobs) -> bytes:
        """Return the payload of the one job in ``new``, with the trace of its enqueue if the pool traces jobs."""
        with new.traced(self._pool._tracing, self._namespace):
            pass
        return new.payload(0)

    async def run(self, payload: bytes) -> JobRun | None:
        """Run the job of a payload; return its attempt, whatever its handler raises, or ``None`` if it has expired.

        :raises CancelledError: when the task that runs it is cancelled.
        :raises BaseException: as :meth:`EagerResources.value`.
        """
        make_context = self._pool._context.bind(await self._resources.value())
        job = Job.decode(payload)
        args, job_type = dict(job.args), self._type_of(job.name)
        stream = RecordedStream(job)
        if job_type.options.stream is not None:
            job._sink = stream
        job._steps = steps = steps_in_memory(job, self._clock)
        error: BaseException | None = None
        started_at = self._clock()
        try:
            await self._run(job, job_type, make_context())
        except BaseException as raised:
            task = asyncio.current_task()
            if isinstance(raised, asyncio.CancelledError) and task is not None and task.cancelling():
                raise
            error = raised
        # A task group wraps what ends an attempt that waits, and a handler may catch it.
        error = steps.cause_of(error)
        steps.end()
        # The handler may have replaced it.
        job.raw = payload
        now = self._clock()
        emitted = stream.end()
        decided = outcome.decide(job, job_type.options, error, now)
        if (keeper := job_type.keeper) is not None:
            ended = payload, job, started_at, now
            end = keeper.done(*ended) if error is None else keeper.end_of(decided, *ended)
            if end is not None:
                self.records[end.job_id] = read_record(end.fields())
        if error is not None:
            log_outcome(job, decided, error)
        if isinstance(decided, outcome.Expired):
            return None
        failed, run_at = job.fails > 0, run_at_of(decided)
        return JobRun(job.name, job.id, args, name_of(decided), error, run_at, failed, progress_of(job), emitted)

    async def _run(self, job: Job, job_type: JobType, context: object) -> None:
        """Run a job to its end, or until its time is over.

        :raises BaseException: what the handler raises.
        """
        suspended = start(job_type.call if job.expires is None else job_type.in_time(), context, job)
        if suspended is None:
            return
        if (seconds := timeout_of(job, job_type.options)) is None:
            await suspended
        else:
            await run_within(seconds, suspended, job, self._pool.options.tuning.overdue)

    def _type_of(self, name: str) -> JobType:
        if name not in self._types:
            registry = self._pool._registry
            handler = registry.handlers[name]
            extra = handler.options.extra or self._pool.options.extra
            made = make_handler(
                name,
                handler.function,
                self._pool._context.type,
                handler.options,
                anyio.to_thread.current_default_thread_limiter,
                forbid_unknown=extra == "forbid",
                run_plain=run_plain,
            )
            middlewares = [each for each in registry.middlewares if not self._is_own(each)]
            call, keeper = made.call, None
            if made.options.result is not None:
                keeper = ResultKeeper(made.returns, int(made.options.result))  # type: ignore[arg-type]
                call = keeper.keeping(call)
            call = compose(middlewares, call)
            if (tracing := self._pool._tracing) is not None:
                call = traced(call, tracing, self._namespace, made.options)
            made_type = JobType(call, made.options, keeper)
            self._types.update(self._expiry.with_limits({name: made_type}))
        return self._types[name]
