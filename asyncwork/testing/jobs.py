"""The jobs of one test: a pool in a namespace of its own, and what the test does with it."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager
from dataclasses import replace
from typing import Any

from .._jobs.location import JobSet
from .._jobs.names import Named, job_name
from .._redis.base_client import translated_errors
from .._redis.client import RedisClient
from .._redis.key_scan import scan_namespace
from .._redis.namespace import Namespace
from .._worker import outcome
from ..enqueuer import Enqueuer
from ..errors import UsageError
from ..job import Job
from ..middleware import CallNext
from ..worker_pool import WorkerPool
from .background_loop import BackgroundLoop
from .due_jobs import requeue_due, schedule_periodic
from .eager_runner import EagerRunner
from .invariants import audit
from .listing import Wanted, described, list_jobs
from .moving_clock import MovingClock
from .records import JobRun, ListedJob, name_of
from .redirection import EagerMode, Redirection

# Seconds that a drain may take by default.
_DRAIN_LIMIT = 60.0


class Jobs:
    """The jobs of one test. Only :meth:`drain` is a coroutine; everything else works in plain tests too.

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
        self.clock: MovingClock = MovingClock(pool._clock, self._on_clock_moved)
        self._redis = RedisClient(url, namespace=namespace)
        self._in_redis = Namespace.of(self._redis)
        self._enqueuer = Enqueuer(url, namespace=namespace, clock=self.clock)
        self._background = BackgroundLoop(self._close_connections)
        self._redirection = Redirection(self._enqueuer, self._background, self.ran)

    # What is enqueued

    def enqueued(self, task: str | Named | None = None) -> list[ListedJob]:
        """Return the jobs that are enqueued: in queues, the next to run first, then scheduled, to be retried, and dead.

        :param task: a task or a name, to return its jobs only.
        :raises UsageError: when the name is not valid.
        """
        with self._redis_errors():
            found = self._background.run(list_jobs(self._in_redis, self.pool.job_names))
        return found if task is None else [job for job in found if job.name == job_name(task)]

    def assert_enqueued(self, task: str | Named, /, **args: Any) -> ListedJob:
        """Assert that a job is in its queue, scheduled or to be retried; return the first one that matches.

        :param task: its task or its name.
        :param args: arguments that it must have. It may have others. An argument that was left out counts as the
            default of the task's function.
        :raises AssertionError: when there is none. The message lists the enqueued jobs, and says how the nearest one
            differs.
        :raises UsageError: when the task does not take one of the arguments.
        """
        __tracebackhide__ = True
        wanted, found = Wanted(task, args), self.enqueued()
        for job in found:
            if job.location != JobSet.DEAD and wanted.matches(job):
                return job
        raise AssertionError(wanted.missing(found, self.ran, self.clock()))

    def assert_not_enqueued(self, task: str | Named, /, **args: Any) -> None:
        """Assert the contrary of :meth:`assert_enqueued`.

        :raises AssertionError: when there is such a job.
        :raises UsageError: when the task does not take one of the arguments.
        """
        __tracebackhide__ = True
        wanted = Wanted(task, args)
        found = [job for job in self.enqueued() if job.location != JobSet.DEAD and wanted.matches(job)]
        if found:
            raise AssertionError(wanted.present(found, self.clock()))

    # Run jobs

    @contextmanager
    def eager(self, *, raise_errors: bool = True, resources: object = None) -> Iterator[list[JobRun]]:
        """Run jobs in place during a ``with`` block: enqueueing returns when the job has ended.

        The job is encoded and decoded, its arguments are checked, it gets a context, and all middleware runs around its
        handler. Its outcome is decided as by a worker, but not carried out: it is not retried, no hook is called, and
        nothing is written to Redis. Jobs for later, and jobs that the pool has no handler for, are enqueued as usual.

        A plain function runs in a thread, as in a worker; if it is enqueued by blocking code, in the thread of that
        code.

        :param raise_errors: whether enqueueing raises what a failed job has raised.
        :param resources: what contexts take as the value of the pool's resources; ``None`` for those that are open
            because the pool runs.
        :returns: the attempts that have run within the block.
        """
        before = self._redirection.eager
        runner = EagerRunner(self.pool, self.clock, lambda each: each == self._record, resources)
        mode = self._redirection.eager = EagerMode(runner, raise_errors)
        try:
            yield mode.ran
        finally:
            self._redirection.eager = before

    async def drain(self, *, raise_first: bool = False, timeout: float = _DRAIN_LIMIT) -> list[JobRun]:
        """Run the pool until its queues are empty and none of its retry and scheduled jobs is due.

        The pool runs for real, in this event loop, and is stopped afterwards. A pool that runs already, in this event
        loop or in another thread's, goes on. Queues that are paused, and jobs of other programs, are left alone. The
        pool enqueues periodic jobs only when the clock is moved.

        :param raise_first: whether to raise what the first failed job has raised, when all have run.
        :param timeout: seconds after which running jobs are cut off.
        :returns: the attempts that have run meanwhile.
        :raises TimeoutError: when it takes longer, such as because a job enqueues itself again and again.
        :raises RedisUnavailable: when Redis cannot be reached.
        """
        start = len(self.ran)
        running = self.pool._task if self.pool._is_running else None
        if running is None:
            async with self._pool_running():
                await self._drain(timeout)
        elif (loop := running.get_loop()) is asyncio.get_running_loop():
            await self._drain(timeout)
        else:
            await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(self._drain(timeout), loop))
        await self._background.call(self._note_run_times(start))
        ran = self.ran[start:]
        if raise_first:
            for run in ran:
                if run.failed and run.error is not None:
                    raise run.error
        return ran

    @property
    def sync(self) -> SyncJobs:
        """The same for tests without an event loop: ``jobs.sync.drain()`` blocks."""
        return SyncJobs(self)

    @asynccontextmanager
    async def _pool_running(self) -> AsyncIterator[None]:
        registry = self.pool._registry
        periodic, registry.periodic = registry.periodic, []
        try:
            await self.pool.start()
        finally:
            registry.periodic = periodic
        async with self.pool.running():
            try:
                yield
            except BaseException:
                self.pool.stop_soon(now=True)
                raise

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

    # What runs

    async def _record(self, context: Any, job: Job, call_next: CallNext) -> object:
        """Record an attempt. This is a middleware around all others."""
        before, args = job.raw, dict(job.args)
        try:
            result = await call_next()
        except BaseException as error:
            if not self._is_cut_off(error):
                self._add(before, args, error)
            raise
        self._add(before, args, None)
        return result

    def _is_cut_off(self, error: BaseException) -> bool:
        """Return whether a job was ended by the stop of the pool, so that the attempt does not count."""
        launcher = self.pool._launcher
        return isinstance(error, asyncio.CancelledError | GeneratorExit) and (
            launcher is None or launcher.stop_requested
        )

    def _add(self, payload: bytes, args: dict[str, Any], error: BaseException | None) -> None:
        job = Job.decode(payload)
        # The worker decides when to retry, and the application's backoff is not to be called twice for it.
        options = replace(self.pool.job_options[job.name], backoff=lambda _: 0.0)
        fails = job.fails
        decided = outcome.decide(job, options, error, self.clock())
        self.ran.append(JobRun(job.name, job.id, args, name_of(decided), error, failed=job.fails > fails))

    async def _note_run_times(self, start: int) -> None:
        """Complete the attempts from an index on by when their jobs run again."""
        with self._redis_errors():
            listed = await list_jobs(self._in_redis, ())
        due = {job.id: job.at for job in listed if job.location != JobSet.DEAD and job.at}
        for index in range(len(self.ran) - 1, start - 1, -1):
            run = self.ran[index]
            if run.outcome in ("retry", "snoozed") and (at := due.pop(run.id, None)) is not None:
                self.ran[index] = replace(run, run_at=at)

    # The namespace

    def _on_clock_moved(self, before: float, after: float) -> None:
        periodic = self.pool._registry.periodic
        if periodic:
            with self._redis_errors():
                self._background.run(schedule_periodic(self._in_redis, periodic, before, after))

    async def _close_connections(self) -> None:
        await self._enqueuer.close()
        await self._redis.close()

    @contextmanager
    def _opened(self) -> Iterator[None]:
        """Redirect the pool to this namespace during the block."""
        pool, registry = self.pool, self.pool._registry
        enqueuer, sync_enqueuer = pool.enqueuer, pool.sync_enqueuer
        url, namespace = pool._redis.url, pool.options.namespace
        clock, pool._clock = pool._clock, self.clock
        try:
            pool.reconfigure(url=self.url, namespace=self.namespace)
            pool._enqueuer, pool._sync_enqueuer = enqueuer, sync_enqueuer
            registry.middlewares.insert(0, self._record)
            with self._redirection.applied(enqueuer, sync_enqueuer):
                yield
        finally:
            pool._clock = clock
            registry.middlewares[:] = [each for each in registry.middlewares if each != self._record]
            if not pool._is_running:
                pool.reconfigure(url=url, namespace=namespace)
                pool._enqueuer, pool._sync_enqueuer = enqueuer, sync_enqueuer

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


class SyncJobs:
    """What of :class:`Jobs` blocks, for tests without an event loop."""

    def __init__(self, jobs: Jobs) -> None:
        self._jobs = jobs

    def drain(self, *, raise_first: bool = False, timeout: float = _DRAIN_LIMIT) -> list[JobRun]:
        """Run the pool until its queues are empty, as :meth:`Jobs.drain` does, in an event loop of another thread.

        :raises TimeoutError, RedisUnavailable: as there.
        """
        return self._jobs._background.run(self._jobs.drain(raise_first=raise_first, timeout=timeout))


@contextmanager
def open_jobs(pool: WorkerPool[Any], url: str) -> Iterator[Jobs]:
    """Redirect a pool to a new namespace during a ``with`` block. The fixture ``jobs`` does this for each test.

    :param url: the URL of a Redis for tests.
    :raises UsageError: when the pool is running, or is not a pool.
    :raises AssertionError: at the end, when the audit finds something, or the pool is still running.
    :raises RedisUnavailable: at the end, when Redis refuses or cannot be reached.
    """
    __tracebackhide__ = True
    if not isinstance(pool, WorkerPool):
        raise UsageError(f"the pool under test must be a WorkerPool, not {type(pool).__name__}: {pool!r}")
    if pool._is_running:
        raise UsageError(
            "the pool is running already, so it cannot be redirected to the Redis for tests: let the fixture that "
            "starts it take the fixture `jobs`"
        )
    namespace = f"test-{uuid.uuid4().hex[:12]}"
    if "cluster" in url.partition(":")[0]:
        namespace = f"{{{namespace}}}"
    jobs = Jobs(pool, url, namespace)
    try:
        with jobs._opened():
            yield jobs
        violations = jobs._background.run(jobs._finish())
    finally:
        jobs._background.close()
    if pool._is_running:
        raise AssertionError("the pool is still running at the end of the test: stop it before")
    if violations:
        raise AssertionError("\n".join(["after the test, the audit of its jobs found:", *violations]))
