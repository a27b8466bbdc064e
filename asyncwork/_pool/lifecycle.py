"""The life of a pool: it starts a launcher in a task, stops it, and finds out why it ended."""

from __future__ import annotations

import asyncio
import logging
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Self

import anyio

from .._jobs.error_text import describe_error
from .._worker.launcher import Launcher
from ..errors import PoolEndedError, RedisUnavailable, UsageError
from ..models import PoolCounts

logger = logging.getLogger("asyncwork")


class Lifecycle(ABC):
    """Starts and stops a pool. Each start runs a new launcher in a task of the event loop."""

    def __init__(self) -> None:
        # None unless the pool is running.
        self._launcher: Launcher | None = None
        self._task: asyncio.Task[None] | None = None
        # What the last run left: its counts, why its stop was not clean, and the error that ended it. The error is None
        # if the pool was requested to stop.
        self._counts = PoolCounts()
        self._stop_failure = ""
        self._error: BaseException | None = None

    @abstractmethod
    async def _make_launcher(self) -> Launcher:
        """Return a launcher for the next run, when Redis is reached and everything is checked."""

    @abstractmethod
    async def _close(self) -> None:
        """Close connections after a run."""

    @property
    def id(self) -> str | None:
        """The pool's id in Redis, 24 hex digits; ``None`` unless it is running. Each start has a new id."""
        return None if self._launcher is None else self._launcher.pool_id

    @property
    def counts(self) -> PoolCounts:
        """Jobs done and failed since the last start."""
        return self._counts if self._launcher is None else self._launcher.counts

    @property
    def stop_failure(self) -> str:
        """Why the last stop was not clean; empty if it was.

        After such a stop, Redis still holds some jobs as in progress, or does not know that they have ended. Another
        pool requeues these jobs, and they run again.
        """
        return self._stop_failure

    async def start(self) -> None:
        """Start to run jobs, in tasks of this event loop. Does nothing when the pool is running.

        :raises HandlerError: when a periodic job has no handler; see :meth:`WorkerPool.periodically`.
        :raises RedisUnavailable: when Redis cannot be reached, refuses the connection or is too old.
        """
        if self._is_running:
            return
        launcher = await self._make_launcher()
        self._error, self._launcher = None, launcher
        self._task = asyncio.create_task(launcher.run(), name=f"asyncwork pool {launcher.pool_id}")
        self._task.add_done_callback(self._ended)
        started = asyncio.create_task(launcher.started.wait())
        try:
            await asyncio.wait([self._task, started], return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            await self._end(now=True)
            raise
        finally:
            started.cancel()
        if self._task.done():
            await self.wait()

    async def stop(self, *, now: bool = False) -> None:
        """Take no new jobs, let running jobs finish within the grace period, and end.

        Does nothing when the pool is not running.

        :param now: cut off running jobs at once.
        :raises PoolEndedError: when the pool had ended without a request to stop.
        :raises Exception: the defect that had ended the pool, if one did.
        """
        self.stop_soon(now=now)
        await self.wait()

    def stop_soon(self, *, now: bool = False) -> None:
        """Request a stop, without waiting for it; for signal handlers.

        :param now: cut off running jobs at once.
        """
        if self._launcher is not None:
            self._launcher.stop(now=now)

    async def wait(self) -> None:
        """Wait until the pool has stopped.

        :raises PoolEndedError: when it ended without a request to stop.
        :raises Exception: the defect that ended the pool, if one did.
        """
        task = self._task
        if task is None:
            return
        # asyncio.wait leaves the task alone when its caller is cancelled.
        await asyncio.wait([task])
        self._ended(task)
        error = self._error
        if self._task is task:
            self._task = None
            await self._close()
        if error is not None:
            raise error

    async def quiet(self) -> None:
        """Take no new jobs, but keep running."""
        if self._launcher is not None:
            await self._launcher.quiet()

    async def drain(self) -> None:
        """Wait until no job runs and the queues of this pool's jobs are empty, except for paused queues.

        :raises UsageError: when the pool is not running.
        :raises RedisUnavailable: when Redis cannot be reached.
        """
        if self._launcher is None:
            raise UsageError("a pool must run to be drained: `async with pool.running(): await pool.drain()`")
        await self._launcher.drain()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Self]:
        """Run jobs during an ``async with`` block: start on entry, stop on exit.

        If the pool ends before, the block is cancelled. A cancellation of the block stops the pool, and a second one
        cuts off running jobs. The block ends when the pool has ended.

        :raises RedisUnavailable: when Redis cannot be reached, refuses the connection or is too old.
        :raises PoolEndedError: when the pool ended without a request to stop.
        :raises Exception: the defect that ended the pool, if one did.
        """
        await self.start()
        task, block = self._task, asyncio.current_task()
        assert task is not None
        assert block is not None
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
        launcher = self._launcher
        if launcher is None or self._task is not task:
            return
        self._counts, self._stop_failure, self._launcher = launcher.counts, launcher.stop_failure, None
        self._error = error = _error_of(task, launcher)
        if launcher.crashed and error is not None:
            shown = type(error), error, error.__traceback__
            logger.critical("an unexpected error ended the pool: %s", describe_error(error), exc_info=shown)
        elif error is not None and not isinstance(error, RedisUnavailable):
            # Such as the end of its event loop, when nothing has stopped the pool before.
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


def _error_of(task: asyncio.Task[None], launcher: Launcher) -> BaseException | None:
    """Return the error that ended a pool, or ``None`` if it was requested to stop."""
    if not task.cancelled() and (error := task.exception()) is not None:
        return _unwrap(error)
    if launcher.stop_requested:
        return None
    return PoolEndedError("the pool ended without a request to stop: something has cancelled its tasks")


def _unwrap(error: BaseException) -> BaseException:
    """Return the only error within nested exception groups, or the group when there are several."""
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error
