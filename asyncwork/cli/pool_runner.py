"""Runs a pool for a command, from its start to its end."""

from __future__ import annotations

import asyncio
import logging
import os
import threading
import time
from contextlib import AsyncExitStack, suppress
from typing import Any

from .._jobs.error_text import describe_error
from .._pool.process_source import ProcessSource
from .._processes.link import ParentLink
from .._processes.messages import PoolAddress, ProcessReport
from .._processes.systemd import Notifier
from .._version import version
from .._worker.worker_report import describe_workers
from ..errors import EmbeddedRedisError, PoolEndedError, RedisUnavailable, UsageError
from ..worker_pool import WorkerPool
from .embedded_redis import start_redis
from .errors import FAILED, AppError
from .event_loop import name_of
from .importer import PoolMaker, app_trace, factory_error
from .memory import memory
from .signals import handled_stop_signals
from .summary import NO_JOBS, jobs
from .times import duration

logger: logging.Logger = logging.getLogger("asyncwork.cli")

# Errors at the start that the command reports in one line.
REPORTED = (EmbeddedRedisError, RedisUnavailable, UsageError)


class PoolRunner:
    """Runs a pool until a signal stops it, or until its queues are empty.

    :param pool: the pool, or an async function that makes it.
    :param label: the name of the pool on the command line.
    :param burst: whether to stop when the queues are empty.
    :param directory: the data directory of an embedded Redis to start; empty for the default directory, ``None`` to
        start none.
    :param source: reports the health of the pool; ``None`` if it is not served.
    :param link: to the parent process; ``None`` without ``--processes``.
    """

    def __init__(
        self,
        pool: WorkerPool[Any] | PoolMaker,
        label: str,
        *,
        burst: bool,
        directory: str | None,
        source: ProcessSource | None,
        link: ParentLink | None,
        notifier: Notifier,
    ) -> None:
        self._made = pool if isinstance(pool, WorkerPool) else None
        self._make = None if isinstance(pool, WorkerPool) else pool
        self._label = label
        self._burst = burst
        self._directory = directory
        self._source = source
        self.link = link
        self.notifier = notifier
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
            if not self.has_started and isinstance(error, REPORTED):
                raise
            # The pool has logged the traceback.
            logger.critical("failed: %s", describe_error(error))
            return FAILED
        finally:
            # The parent adds the counts of ended processes to those of the others.
            if self.link is not None and self.has_started:
                self.link.send_last_report()
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
        loop = name_of(asyncio.get_running_loop())
        logger.info("starting %s in process %d, asyncwork %s, on %s", self._label, os.getpid(), version(), loop)
        if self._make is not None:
            self._made = await self._make_pool(self._make)
        pool = self._pool
        if self._source is not None:
            self._source.pool = pool
        pool._on_new_id = self._report_id
        if self._directory is not None:
            pool.reconfigure(url=await start_redis(self._directory, stack))
        logger.info("Redis at %s, namespace %r", pool.masked_url, pool.options.namespace)
        if pool.job_names:
            logger.info("jobs: %s", jobs(pool))
        else:
            logger.warning(NO_JOBS)
        for spec, name in pool.periodic_jobs:
            logger.info("periodic: %s at %r", name, spec)
        await self._start_pool()
        self._started_at = time.monotonic()
        until = "the queues are empty" if self._burst else _stop_signals()
        text = "running up to %d jobs at once on Redis %s, until %s"
        logger.info(text, pool.options.concurrency, pool.redis_version, until)
        self.notifier.ready("running jobs")
        if self.link is not None:
            self.link.send_report()
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
        self.notifier.stopping()
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
        # An operator may have had the pool run again, or stop.
        runs_again = self._quieting is not None and self._quieting.done() and self._pool.state == "running"
        stopping = self._stopping or (self._made is not None and self._made.state == "stopping")
        if stopping or (self._quiet and not runs_again):
            logger.warning("%s: already %s", signal, "stopping" if stopping else "quiet")
            return
        self._quiet = True
        logger.warning("%s: quiet: no more jobs are fetched, running jobs go on; SIGTERM ends the process", signal)
        if self._made is not None:
            self._quieting = asyncio.create_task(self._made.quiet())

    def _report_id(self, pool_id: str) -> None:
        """Report the id of the pool to the parent process, before the pool takes jobs."""
        if self.link is not None:
            options = self._pool.options
            self.link.send_address(
                PoolAddress(pool_id, options.url or "", options.namespace, heartbeat=options.heartbeat)
            )

    def report(self) -> ProcessReport:
        """Return what the parent process is sent once a second. Called in a thread of its own."""
        pool = self._made
        counts = None if pool is None else pool.counts
        health = {} if self._source is None else {"process": self._source.report()}
        return {
            "pid": os.getpid(),
            "pool_id": None if pool is None else pool.id,
            "state": self._state(),
            "jobs": 0 if counts is None else counts.done + counts.failed,
            "memory": memory(),
            **health,
        }

    def _state(self) -> str:
        if self._stopping:
            return "stopping"
        if not self.has_started:
            return "starting"
        # An operator may have had it be quiet, run again, or stop. It is empty when the pool has ended.
        return self._pool.state or "stopping"

    def describe_workers(self) -> str:
        """Return what each worker does, with stacks. Called in a thread of its own."""
        launcher = None if self._made is None else self._made._launcher
        workers = [] if launcher is None else launcher.all_workers
        return describe_workers(workers, threading.main_thread().ident or 0)


def _stop_signals() -> str:
    """Return the signals that people send to stop this process. A terminal sends SIGHUP by itself."""
    return " or ".join(name for name in handled_stop_signals() if name != "SIGHUP")
