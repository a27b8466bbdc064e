"""A pool in a process of its own, from start to exit."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from functools import partial
from typing import Any

from .._jobs.error_text import describe_error
from .._version import version
from ..errors import RedisUnusable, UsageError
from ..worker_pool import WorkerPool
from . import leaving, logs
from .signals import Signals, handled_stop_signals
from .summary import duration, jobs

logger = logging.getLogger("asyncwork.cli")


class Service:
    """Runs a pool until it is told to stop, or until its queues are empty.

    :param label: what the pool is called on the command line.
    :param burst: whether to stop when the queues are empty.
    :param directory: where to start a Redis for it; empty for the usual place, ``None`` for no such Redis.
    """

    def __init__(self, pool: WorkerPool[Any], label: str, *, burst: bool, directory: str | None) -> None:
        self._pool = pool
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

        :raises RedisUnusable, EmbeddedRedisError: when there is no Redis to begin with.
        :raises UsageError: when the pool cannot run as it was made.
        """
        try:
            async with AsyncExitStack() as resources:
                await self._start_unless_stopped(resources)
                await self._work()
        except Exception as error:
            if not self._started_at and isinstance(error, (RedisUnusable, UsageError)):
                raise
            # Of a defect the pool has told in full.
            logger.critical("failed: %s", describe_error(error))
            return 1
        if self._started_at:
            after, tally = duration(time.monotonic() - self._started_at), self._pool.counts
            ignored = f", unknown arguments ignored: {tally.ignored}" if tally.ignored else ""
            text = "stopped after %s; jobs done: %d, failed attempts: %d%s"
            logger.info(text, after, tally.done, tally.failed, ignored)
        if self._pool.stop_failure:
            logger.error("did not stop cleanly: %s", self._pool.stop_failure)
            return 1
        return 0

    async def end_untold(self) -> int:
        """End the pool after :meth:`run` was cancelled, which nobody of ours does; return the exit code."""
        try:
            await self._pool.stop(now=True)
        finally:
            text = "failed: the pool has ended although nobody told it to: something has cancelled the process's tasks"
            logger.critical(text)
        return 1

    async def _start_unless_stopped(self, resources: AsyncExitStack) -> None:
        if self._stopping:
            return
        self._starting = asyncio.create_task(self._start(resources))
        try:
            await self._starting
        except asyncio.CancelledError:
            if not self._stopping:
                raise

    async def _start(self, resources: AsyncExitStack) -> None:
        pool = self._pool
        logger.info("asyncwork %s runs %s in process %d", version(), self._label, os.getpid())
        if self._directory is not None:
            await self._start_redis(self._directory, resources)
        logger.info("Redis at %s, namespace %r", pool.masked_url, pool.options.namespace)
        if pool.job_names:
            logger.info("jobs: %s", jobs(pool))
        else:
            logger.warning("the pool has no jobs: were the modules imported that have the handlers?")
        for spec, name in pool.periodic_jobs:
            logger.info("periodic: %s at %r", name, spec)
        await pool.start()
        self._started_at = time.monotonic()
        until = f"until {'the queues are empty' if self._burst else _stop_signals()}"
        logger.info("running, %d jobs at once, on Redis %s, %s", pool.options.concurrency, pool.redis_version, until)
        if self._quiet:
            await pool.quiet()

    async def _start_redis(self, directory: str, resources: AsyncExitStack) -> None:
        from ..embedded import EmbeddedRedis

        server = EmbeddedRedis(directory or None)
        await resources.enter_async_context(server)
        logger.info("started a Redis of its own, process %d, whose data are kept in %s", server.pid, server.directory)
        self._pool.reconfigure(url=server.url)

    async def _work(self) -> None:
        """Wait until the pool has stopped, or stop it when the queues are empty.

        :raises Exception: the defect that ended the pool, or what kept it from telling that the queues are empty.
        """
        serving = asyncio.create_task(self._pool.wait())
        try:
            if self._burst and not self._stopping:
                draining = asyncio.create_task(self._pool.drain())
                await asyncio.wait([serving, draining], return_when=asyncio.FIRST_COMPLETED)
                if draining.done():
                    draining.result()
                    logger.info("the queues are empty")
                draining.cancel()
        finally:
            if self._burst:
                self._pool.stop_soon()
            await serving

    def stop(self, signal: str, first: bool) -> None:
        """Take a signal to stop."""
        pool, self._stopping = self._pool, True
        if self._starting is not None and not self._starting.done():
            logger.warning("%s: stopping before the pool has started", signal)
            self._starting.cancel()
        elif first:
            logger.warning(
                "%s: stopping: nothing new is taken, running jobs have %s to finish; a second signal cuts them off",
                signal,
                duration(pool.options.grace),
            )
        else:
            logger.warning(
                "%s: cutting off what runs, which goes back to the front of its queue; a third signal leaves at once",
                signal,
            )
        pool.stop_soon(now=not first)

    def quiet(self, signal: str) -> None:
        """Take a signal to be quiet."""
        if self._stopping or self._quiet:
            logger.warning("%s: %s already", signal, "stopping" if self._stopping else "quiet")
            return
        self._quiet = True
        logger.warning("%s: quiet: nothing new is taken, running jobs go on; SIGTERM ends the process", signal)
        self._quieting = asyncio.create_task(self._pool.quiet())


def _stop_signals() -> str:
    """Return the signals that people send to stop this process; a terminal sends SIGHUP by itself."""
    return " or ".join(name for name in handled_stop_signals() if name != "SIGHUP")


def serve(service: Service, log_format: str) -> int:
    """Run a service in an event loop of its own, with signals; return the exit code.

    Does not return when something is left that would keep the process from ending: it ends the process itself.

    :raises RedisUnusable, EmbeddedRedisError: when there is no Redis to begin with.
    :raises UsageError: when the pool cannot run as it was made.
    """
    runner = asyncio.Runner(loop_factory=_loop_factory())
    loop = runner.get_loop()
    # Our own, so that its idle threads can be told from those that are stuck.
    executor = ThreadPoolExecutor(thread_name_prefix="asyncio")
    loop.set_default_executor(executor)
    say = partial(logs.at_once, log_format, logging.WARNING)
    with Signals(loop, service.stop, service.quiet, say).caught():
        try:
            code = _run_to_the_end(runner, service)
            tasks = runner.run(leaving.end_tasks())
            executor.shutdown(wait=False, cancel_futures=True)
            threads = leaving.stuck_threads()
            if tasks or threads:
                leaving.leave(code, tasks, threads)
        except (RedisUnusable, UsageError):
            runner.close()
            raise
        runner.close()
    return code


def _run_to_the_end(runner: asyncio.Runner, service: Service) -> int:
    """Run a service until it has ended; return the exit code.

    The event loop stops when a task or callback raises SystemExit or KeyboardInterrupt, when a signal's handler raises
    anything within it, and when it is told to, each of which a handler may have caused. So it goes on.
    """
    running = runner.get_loop().create_task(service.run())
    while not running.done():
        try:
            runner.run(_ended(running))
        except asyncio.CancelledError:
            continue  # whoever cancels all tasks cancels this one, too
        except BaseException as error:
            if runner.get_loop().is_closed():
                raise
            logger.error("event loop stopped by what a job has started (%s); going on", describe_error(error))
    return runner.run(service.end_untold()) if running.cancelled() else running.result()


async def _ended(task: asyncio.Task[int]) -> None:
    await asyncio.wait([task])


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """Return what makes the faster event loop, if it is installed and wanted."""
    if os.environ.get("ASYNCWORK_UVLOOP") == "0":
        return None
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop
