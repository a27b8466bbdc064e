"""Runs a pool in a process of its own, from start to exit."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, suppress
from functools import partial
from typing import Any

from .._jobs.error_text import describe_error
from .._version import version
from ..errors import EmbeddedRedisError, PoolEndedError, RedisUnavailable, UsageError
from ..worker_pool import WorkerPool
from . import logs, shutdown
from .errors import FAILED, AppError
from .importer import PoolMaker, app_trace, factory_error
from .signals import Signals, handled_stop_signals
from .summary import duration, jobs

logger: logging.Logger = logging.getLogger("asyncwork.cli")

# Errors at the start that the command reports in one line.
_REPORTED = (EmbeddedRedisError, RedisUnavailable, UsageError)


class PoolRunner:
    """Runs a pool until a signal stops it, or until its queues are empty.

    :param pool: the pool, or an async function that makes it.
    :param label: the name of the pool on the command line.
    :param burst: whether to stop when the queues are empty.
    :param directory: the data directory of an embedded Redis to start; empty for the default directory, ``None`` to
        start none.
    """

    def __init__(self, pool: WorkerPool[Any] | PoolMaker, label: str, *, burst: bool, directory: str | None) -> None:
        self._made = pool if isinstance(pool, WorkerPool) else None
        self._make = None if isinstance(pool, WorkerPool) else pool
        self._label = label
        self._burst = burst
        self._directory = directory
        self._starting: asyncio.Task[None] | None = None
        self._quieting: asyncio.Task[None] | None = None
        self._started_at = 0.0
        self._stopping = False
        self._quiet = False

    async def run(self) -> int:
        """Run from start to stop; return the exit code.

        :raises RedisUnavailable, EmbeddedRedisError: when Redis cannot be used at the start.
        :raises UsageError: when the pool cannot run as it was made.
        :raises AppError: when the pool cannot be made, or its resources cannot be opened.
        """
        try:
            async with AsyncExitStack() as stack:
                await self._start_unless_stopped(stack)
                if self._made is not None:
                    await self._work()
        except Exception as error:
            if not self.has_started and isinstance(error, _REPORTED):
                raise
            # The pool has logged the traceback.
            logger.critical("failed: %s", describe_error(error))
            return FAILED
        if self.has_started:
            after, counts = duration(time.monotonic() - self._started_at), self._pool.counts
            ignored = f", unknown arguments ignored: {counts.ignored}" if counts.ignored else ""
            expired = f", expired jobs: {counts.expired}" if counts.expired else ""
            cancelled = f", cancelled jobs: {counts.cancelled}" if counts.cancelled else ""
            text = "stopped after %s; jobs done: %d, failed attempts: %d%s%s%s"
            logger.info(text, after, counts.done, counts.failed, expired, cancelled, ignored)
        if self._made is not None and self._made.stop_failure:
            logger.error("did not stop cleanly: %s", self._pool.stop_failure)
            return FAILED
        return 0

    async def end_cancelled(self) -> int:
        """Stop the pool after a job or other user code cancelled :meth:`run`; return the exit code."""
        try:
            if self._made is not None:
                await self._made.stop(now=True)
        finally:
            logger.critical("failed: the pool ended without a signal, because something cancelled the process's tasks")
        return FAILED

    @property
    def has_started(self) -> bool:
        """Whether the pool has been started, so that jobs may run."""
        return bool(self._started_at)

    @property
    def _pool(self) -> WorkerPool[Any]:
        assert self._made is not None
        return self._made

    async def _start_unless_stopped(self, stack: AsyncExitStack) -> None:
        if self._stopping:
            return
        self._starting = asyncio.create_task(self._start(stack))
        try:
            await self._starting
        except asyncio.CancelledError:
            if not self._stopping:
                raise

    async def _start(self, stack: AsyncExitStack) -> None:
        logger.info("starting %s in process %d, asyncwork %s", self._label, os.getpid(), version())
        if self._make is not None:
            self._made = await self._make_pool(self._make)
        pool = self._pool
        if self._directory is not None:
            await self._start_redis(self._directory, stack)
        logger.info("Redis at %s, namespace %r", pool.masked_url, pool.options.namespace)
        if pool.job_names:
            logger.info("jobs: %s", jobs(pool))
        else:
            logger.warning("the pool has no jobs: does the app import the modules that define its handlers?")
        for spec, name in pool.periodic_jobs:
            logger.info("periodic: %s at %r", name, spec)
        await self._start_pool()
        self._started_at = time.monotonic()
        until = "the queues are empty" if self._burst else _stop_signals()
        text = "running up to %d jobs at once on Redis %s, until %s"
        logger.info(text, pool.options.concurrency, pool.redis_version, until)
        if self._quiet:
            await pool.quiet()

    async def _make_pool(self, make: PoolMaker) -> WorkerPool[Any]:
        try:
            return await make()
        except asyncio.CancelledError as error:
            if self._stopping:
                raise
            raise factory_error(self._label, error) from None

    async def _start_pool(self) -> None:
        try:
            await self._pool.start()
        except BaseException as error:
            if error is not self._pool.resources_error:
                raise
            text = f"the resources of {self._label} cannot be opened: {describe_error(error)}"
            raise AppError(text, app_trace(error), code=FAILED) from None

    async def _start_redis(self, directory: str, stack: AsyncExitStack) -> None:
        from ..embedded import EmbeddedRedis

        server = EmbeddedRedis(directory or None)
        await stack.enter_async_context(server)
        logger.info("started a Redis server, process %d, which keeps its data in %s", server.pid, server.directory)
        self._pool.reconfigure(url=server.url)

    async def _work(self) -> None:
        """Wait until the pool has stopped; with ``burst``, stop it when the queues are empty.

        :raises Exception: the defect that ended the pool, or the error that kept it from reading its queues.
        """
        ended = asyncio.create_task(self._pool.wait())
        try:
            if self._burst and not self._stopping:
                # The end of the pool is reported below.
                with suppress(PoolEndedError):
                    await self._pool.drain()
                    logger.info("the queues are empty")
        finally:
            if self._burst:
                self._pool.stop_soon()
            await ended

    def stop(self, signal: str, first: bool) -> None:
        """Handle a signal that stops the pool.

        :param signal: its name, for the log.
        :param first: ``False`` cancels running jobs at once.
        """
        self._stopping = True
        if self._starting is not None and not self._starting.done():
            logger.warning("%s: stopping before the pool has started", signal)
            self._starting.cancel()
        elif first:
            logger.warning(
                "%s: stopping: no more jobs are fetched, running jobs have %s to finish; a second signal cancels them",
                signal,
                duration(self._pool.options.grace),
            )
        else:
            logger.warning(
                "%s: cancelling running jobs, which return to the front of their queues; a third signal exits at once",
                signal,
            )
        if self._made is not None:
            self._made.stop_soon(now=not first)

    def quiet(self, signal: str) -> None:
        """Handle a signal to fetch no more jobs.

        :param signal: its name, for the log.
        """
        # An operator may have had the pool run again.
        runs_again = self._quieting is not None and self._quieting.done() and self._pool.state == "running"
        if self._stopping or (self._quiet and not runs_again):
            logger.warning("%s: already %s", signal, "stopping" if self._stopping else "quiet")
            return
        self._quiet = True
        logger.warning("%s: quiet: no more jobs are fetched, running jobs go on; SIGTERM ends the process", signal)
        if self._made is not None:
            self._quieting = asyncio.create_task(self._made.quiet())


def _stop_signals() -> str:
    """Return the signals that people send to stop this process. A terminal sends SIGHUP by itself."""
    return " or ".join(name for name in handled_stop_signals() if name != "SIGHUP")


def run_pool(pool_runner: PoolRunner, log_format: str) -> int:
    """Run a pool in a new event loop, with signal handlers; return the exit code.

    If tasks or threads remain that would keep the process from exiting, exit the process instead of returning.

    :raises RedisUnavailable, EmbeddedRedisError: when Redis cannot be used at the start.
    :raises UsageError: when the pool cannot run as it was made.
    """
    runner = asyncio.Runner(loop_factory=_loop_factory())
    loop = runner.get_loop()
    # shutdown() below ends the idle threads of an executor of its own, so that only stuck threads remain.
    executor = ThreadPoolExecutor(thread_name_prefix="asyncio")
    loop.set_default_executor(executor)
    log_now = partial(logs.write_now, log_format, logging.WARNING)
    with Signals(loop, pool_runner.stop, pool_runner.quiet, log_now).handled():
        try:
            code = _run_to_the_end(runner, pool_runner)
            tasks = runner.run(shutdown.cancel_tasks())
            executor.shutdown(wait=False, cancel_futures=True)
            threads = shutdown.stuck_threads()
            if tasks or threads:
                shutdown.exit_now(code, tasks, threads)
        except _REPORTED:
            runner.close()
            raise
        runner.close()
    return code


def _run_to_the_end(runner: asyncio.Runner, pool_runner: PoolRunner) -> int:
    """Run a pool until it has ended, however often the event loop stops; return the exit code.

    The loop stops when a task or callback raises SystemExit or KeyboardInterrupt, when a signal handler raises
    anything within it, and when code calls ``loop.stop()``. A job may do each of these.
    """
    running = runner.get_loop().create_task(pool_runner.run())
    while not running.done():
        try:
            runner.run(_ended(running))
        except asyncio.CancelledError:
            continue  # a job that cancels all tasks cancels this wait too
        except BaseException as error:
            if runner.get_loop().is_closed():
                raise
            if pool_runner.has_started:
                logger.error("event loop was stopped by code that a job started (%s); going on", describe_error(error))
            else:
                logger.error("event loop was stopped before the pool ran (%s); going on", describe_error(error))
    return runner.run(pool_runner.end_cancelled()) if running.cancelled() else running.result()


async def _ended(task: asyncio.Task[int]) -> None:
    await asyncio.wait([task])


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """Return the factory of uvloop's event loop, unless it is not installed or is disabled."""
    if os.environ.get("ASYNCWORK_UVLOOP") == "0":
        return None
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop
