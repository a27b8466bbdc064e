"""The jobs of one test: a pool in a namespace of its own, and what the test does with it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager
from dataclasses import replace
from datetime import timedelta
from typing import Any, ParamSpec, overload

from .._jobs.location import JobSet
from .._jobs.names import Named, job_name
from .._jobs.times import seconds_of
from .._redis.base_client import translated_errors
from .._redis.client import RedisClient
from .._redis.key_scan import scan_namespace
from .._redis.namespace import Namespace
from .._worker import outcome
from .._worker.job_type import JobType
from ..enqueuer import Enqueuer
from ..errors import UsageError
from ..job import Job
from ..middleware import CallNext
from ..options import PoolOptions
from ..task import Task
from ..worker_pool import WorkerPool
from .background_loop import BackgroundLoop
from .due_jobs import requeue_due, schedule_periodic, shorten_rests
from .eager_block import EagerBlock, PoolEagerBlock
from .eager_resources import EagerResources
from .eager_runner import EagerRunner
from .held_launcher import HeldLauncher, cause_of
from .invariants import audit
from .listing import Wanted, described, list_jobs
from .memory_steps import steps_cause
from .moving_clock import MovingClock
from .recorded_stream import RecordedStream, record_stream
from .records import DRAIN_LIMIT, JobRun, ListedJob, name_of, progress_of
from .redirection import EagerMode, Redirection
from .sync_jobs import SyncJobs

Arguments = ParamSpec("Arguments")


class Jobs:
    """The jobs of one test. Only :meth:`drain` is a coroutine; everything else works in plain tests too.

    A pool that the application starts during the test opens its resources, but holds its jobs back: it takes them in
    :meth:`drain`, or after :meth:`release`.

    Every method that calls Redis raises :class:`RedisUnavailable` when Redis refuses or cannot be reached.

    :ivar pool: the pool under test.
    :ivar url: the URL of its Redis during the test.
    :ivar namespace: its namespace during the test.
    :ivar clock: the clock by which jobs are scheduled and retried.
    :ivar ran: every attempt that has run, in the order in which they ended.
    """

    def __init__(self, pool: WorkerPool[Any], url: str, namespace: str) -> None:
        self.pool = pool
        self.url = url
        self.namespace = namespace
        self.ran: list[JobRun] = []
        # Indexes in `ran` of the attempts that no drain has returned yet.
        self._unreturned: list[int] = []
        self._is_released = False
        self._is_draining = False
        self.clock: MovingClock = MovingClock(pool._clock, self._on_clock_moved)
        self._redis = RedisClient(url, namespace=namespace)
        self._in_redis = Namespace.of(self._redis)
        self._enqueuer = Enqueuer(url, namespace=namespace, clock=self.clock)
        self._background = BackgroundLoop(self._close_connections)
        self._redirection = Redirection(self._enqueuer, self._background, self.ran)

    # Enqueued jobs

    def enqueued(self, task: str | Named | None = None) -> list[ListedJob]:
        """Return the jobs that are enqueued: in queues, the next to run first, then scheduled, to be retried, and dead.

        :param task: a task or a name, to return its jobs only.
        :raises UsageError: when the name is not valid.
        """
        wanted = None if task is None else job_name(task)
        with self._redis_errors():
            found = self._background.run(list_jobs(self._in_redis, self.pool.job_names))
        return [job for job in found if wanted in (None, job.name)]

    @overload
    def assert_enqueued(
        self, task: Task[..., Arguments, Any], /, *args: Arguments.args, **kwargs: Arguments.kwargs
    ) -> ListedJob: ...
    @overload
    def assert_enqueued(self, task: str | Named, /, **kwargs: Any) -> ListedJob: ...
    def assert_enqueued(self, task: Any, /, *args: Any, **kwargs: Any) -> ListedJob:
        """Assert that a job is in its queue, scheduled or to be retried; return the first one that matches.

        :param task: its task or its name.
        :param args: arguments that it must have, by position as ``task.enqueue(…)`` takes them, if a task is given.
        :param kwargs: arguments that it must have, by name. It may have others. An argument that was left out counts as
            the default of the task's function.
        :raises AssertionError: when there is none. The message lists the enqueued jobs, and says how the nearest one
            differs.
        :raises UsageError: when the task does not take one of the arguments.
        """
        __tracebackhide__ = True
        wanted, found = Wanted(task, args, kwargs), self.enqueued()
        for job in found:
            if job.location != JobSet.DEAD and wanted.matches(job):
                return job
        raise AssertionError(wanted.missing(found, self.ran, self.clock()))

    @overload
    def assert_not_enqueued(
        self, task: Task[..., Arguments, Any], /, *args: Arguments.args, **kwargs: Arguments.kwargs
    ) -> None: ...
    @overload
    def assert_not_enqueued(self, task: str | Named, /, **kwargs: Any) -> None: ...
    def assert_not_enqueued(self, task: Any, /, *args: Any, **kwargs: Any) -> None:
        """Assert the contrary of :meth:`assert_enqueued`.

        :raises AssertionError: when there is such a job.
        :raises UsageError: when the task does not take one of the arguments.
        """
        __tracebackhide__ = True
        wanted = Wanted(task, args, kwargs)
        found = [job for job in self.enqueued() if job.location != JobSet.DEAD and wanted.matches(job)]
        if found:
            raise AssertionError(wanted.present(found, self.clock()))

    # Run jobs

    def eager(self, *, raise_errors: bool = True, resources: object = None) -> EagerBlock:
        """Run jobs in place during a ``with`` or ``async with`` block: enqueueing returns when the job has ended.

        The job is encoded and decoded, its arguments are checked, it gets a context, and all middleware runs around its
        handler. Its outcome is decided as by a worker, but not carried out: it is not retried, no hook is called, and
        nothing is written to Redis. Its timeout counts in real time, and a job that has expired by ``clock`` does not
        run. Jobs for later, and jobs that the pool has no handler for, are enqueued as usual. Jobs that are unique,
        debounced or throttled run each time.

        A plain function runs in a thread, as in a worker; if it is enqueued by blocking code, in the thread of that
        code.

        If contexts take the pool's resources, and the pool does not run, the first job opens them, in the event loop in
        which it runs, and the end of the block closes them. In an async test, only ``async with`` can do that.
        Enqueueing raises the error with which they cannot be opened.

        :param raise_errors: whether enqueueing raises what a failed job has raised.
        :param resources: what contexts take instead of the value of the pool's resources, such as a fake; ``None`` for
            the pool's own.
        :returns: the block. Its ``as`` gets the attempts that have run within it.
        """
        own = EagerResources(self.pool, resources)
        runner = EagerRunner(self.pool, self.namespace, self.clock, lambda each: each == self._record, own)
        return PoolEagerBlock(self._redirection, EagerMode(runner, raise_errors), own)

    def release(self) -> None:
        """Have a pool that the application has started, or will start, take jobs by itself during the rest of the test,
        as in production.
        """
        self._is_released = True
        task, launcher = self.pool._task, self.pool._launcher
        if task is not None and isinstance(launcher, HeldLauncher):
            task.get_loop().call_soon_threadsafe(launcher.release)

    async def drain(
        self, task: str | Named | None = None, /, *, raise_first: bool = False, timeout: float | timedelta = DRAIN_LIMIT
    ) -> list[JobRun]:
        """Run the pool until its queues are empty and none of its retry and scheduled jobs is due.

        The pool runs for real, in this event loop, and is stopped afterwards. A pool that runs already, in this event
        loop or in another thread's, goes on. Queues that are paused or rest, and jobs of other programs, are left
        alone. Rates are ignored. The pool enqueues periodic jobs only when the clock is moved.

        :param task: a task or a name, to return its attempts only. The jobs of all tasks run.
        :param raise_first: whether to raise what the first failed job, of any task, has raised, when all have run.
        :param timeout: seconds, or a ``timedelta``, after which running jobs are cut off.
        :returns: the attempts that the pool has run since the last drain.
        :raises HandlerError: when a periodic job has no handler; see :meth:`WorkerPool.periodically`.
        :raises UsageError: when the name or the timeout is not valid, or another drain of these jobs has not ended.
        :raises TimeoutError: when it takes longer, such as because a job enqueues itself again and again.
        :raises RedisUnavailable: when Redis cannot be reached.
        """
        wanted = None if task is None else job_name(task)
        timeout = seconds_of(timeout, "timeout")
        if self._is_draining:
            raise UsageError("another drain() of these jobs has not ended: wait for it, and drain then")
        self._is_draining = True
        try:
            await self._run_all(timeout)
        finally:
            self._is_draining = False
        returned, self._unreturned = self._unreturned, []
        await self._background.call(self._note_run_times(returned))
        ran = [self.ran[index] for index in returned]
        if raise_first:
            for run in ran:
                if run.failed and run.error is not None:
                    raise run.error
        return [run for run in ran if wanted in (None, run.name)]

    @property
    def sync(self) -> SyncJobs:
        """The same for tests without an event loop: ``jobs.sync.drain()`` blocks."""
        return SyncJobs(self)

    @asynccontextmanager
    async def _pool_running(self) -> AsyncIterator[None]:
        async with self.pool.running():
            try:
                yield
            except BaseException:
                self.pool.stop_soon(now=True)
                raise

    async def _run_all(self, timeout: float) -> None:
        running = self.pool._task if self.pool._is_running else None
        if running is None:
            async with self._pool_running():
                await self._drain(timeout)
        elif (loop := running.get_loop()) is asyncio.get_running_loop():
            await self._drain(timeout)
        else:
            await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(self._drain(timeout), loop))

    async def _drain(self, timeout: float) -> None:
        namespace = Namespace.of(self.pool._redis)
        try:
            async with asyncio.timeout(timeout):
                while True:
                    moved = await self._requeue_due(namespace)
                    await self.pool.drain()
                    if not moved and not await self._requeue_due(namespace):
                        return
        except TimeoutError:
            last = f", the last one {described(self.ran[-1])}" if self.ran else ""
            raise TimeoutError(
                f"jobs are still running or due after {timeout:g} s (timeout=…). {len(self.ran)} attempts ended{last}"
            ) from None

    async def _requeue_due(self, namespace: Namespace) -> bool:
        with self._redis_errors():
            return await requeue_due(self.pool, namespace, self.clock)

    # Running jobs

    async def _record(self, context: Any, job: Job, call_next: CallNext) -> object:
        """Record an attempt. This is a middleware around all others."""
        before, args, stream = job.raw, dict(job.args), record_stream(job)
        try:
            result = await call_next()
        except BaseException as error:
            if not self._is_cut_off(error):
                cause = cause_of(self.pool._launcher, job, error)
                self._add(before, args, steps_cause(job, cause), progress_of(job), stream)
            raise
        self._add(before, args, steps_cause(job, None), progress_of(job), stream)
        return result

    def _is_cut_off(self, error: BaseException) -> bool:
        """Return whether a job was ended by the stop of the pool, so that the attempt does not count."""
        launcher = self.pool._launcher
        return isinstance(error, asyncio.CancelledError | GeneratorExit) and (
            launcher is None or launcher.state.stop_requested
        )

    def _add(self, payload: bytes, args: dict[str, Any], error: Any, progress: Any, stream: RecordedStream) -> None:
        job = Job.decode(payload)
        # The worker decides when to retry, and the application's backoff is not to be called twice for it.
        options = replace(self.pool.job_options[job.name], backoff=lambda _: 0.0)
        fails = job.fails
        decided = outcome.decide(job, options, error, self.clock())
        self._unreturned.append(len(self.ran))
        failed = job.fails > fails
        run = JobRun(job.name, job.id, args, name_of(decided), error, None, failed, progress, stream.end())
        self.ran.append(run)

    async def _note_run_times(self, indexes: list[int]) -> None:
        """Complete attempts by when their jobs run again.

        :param indexes: their places in `ran`, ascending.
        """
        with self._redis_errors():
            listed = await list_jobs(self._in_redis, ())
        due = {job.id: job.at for job in listed if job.location != JobSet.DEAD and job.at}
        for index in reversed(indexes):
            run = self.ran[index]
            if run.outcome in ("retry", "snoozed") and (at := due.pop(run.id, None)) is not None:
                self.ran[index] = replace(run, run_at=at)

    # The namespace

    def _on_clock_moved(self, before: float, after: float) -> None:
        periodic = self.pool._registry.periodic
        with self._redis_errors():
            if periodic:
                self._background.run(schedule_periodic(self._in_redis, periodic, before, after))
            self._background.run(shorten_rests(self.pool.job_names, self._in_redis, after - before))

    def _make_launcher(
        self,
        redis: RedisClient,
        options: PoolOptions,
        job_types: dict[str, JobType],
        periodic: object,
        *others: Any,
    ) -> HeldLauncher:
        """Return what runs the pool. It enqueues no periodic jobs, so that no test depends on the hour of the day."""
        return HeldLauncher(redis, options, job_types, (), *others, is_released=self._is_released)

    async def _close_connections(self) -> None:
        await self._enqueuer.close()
        await self._redis.close()

    @contextmanager
    def _opened(self) -> Iterator[None]:
        """Redirect the pool to this namespace during the block."""
        pool, registry = self.pool, self.pool._registry
        enqueuer, sync_enqueuer, flow_opener = pool.enqueuer, pool.sync_enqueuer, pool._flow_opener
        url, namespace = pool._redis.url, pool.options.namespace
        clock, pool._clock = pool._clock, self.clock
        launcher_type, pool._launcher_type = pool._launcher_type, self._make_launcher
        try:
            pool.reconfigure(url=self.url, namespace=self.namespace)
            pool._enqueuer, pool._sync_enqueuer, pool._flow_opener = enqueuer, sync_enqueuer, flow_opener
            registry.middlewares.insert(0, self._record)
            with self._redirection.applied(enqueuer, sync_enqueuer):
                yield
        finally:
            pool._clock, pool._launcher_type = clock, launcher_type
            registry.middlewares[:] = [each for each in registry.middlewares if each != self._record]
            if not pool._is_running:
                pool.reconfigure(url=url, namespace=namespace)
                pool._enqueuer, pool._sync_enqueuer, pool._flow_opener = enqueuer, sync_enqueuer, flow_opener

    async def _finish(self) -> list[str]:
        """Return what violates the invariants, and delete all keys."""
        violations = await audit(self.url, self.namespace)
        client = self._redis.client()
        with self._redis_errors():
            async for key in scan_namespace(self._in_redis):
                await client.unlink(key)
        return violations

    def _redis_errors(self) -> AbstractContextManager[None]:
        """Raise errors of Redis as RedisUnavailable."""
        return translated_errors(self._redis.masked_url)
