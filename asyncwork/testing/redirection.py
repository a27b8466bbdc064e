"""Makes a pool's enqueuers write to the namespace of a test, or run jobs in place."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from typing import Any, TypeAlias, TypeVar, Unpack
from unittest import mock

from .. import sync
from .._jobs.enqueue_options import EnqueueOptions, OptionsDict
from .._jobs.job_call import JobCall, check_call, check_jobs
from .._jobs.names import Named, job_name
from .._jobs.rule_arguments import by_type
from .._redis.enqueue_steps import Steps
from .._redis.job_record import Record, not_kept
from .._redis.new_jobs import NewJobs
from ..enqueuer import Enqueuer
from ..errors import ResultTimeout
from ..models.enqueued_job import EnqueuedJob, set_source
from .background_loop import BackgroundLoop
from .eager_runner import EagerRunner
from .records import JobRun

T = TypeVar("T")

Args: TypeAlias = Mapping[str, Any] | None
NewJob: TypeAlias = tuple[str | Named, Args] | JobCall


class EagerMode:
    """Jobs run in place as long as it is the mode.

    :ivar ran: what has run.
    """

    def __init__(self, runner: EagerRunner, raise_errors: bool) -> None:
        self.runner = runner
        self.ran: list[JobRun] = []
        self._raise_errors = raise_errors

    def add(self, run: JobRun) -> None:
        """Record an attempt that has ended.

        :raises BaseException: what its handler has raised, if the attempt failed and failures are to be raised, or if
            it is a ``KeyboardInterrupt``, which ends the tests.
        """
        self.ran.append(run)
        if run.error is not None and ((run.failed and self._raise_errors) or isinstance(run.error, KeyboardInterrupt)):
            raise run.error


class Redirection:
    """Enqueues for the pool's enqueuers.

    :param enqueuer: writes to the namespace of the test.
    :param ran: gets every attempt that was run in place.
    :ivar eager: the mode in which jobs run in place; ``None`` while they are written to Redis.
    """

    def __init__(self, enqueuer: Enqueuer, background: BackgroundLoop, ran: list[JobRun]) -> None:
        self._enqueuer = enqueuer
        self._background = background
        self._ran = ran
        self.eager: EagerMode | None = None
        # The enqueuer of the application, through which the results of jobs are awaited.
        self._source: Enqueuer = enqueuer

    @contextmanager
    def applied(self, enqueuer: Enqueuer, sync_enqueuer: sync.Enqueuer) -> Iterator[None]:
        """Redirect two enqueuers during the block. Names that the application has for them lead here, too."""
        self._source = enqueuer
        replacements = (
            (enqueuer, self._enqueue, self._enqueue_call, self._enqueue_many, self._wait),
            (
                sync_enqueuer,
                self._enqueue_blocking,
                self._enqueue_call_blocking,
                self._enqueue_many_blocking,
                self._wait_blocking,
            ),
        )
        with ExitStack() as stack:
            for target, enqueue, enqueue_call, enqueue_many, wait in replacements:
                changes: dict[str, Any] = {
                    "enqueue": enqueue,
                    "enqueue_call": enqueue_call,
                    "enqueue_many": enqueue_many,
                    "_wait_for_end": wait,
                    "namespace": self._enqueuer.namespace,
                }
                stack.enter_context(mock.patch.multiple(target, **changes))
                # Batches and flows are written there, too, also in the mode in which jobs run in place.
                stack.enter_context(mock.patch.object(target, "_batch_source", self._enqueuer._batch_source))
            stack.enter_context(mock.patch.object(enqueuer._producer, "run", self._run_steps))
            stack.enter_context(mock.patch.object(enqueuer, "_make_client", self._enqueuer._make_client))
            stack.enter_context(mock.patch.object(enqueuer, "_wait_for_batch", self._wait_for_batch))
            # Slots of limits are taken there, in the event loop of the caller.
            stack.enter_context(mock.patch.object(enqueuer, "_in_redis", self._enqueuer._in_redis))
            stack.enter_context(mock.patch.object(enqueuer._producer, "close", self._closing(enqueuer._producer.close)))
            stack.enter_context(mock.patch.object(sync_enqueuer._redis, "run", self._run_steps_blocking))
            yield

    def _closing(self, close: Callable[[], Awaitable[None]]) -> Callable[[], Awaitable[None]]:
        async def close_both() -> None:
            await close()
            await self._enqueuer.close()

        return close_both

    async def _run_steps(self, steps: Steps[T]) -> T:
        return await self._background.call(self._enqueuer._producer.run(steps))

    def _run_steps_blocking(self, steps: Steps[T]) -> T:
        return self._background.run(self._enqueuer._producer.run(steps))

    async def _enqueue(self, name: str | Named, args: Args = None, **options: Unpack[OptionsDict]) -> EnqueuedJob:
        return await self._enqueue_call(_call_of(name, args, options))

    def _enqueue_blocking(self, name: str | Named, args: Args = None, **options: Unpack[OptionsDict]) -> EnqueuedJob:
        return self._enqueue_call_blocking(_call_of(name, args, options))

    async def _enqueue_call(self, call: JobCall) -> EnqueuedJob:
        job = await self._enqueue_one(call)
        set_source(job, self._source)
        return job

    async def _enqueue_one(self, call: JobCall) -> EnqueuedJob:
        mode, new = self.eager, self._new_job(call)
        if mode is None or new is None:
            return await self._background.call(self._enqueuer.enqueue_call(call))
        run = await mode.runner.run(mode.runner.payload_of(new))
        self._add(mode, run)
        # As in production, where jobs that are enqueued by name in bulk have no source.
        if (task := getattr(call, "_task", None)) is not None:
            set_source(new.jobs[0], task)
        return new.jobs[0]

    def _enqueue_call_blocking(self, call: JobCall) -> EnqueuedJob:
        mode, new = self.eager, self._new_job(call)
        if mode is None or new is None:
            return self._background.run(self._enqueuer.enqueue_call(call))
        run = self._background.run(mode.runner.run(mode.runner.payload_of(new)))
        self._add(mode, run)
        return new.jobs[0]

    async def _enqueue_many(self, jobs: Iterable[NewJob]) -> list[EnqueuedJob]:
        check_jobs(jobs)
        jobs = list(jobs)
        if self.eager is None:
            return await self._background.call(self._enqueuer.enqueue_many(jobs))
        return [await self._enqueue_one(each) for each in self._checked(jobs)]

    def _enqueue_many_blocking(self, jobs: Iterable[NewJob]) -> list[EnqueuedJob]:
        check_jobs(jobs)
        jobs = list(jobs)
        if self.eager is None:
            return self._background.run(self._enqueuer.enqueue_many(jobs))
        return [self._enqueue_call_blocking(each) for each in self._checked(jobs)]

    async def _wait(self, job_id: str, name: str, timeout: float | timedelta | None, *, search: bool = False) -> Record:
        if (ended := self._record_of(job_id)) is not None:
            return ended
        return await self._background.call(self._enqueuer._wait_for_end(job_id, name, timeout, search=search))

    async def _wait_for_batch(self, batch_id: str, seconds: float | None) -> None:
        await self._background.call(self._enqueuer._wait_for_batch(batch_id, seconds))

    def _wait_blocking(self, job_id: str, name: str, timeout: float | timedelta | None) -> Record:
        if (ended := self._record_of(job_id)) is not None:
            return ended
        return self._background.run(self._enqueuer._wait_for_end(job_id, name, timeout))

    def _record_of(self, job_id: str) -> Record | None:
        """Return the record of a job that has run in place; ``None`` for any other job.

        :raises ResultTimeout: when it is to run again, which no worker would do.
        :raises UsageError: when the results of its type are not kept.
        """
        if self.eager is None:
            return None
        record = self.eager.runner.records.get(job_id)
        run = next((run for run in self.eager.ran if run.id == job_id), None)
        if record is None and run is not None:
            if not self.eager.runner.keeps_results(run.name):
                raise not_kept(run.name)
            raise ResultTimeout(f"job {job_id} has run in place and has not ended: it is to run again")
        return record

    def _add(self, mode: EagerMode, run: JobRun | None) -> None:
        if run is None:
            return
        self._ran.append(run)
        mode.add(run)

    def _new_job(self, call: JobCall) -> NewJobs | None:
        """Return a job that is to run in place, checked and encoded; ``None`` for one that goes to Redis.

        :raises UsageError, ArgumentEncodingError: when it is not valid.
        """
        check_call(call)
        if self.eager is None:
            return None
        new = self._enqueuer._new_jobs()
        new.add(call.name, call.args, call.options)
        later = new.jobs[0].run_at > new.jobs[0].enqueued_at
        return new if not later and self.eager.runner.handles(new.jobs[0].name) else None

    def _checked(self, jobs: list[NewJob]) -> list[JobCall]:
        """Return jobs as calls.

        :raises UsageError, ArgumentEncodingError: when one is not valid; the message says which.
        """
        self._enqueuer._new_jobs().add_all(jobs)
        return [each if isinstance(each, JobCall) else _call_of(each[0], each[1], {}) for each in jobs]


def _call_of(name: str | Named, args: Args, options: OptionsDict) -> JobCall:
    """Return a job that is given by its name or its task as a call.

    :raises UsageError, ArgumentEncodingError: when it is not valid.
    """
    taken, with_rule = by_type(name, args, EnqueueOptions(**options))
    return JobCall(job_name(name), taken, with_rule)
