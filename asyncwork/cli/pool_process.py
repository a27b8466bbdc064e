"""Runs a pool in a process of its own: event loop, signals, exit."""

from __future__ import annotations

import asyncio
import logging
import math
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial

from .._jobs.error_text import describe_error
from .._processes.systemd import Watchdog
from . import logs, shutdown
from .early_signals import QUIETING, end_start
from .event_loop import loop_factory
from .pool_runner import REPORTED, PoolRunner
from .signals import Signals
from .stacks import written_on_signal

logger: logging.Logger = logging.getLogger("asyncwork.cli")


def run_pool(pool_runner: PoolRunner, log_format: str, stuck: float, loop_name: str) -> int:
    """Run a pool in a new event loop, with signal handlers; return the exit code.

    If tasks or threads remain that would keep the process from exiting, exit the process instead of returning.

    :param stuck: for how many seconds a job may block the loop until the service manager gets no more signs of life; 0
        for no limit.
    :param loop_name: the event loop: ``auto``, ``asyncio`` or ``uvloop``.
    :raises RedisUnavailable, EmbeddedRedisError: when Redis cannot be used at the start.
    :raises UsageError: when the pool cannot run as it was made.
    """
    runner = asyncio.Runner(loop_factory=loop_factory(loop_name))
    loop = runner.get_loop()
    # shutdown() below ends the idle threads of an executor of its own, so that only stuck threads remain.
    executor = ThreadPoolExecutor(thread_name_prefix="asyncio")
    loop.set_default_executor(executor)
    log_now = partial(logs.write_now, log_format, logging.WARNING)
    watchdog = Watchdog(pool_runner.notifier, loop.call_soon_threadsafe, stuck or math.inf)
    is_child = pool_runner.link is not None
    with (
        Signals(loop, pool_runner.stop, pool_runner.quiet, log_now, ignored_after=is_child).handled(),
        written_on_signal(pool_runner.describe_workers),
    ):
        if end_start():
            loop.call_soon(pool_runner.quiet, QUIETING.name)
        watchdog.start()
        if pool_runner.link is not None:
            stop = partial(_stop_without_parent, loop, pool_runner)
            pool_runner.link.attach(pool_runner.report, stop)
        try:
            code = _run_to_the_end(runner, pool_runner)
            tasks = runner.run(shutdown.cancel_tasks())
            executor.shutdown(wait=False, cancel_futures=True)
            threads = shutdown.stuck_threads()
            if tasks or threads:
                shutdown.exit_now(code, tasks, threads)
        except REPORTED:
            runner.close()
            raise
        runner.close()
    return code


def _stop_without_parent(loop: asyncio.AbstractEventLoop, pool_runner: PoolRunner) -> None:
    with suppress(RuntimeError):  # the loop is closed, and the process about to exit
        loop.call_soon_threadsafe(pool_runner.stop, "the parent process has ended", True)


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
