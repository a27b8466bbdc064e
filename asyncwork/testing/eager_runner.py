"""Runs a job in place, in the code that enqueues it: from its bytes to its outcome, but without Redis."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import anyio.to_thread

from .._jobs.calling import Call
from .._jobs.clock import Clock
from .._jobs.handler import make_handler
from .._redis.job_record import Record, read_record
from .._worker import outcome
from .._worker.job_context import start
from .._worker.outcome_record import log_outcome
from .._worker.result_keeper import ResultKeeper
from ..job import Job
from ..middleware import Middleware, compose
from ..worker_pool import WorkerPool
from .background_loop import run_plain
from .eager_resources import EagerResources
from .records import JobRun, name_of, run_at_of


class EagerRunner:
    """Runs jobs of one pool as its workers would, each to its end.

    :param is_own: whether a middleware is not the application's.
    :param resources: what contexts take as the value of the pool's resources.
    :ivar records: of the jobs that have ended and whose results are kept, by id.
    """

    def __init__(
        self, pool: WorkerPool[Any], clock: Clock, is_own: Callable[[Middleware], bool], resources: EagerResources
    ) -> None:
        self._pool = pool
        self._resources = resources
        self._clock = clock
        self._is_own = is_own
        self._calls: dict[str, Call] = {}
        self._keepers: dict[str, ResultKeeper] = {}
        self.records: dict[str, Record] = {}

    def handles(self, name: str) -> bool:
        """Return whether the pool has a handler for a job name."""
        return name in self._pool._registry.handlers

    async def run(self, payload: bytes) -> JobRun:
        """Run the job of a payload; return its attempt, whatever its handler raises.

        :raises CancelledError: when the task that runs it is cancelled.
        :raises BaseException: as :meth:`EagerResources.value`.
        """
        make_context = self._pool._context.bind(await self._resources.value())
        job = Job.decode(payload)
        args, options = dict(job.args), self._pool._registry.handlers[job.name].options
        error: BaseException | None = None
        started_at = self._clock()
        try:
            suspended = start(self._call_of(job.name), make_context(), job)
            if suspended is not None:
                await suspended
        except BaseException as raised:
            task = asyncio.current_task()
            if isinstance(raised, asyncio.CancelledError) and task is not None and task.cancelling():
                raise
            error = raised
        # The handler may have replaced it.
        job.raw = payload
        now = self._clock()
        decided = outcome.decide(job, options, error, now)
        if (keeper := self._keepers.get(job.name)) is not None:
            end = keeper.end_of(decided, payload, job, started_at, now)
            if end is not None:
                self.records[end.job_id] = read_record(end.fields)
        if error is not None:
            log_outcome(job, decided, error)
        return JobRun(job.name, job.id, args, name_of(decided), error, run_at_of(decided), job.fails > 0)

    def _call_of(self, name: str) -> Call:
        if name not in self._calls:
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
            call = made.call
            if made.options.result is not None:
                keeper = self._keepers[name] = ResultKeeper(made.returns, int(made.options.result))  # type: ignore[arg-type]
                call = keeper.keeping(call)
            self._calls[name] = compose(middlewares, call)
        return self._calls[name]
