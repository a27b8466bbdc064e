"""Makes a pool's enqueuers write to the namespace of a test, or run jobs in place."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest import mock

from .. import sync
from .._jobs.enqueue_options import AT_ONCE, EnqueueOptions
from .._jobs.job_call import JobCall
from .._jobs.names import Named
from .._redis.keys import Keys
from .._redis.new_jobs import NewJobs
from ..enqueuer import Args, Enqueuer, check_jobs
from ..models import EnqueuedJob
from .background_loop import BackgroundLoop
from .eager_runner import EagerRunner
from .records import JobRun


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
            it is no ``Exception``, such as a ``KeyboardInterrupt``.
        """
        self.ran.append(run)
        if run.error is not None and ((run.failed and self._raise_errors) or not isinstance(run.error, Exception)):
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

    @contextmanager
    def applied(self, enqueuer: Enqueuer, sync_enqueuer: sync.Enqueuer) -> Iterator[None]:
        """Redirect two enqueuers during the block. Names that the application has for them lead here, too."""
        with ExitStack() as stack:
            for target, enqueue, enqueue_many in (
                (enqueuer, self._enqueue, self._enqueue_many),
                (sync_enqueuer, self._enqueue_blocking, self._enqueue_many_blocking),
            ):
                stack.enter_context(mock.patch.object(target, "_enqueue", enqueue))
                stack.enter_context(mock.patch.object(target, "enqueue_many", enqueue_many))
                stack.enter_context(mock.patch.object(target, "namespace", self._enqueuer.namespace))
            yield

    async def _enqueue(self, name: str | Named, args: Args, options: EnqueueOptions) -> EnqueuedJob:
        mode, new = self.eager, self._new_job(name, args, options)
        if mode is None or new is None:
            return await self._background.call(self._enqueuer._enqueue(name, args, options))
        run = await mode.runner.run(new.payloads[0])
        self._add(mode, run)
        return new.jobs[0]

    def _enqueue_blocking(self, name: str | Named, args: Args, options: EnqueueOptions) -> EnqueuedJob:
        mode, new = self.eager, self._new_job(name, args, options)
        if mode is None or new is None:
            return self._background.run(self._enqueuer._enqueue(name, args, options))
        run = self._background.run(mode.runner.run(new.payloads[0]))
        self._add(mode, run)
        return new.jobs[0]

    async def _enqueue_many(self, jobs: Iterable[tuple[str | Named, Args] | JobCall]) -> list[EnqueuedJob]:
        jobs = list(jobs)
        if self.eager is None:
            return await self._background.call(self._enqueuer.enqueue_many(jobs))
        return [await self._enqueue(*each) for each in self._checked(jobs)]

    def _enqueue_many_blocking(self, jobs: Iterable[tuple[str | Named, Args] | JobCall]) -> list[EnqueuedJob]:
        jobs = list(jobs)
        if self.eager is None:
            return self._background.run(self._enqueuer.enqueue_many(jobs))
        return [self._enqueue_blocking(*each) for each in self._checked(jobs)]

    def _add(self, mode: EagerMode, run: JobRun) -> None:
        self._ran.append(run)
        mode.add(run)

    def _new_job(self, name: str | Named, args: Args, options: EnqueueOptions) -> NewJobs | None:
        """Return a job that is to run in place, checked and encoded; ``None`` for one that goes to Redis.

        :raises UsageError, ArgumentEncodingError: when it is not valid.
        """
        if self.eager is None:
            return None
        now = int(self._enqueuer._clock())
        new = NewJobs(Keys(self._enqueuer.namespace), now)
        new.add(name, args, options)
        later = options.run_at(now) is not None
        return new if not later and self.eager.runner.handles(new.jobs[0].name) else None

    def _checked(self, jobs: list[Any]) -> list[tuple[str | Named, Mapping[str, Any] | None, EnqueueOptions]]:
        """Return jobs with their options.

        :raises UsageError, ArgumentEncodingError: when one is not valid; the message says which.
        """
        check_jobs(NewJobs(Keys(self._enqueuer.namespace), int(self._enqueuer._clock())), jobs)
        return [
            (each.name, each.args, each.options) if isinstance(each, JobCall) else (*each, AT_ONCE) for each in jobs
        ]
