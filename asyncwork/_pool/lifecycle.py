"""The life of a pool: it starts a run in a task, stops it, and finds out why it ended."""

from __future__ import annotations

import asyncio
import logging
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Self

import anyio

from .._health import decision
from .._health.process_metrics import process_metrics
from .._jobs.error_text import describe_error
from .._worker.launcher import Launcher
from .._worker.pool_probe import PoolProbe
from ..errors import PoolEndedError, UsageError
from ..models.pools import PoolCounts, PoolHealth
from .reporter import Reporter
from .run import OpeningError, PoolRun

logger = logging.getLogger("asyncwork")


class Lifecycle(ABC):
    """Starts and stops a pool. Each start is a new run in a task of the event loop."""

    def __init__(self) -> None:
        # The current run, or the last one, and its task, which is None when the run has been waited for.
        self._run: PoolRun | None = None
        self._task: asyncio.Task[None] | None = None
        # The error that ended the last run. None if the pool was requested to stop.
        self._error: BaseException | None = None
        self._resources_error: BaseException | None = None
        self._reporter = Reporter()

    @abstractmethod
    def _make_run(self) -> PoolRun:
        """Return the next run."""

    @abstractmethod
    async def _close(self) -> None:
        """Close connections after a run."""

    @property
    def _launcher(self) -> Launcher | None:
        """The launcher that runs the jobs; ``None`` unless jobs are run. Resources may still be opened or closed
        then."""
        return None if self._run is None else self._run.launcher

    @property
    def id(self) -> str | None:
        """The pool's id in Redis, 24 hex digits; ``None`` unless it is running. Each start has a new id."""
        return None if self._launcher is None else self._launcher.pool_id

    @property
    def counts(self) -> PoolCounts:
        """Jobs done and failed since the last start."""
        return PoolCounts() if self._run is None else self._run.counts

    @property
    def resources(self) -> Any:
        """The value of the pool's resources, while they are open: from before the first job until after the last one.

        :raises UsageError: when they are not open, or the pool has none.
        """
        if self._run is None or not self._run.are_open:
            raise UsageError(
                "the pool's resources are not open: they are while the pool runs, if it was made with resources=…"
            )
        return self._run.value

    @property
    def resources_error(self) -> BaseException | None:
        """The error with which the resources could not be opened at the last start, which the start has raised."""
        return self._resources_error

    @property
    def stop_failure(self) -> str:
        """Why the last stop was not clean; empty if it was.

        Either the resources could not be closed; or Redis still holds some jobs as in progress, or does not know that
        they have ended. Another pool requeues these jobs, and they run again.
        """
        return "" if self._run is None else self._run.stop_failure

    def health(self) -> PoolHealth:
        """Return whether the pool is live and ready, as the health port of ``asyncwork run`` does.

        It sends nothing to Redis, and may be called from any thread.
        """
        return self._reporter.health(*self._state_and_probe())

    def metrics_text(self) -> str:
        """Return the metrics of this pool in Prometheus's text format, as the health port of ``asyncwork run`` does.

        The content type is ``text/plain; version=0.0.4``. It may be called from any thread.
        """
        return process_metrics(self._reporter.report(*self._state_and_probe(), self._ended_probe))

    def _state_and_probe(self) -> tuple[str, PoolProbe | None]:
        """Return the state of the pool, and what reads the run if jobs are run. May be called from any thread."""
        run, task = self._run, self._task
        if run is None or task is None or task.done():
            return decision.STOPPED, None
        probe = None if (launcher := run.launcher) is None else launcher._probe
        if run.stop_requested or (probe is None and run.has_launched):
            return decision.STOPPING, probe
        return decision.STARTING if probe is None else probe.state, probe

    @property
    def _ended_probe(self) -> PoolProbe | None:
        """The probe that reads the last counts of a run whose jobs have ended; ``None`` before that."""
        return None if self._run is None else self._run.ended_probe

    async def start(self) -> None:
        """Open the resources and start to run jobs, in tasks of this event loop. Does nothing when the pool is running.

        A stop meanwhile, or a cancellation, cancels the opening of the resources. A second call meanwhile waits until
        the pool has started, and raises the same errors.

        :raises HandlerError: when a periodic job has no handler; see :meth:`WorkerPool.periodically`.
        :raises RedisUnavailable: when Redis cannot be reached, refuses the connection or is too old.
        :raises UsageError: when the resources are not an async context manager.
        :raises BaseException: the error with which the resources could not be opened.
        """
        if self._run is not None and self._task is not None and self._is_running:
            await self._wait_until_started(self._run, self._task)
            return
        self._error = self._resources_error = None
        self._run = run = self._make_run()
        self._task = task = asyncio.create_task(run.run(), name="asyncwork pool")
        self._reporter.observe(decision.STARTING)
        task.add_done_callback(self._ended)
        try:
            await self._wait_until_started(run, task)
        except asyncio.CancelledError:
            await self._end(now=run.launcher is not None, cancelled=True)
            raise

    async def _wait_until_started(self, run: PoolRun, task: asyncio.Task[None]) -> None:
        started = asyncio.create_task(run.wait_until_started())
        try:
            await asyncio.wait([task, started], return_when=asyncio.FIRST_COMPLETED)
        finally:
            started.cancel()
        if task.done():
            await self._wait_for(task)

    async def stop(self, *, now: bool = False) -> None:
        """Take no new jobs, let running jobs finish within the grace period, close the resources, and end.

        Does nothing when the pool is not running.

        :param now: cut off running jobs at once. While resources are opened or closed, cancel that.
        :raises PoolEndedError: when the pool had ended without a request to stop.
        :raises Exception: the defect that had ended the pool, if one did.
        """
        self.stop_soon(now=now)
        await self.wait()

    def stop_soon(self, *, now: bool = False) -> None:
        """Request a stop, without waiting for it; for signal handlers.

        :param now: cut off running jobs at once. While resources are opened or closed, cancel that.
        """
        if self._run is not None and self._is_running:
            self._run.stop(now=now)

    async def wait(self) -> None:
        """Wait until the pool has stopped.

        :raises PoolEndedError: when it ended without a request to stop.
        :raises Exception: the defect that ended the pool, if one did.
        """
        if self._task is not None:
            await self._wait_for(self._task)

    async def _wait_for(self, task: asyncio.Task[None]) -> None:
        # asyncio.wait leaves the task alone when its caller is cancelled.
        await asyncio.wait([task])
        self._ended(task)
        error = self._error
        if self._task is task:
            self._task = None
            await self._close()
        if error is not None:
            raise error

    @property
    def state(self) -> str:
        """Whether the pool is ``running``, ``quiet`` or ``stopping``; empty when it does not take jobs yet, or any
        more.
        """
        return "" if self._launcher is None else self._launcher.state.name()

    async def quiet(self) -> None:
        """Take no new jobs, but keep running."""
        if self._launcher is not None:
            await self._launcher.state.quiet()

    async def drain(self) -> None:
        """Wait until no job runs and the queues of this pool's jobs are empty, except for paused queues.

        :raises UsageError: when the pool is not running.
        :raises RedisUnavailable: when Redis cannot be reached.
        :raises PoolEndedError: when the pool ends before, such as after a signal.
        """
        launcher, task = self._launcher, self._task
        if launcher is None or task is None:
            raise UsageError("a pool must run to be drained: `async with pool.running(): await pool.drain()`")
        draining = asyncio.create_task(launcher.drain())
        try:
            await asyncio.wait([draining, task], return_when=asyncio.FIRST_COMPLETED)
        finally:
            draining.cancel()
            await asyncio.wait([draining])
        # It then raises only because the connections are closed.
        if task.done() and (draining.cancelled() or draining.exception() is not None):
            raise PoolEndedError("the pool ended before its queues were empty")
        draining.result()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Self]:
        """Run jobs during an ``async with`` block: start on entry, stop on exit.

        If the pool ends before, the block is cancelled. A cancellation of the block stops the pool, and a second one
        cuts off running jobs. The block ends when the pool has ended.

        :raises RedisUnavailable: when Redis cannot be reached, refuses the connection or is too old.
        :raises PoolEndedError: when the pool ended without a request to stop.
        :raises BaseException: the error with which the resources could not be opened.
        :raises Exception: the defect that ended the pool, if one did.
        """
        await self.start()
        task, block = self._task, asyncio.current_task()
        assert block is not None
        if task is None:  # stopped while it started
            yield self
            return
        ended = False

        def cancel_block(_: asyncio.Task[None]) -> None:
            nonlocal ended
            if self._error is not None:
                ended = True
                block.cancel()

        task.add_done_callback(cancel_block)
        before, cancelled = block.cancelling(), False
        try:
            yield self
        except asyncio.CancelledError:
            # Swallow the cancellation by cancel_block, because the error that ended the pool is raised below; no other.
            if not ended or block.cancelling() > before + 1:
                cancelled = True
                raise
        finally:
            if ended:
                block.uncancel()
            task.remove_done_callback(cancel_block)
            await self._end(cancelled=cancelled)

    def lifespan(self, app: object) -> AbstractAsyncContextManager[None]:
        """Run jobs while an application runs: ``FastAPI(lifespan=pool.lifespan)``, likewise Starlette and Litestar."""
        return self._during_application()

    async def cleanup_ctx(self, app: object) -> AsyncIterator[None]:
        """Run jobs while an aiohttp application runs: ``app.cleanup_ctx.append(pool.cleanup_ctx)``."""
        async with self._during_application():
            yield

    @asynccontextmanager
    async def _during_application(self) -> AsyncIterator[None]:
        """Run jobs during the block. The block goes on if the pool ends before, because the application does."""
        await self.start()
        cancelled = False
        try:
            yield
        except asyncio.CancelledError:
            cancelled = True
            raise
        finally:
            await self._end(cancelled=cancelled)

    @property
    def _is_running(self) -> bool:
        return self._task is not None and not self._task.done()

    def _ended(self, task: asyncio.Task[None]) -> None:
        """Record how the pool ended, and log it if the pool was not requested to stop."""
        run = self._run
        if run is None or self._task is not task or self._error is not None:
            return
        self._error = error = _error_of(task, run)
        if isinstance(error, OpeningError):
            self._error = self._resources_error = error.__cause__
        elif run.ended_by and error is not None:
            shown = type(error), error, error.__traceback__
            logger.critical("%s ended the pool: %s", run.ended_by, describe_error(error), exc_info=shown)
        elif isinstance(error, PoolEndedError):
            # For example, its event loop has ended although nothing had stopped the pool.
            logger.warning("%s", error)

    async def _end(self, *, now: bool = False, cancelled: bool = False) -> None:
        """Stop the pool, and return when it has ended, not before.

        A cancellation meanwhile is raised when the pool has ended. The second cancellation cuts off running jobs.

        :param cancelled: whether the caller was cancelled once already.
        :raises PoolEndedError: when the pool had ended without a request to stop.
        :raises Exception: the defect that had ended the pool, if one did.
        """
        task, interruption = self._task, None
        self.stop_soon(now=now)
        # The shield holds off anyio's cancellation, which repeats until the block ends. asyncio's passes through it.
        with anyio.CancelScope(shield=True):
            while task is not None and self._task is task:
                try:
                    await self.wait()
                except asyncio.CancelledError as error:
                    interruption = error
                    self.stop_soon(now=cancelled)
                    cancelled = True
        if interruption is not None:
            raise interruption


def _error_of(task: asyncio.Task[None], run: PoolRun) -> BaseException | None:
    """Return the error that ended a pool, or ``None`` if it was requested to stop."""
    if not task.cancelled() and (error := task.exception()) is not None:
        return _unwrap(error)
    if run.stop_requested:
        return None
    return PoolEndedError("the pool ended without a request to stop: something has cancelled its tasks")


def _unwrap(error: BaseException) -> BaseException:
    """Return the only error within nested exception groups, or the group when there are several."""
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error
