"""One run of a pool: open its resources, run jobs, close the resources.

Resources are opened and closed in one task, because an async context manager may have to be left in the task that
entered it: a task group, a timeout. The launcher then runs in another task, because such a context manager may cancel
its own, and the launcher still has to settle the jobs.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, contextmanager
from typing import Any

import anyio

from .._jobs.error_text import describe_error
from .._worker.launcher import Launcher
from .._worker.pool_probe import PoolProbe
from ..errors import PoolEndedError
from ..models.pools import PoolCounts
from .factories import ResourcesFactory

logger = logging.getLogger("asyncwork")


class OpeningError(Exception):
    """The resources could not be opened. Its cause is the error, which may be one that would stop an event loop."""


class PoolRun:
    """One run of a pool. To be made in the event loop where it runs.

    :param prepare: checks that the pool can run; called first.
    :param resources: makes the resources; ``None`` for a pool without.
    :param pool: what ``resources`` may take.
    :param make_launcher: takes the value of the resources.
    :ivar launcher: runs the jobs; ``None`` before and after that.
    :ivar ended_probe: reads the last counts, once the launcher has ended.
    :ivar stop_requested: whether :meth:`stop` was called.
    :ivar ended_by: what has ended the run, if it was not requested to stop: ``"an unexpected error"`` or ``"its
        resources"``.
    :ivar are_open: whether the resources are open.
    :ivar value: their value.
    """

    def __init__(
        self,
        prepare: Callable[[], Awaitable[None]],
        resources: ResourcesFactory | None,
        pool: object,
        make_launcher: Callable[[object], Launcher],
    ) -> None:
        self._prepare = prepare
        self._resources = resources
        self._pool = pool
        self._make_launcher = make_launcher
        self._launched: asyncio.Future[Launcher] = asyncio.get_running_loop().create_future()
        self._task: asyncio.Task[Any] | None = None
        self._is_closing = False
        self._counts = PoolCounts()
        self._stop_failure = ""
        self._close_failure = ""
        self.launcher: Launcher | None = None
        self.ended_probe: PoolProbe | None = None
        self.stop_requested = False
        self.ended_by = ""
        self.are_open = False
        self.value: object = None

    @property
    def has_launched(self) -> bool:
        """Whether there is, or was, a launcher."""
        return self._launched.done()

    @property
    def counts(self) -> PoolCounts:
        """The counts of the run so far."""
        return self._counts if self.launcher is None else self.launcher.counts

    @property
    def stop_failure(self) -> str:
        """Why the stop was not clean; empty if it was."""
        return "; ".join(filter(None, (self._stop_failure, self._close_failure)))

    async def wait_until_started(self) -> None:
        """Wait until jobs are taken."""
        await (await asyncio.shield(self._launched)).started.wait()

    def stop(self, *, now: bool = False) -> None:
        """Stop the launcher. While resources are opened, cancel that.

        :param now: cut off running jobs at once; while resources are opened or closed, cancel that (again).
        """
        first, self.stop_requested = not self.stop_requested, True
        if self.launcher is not None:
            self.launcher.state.stop(now=now)
        elif self._task is not None and (now or (first and not self._is_closing)):
            self._task.cancel()

    async def run(self) -> None:
        """Run from start to stop.

        :raises OpeningError: when the resources cannot be opened.
        :raises UsageError: when they are not an async context manager.
        :raises Exception: what ``prepare`` or the launcher raises, or the error with which the resources have ended
            this run.
        """
        self._task = asyncio.current_task()
        # A stop that came before this task began found nothing to cancel.
        if self.stop_requested:
            return
        await self._prepare()
        if self._resources is None:
            await self._run_launcher(self._launch())
            return
        manager = await self._open(self._resources)
        error: BaseException | None = None
        try:
            # A stop cancels the opening, which may complete all the same.
            if not self.stop_requested:
                await self._run_in_task(self._launch())
        except GeneratorExit:
            raise
        except BaseException as raised:
            error = raised
        await self._close(manager, error)

    def _launch(self) -> Launcher:
        self.launcher = launcher = self._make_launcher(self.value)
        self._launched.set_result(launcher)
        return launcher

    async def _run_launcher(self, launcher: Launcher) -> None:
        try:
            await launcher.run()
        finally:
            self.ended_probe = launcher._probe
            self._counts, self._stop_failure, self.launcher = launcher.counts, launcher.stop_failure, None
            self.ended_by = "an unexpected error" if launcher.crashed else ""
            # An operator may have requested it.
            self.stop_requested = self.stop_requested or launcher.state.stop_requested

    async def _run_in_task(self, launcher: Launcher) -> None:
        """Run the launcher in a task of its own, and return when it has ended.

        :raises asyncio.CancelledError: when this task was cancelled meanwhile, which has ended the launcher.
        """
        name = f"asyncwork pool {launcher.pool_id}"
        task = asyncio.create_task(self._run_launcher(launcher), name=name)
        cancellation: asyncio.CancelledError | None = None
        try:
            await asyncio.wait([task])
        except asyncio.CancelledError as error:
            cancellation = error
            # At the end of an event loop, all tasks are cancelled.
            if not task.cancelling():
                launcher.state.stop(now=True)
            # anyio's cancellations repeat until they are shielded off.
            with anyio.CancelScope(shield=True):
                await _wait_for_end(task)
        if not task.cancelled() or cancellation is None:
            task.result()
        if cancellation is not None:
            raise cancellation

    async def _open(self, resources: ResourcesFactory) -> AbstractAsyncContextManager[Any]:
        """Open the resources; return their context manager.

        :raises OpeningError, UsageError, asyncio.CancelledError: when they are not open.
        """
        with self._opening():
            made = resources.call(self._pool)
        manager = resources.check(made)
        with self._opening():
            self.value = await type(manager).__aenter__(manager)
        self.are_open = True
        return manager

    @contextmanager
    def _opening(self) -> Iterator[None]:
        """Raise an error of the application as an :class:`OpeningError`."""
        try:
            yield
        except GeneratorExit:
            raise
        except asyncio.CancelledError as error:
            if self._task is not None and self._task.cancelling():
                raise
            raise OpeningError from _without_request(error)
        except BaseException as error:
            if not self.stop_requested:
                raise OpeningError from error
            self._report("opening the resources failed when a stop cancelled it", error)
            raise asyncio.CancelledError from None

    async def _close(self, manager: AbstractAsyncContextManager[Any], error: BaseException | None) -> None:
        """Close the resources, and raise the error that has ended the launcher, if one has.

        :raises BaseException: an error of the resources that has ended it; they cancelled this task.
        """
        self._is_closing = True
        kind, trace = (None, None) if error is None else (type(error), error.__traceback__)
        try:
            await type(manager).__aexit__(manager, kind, error, trace)
        except GeneratorExit:
            raise
        except BaseException as failure:
            is_cancelled = isinstance(failure, asyncio.CancelledError)
            if isinstance(error, asyncio.CancelledError) and not is_cancelled:
                self.ended_by = "its resources"
                raise
            if is_cancelled and not self.stop_requested:
                raise
            if failure is not error and not (is_cancelled and isinstance(error, asyncio.CancelledError)):
                self._report("the resources could not be closed", failure)
        finally:
            self.are_open, self.value = False, None
        if error is not None:
            raise error

    def _report(self, event: str, error: BaseException) -> None:
        self._close_failure = f"{event}: {describe_error(error)}"
        shown = type(error), error, error.__traceback__
        logger.error("%s", self._close_failure, exc_info=shown)


def _without_request(cancellation: asyncio.CancelledError) -> PoolEndedError:
    """Return the error for a cancellation that opening the resources raised by itself."""
    error = PoolEndedError("the pool did not start: opening its resources raised a CancelledError by itself")
    error.__cause__ = cancellation
    return error


async def _wait_for_end(task: asyncio.Task[Any]) -> None:
    """Wait until a task has ended, whatever cancels this one."""
    while not task.done():
        try:
            await asyncio.wait([task])
        except asyncio.CancelledError:
            continue
