"""Opens the resources of a pool for jobs that run in place, and closes them at the end of the block."""

from __future__ import annotations

import asyncio
from typing import Any

from .._pool.factories import ResourcesFactory
from ..errors import UsageError
from ..worker_pool import WorkerPool


class EagerResources:
    """The value of the resources for jobs that run in place, which may run in several event loops.

    :param replacement: what contexts take instead; ``None`` for the pool's own resources.
    """

    def __init__(self, pool: WorkerPool[Any], replacement: object) -> None:
        self._pool = pool
        self._replacement = replacement
        self._opened: dict[asyncio.AbstractEventLoop, _OpenResources] = {}
        # The event loop of a block that cannot await the end of what was opened in it.
        self._blocked_loop: asyncio.AbstractEventLoop | None = None

    def begin(self, *, can_await: bool) -> None:
        """Begin a block.

        :param can_await: whether :meth:`aclose` ends it, not :meth:`close`.
        """
        self._blocked_loop = None if can_await else _running_loop()

    async def value(self) -> object:
        """Return the value that contexts take. Open the resources if they are not open, in the running event loop.

        :raises UsageError: when the block could not close them, or they are not an async context manager.
        :raises BaseException: the error with which they could not be opened.
        """
        factory, run = self._pool._resources, self._pool._run
        if self._replacement is not None or factory is None or not self._pool._context.takes_resources:
            return self._replacement
        if run is not None and run.are_open:
            return run.value
        loop = asyncio.get_running_loop()
        if loop is self._blocked_loop:
            raise UsageError(
                "the context of a job takes the pool's resources, which `with jobs.eager()` cannot close in an async "
                "test: write `async with jobs.eager()`, or pass jobs.eager(resources=…)"
            )
        if loop not in self._opened:
            self._opened[loop] = _OpenResources(factory, self._pool)
        return await asyncio.shield(self._opened[loop].value)

    def close(self) -> None:
        """Close what was opened.

        :raises BaseException: the error with which the resources could not be closed.
        """
        while self._opened:
            loop, resources = self._opened.popitem()
            if loop.is_running():
                asyncio.run_coroutine_threadsafe(resources.close(), loop).result()
            elif not loop.is_closed():
                loop.run_until_complete(resources.close())

    async def aclose(self) -> None:
        """Close what was opened, as :meth:`close` does, also in the running event loop."""
        own = self._opened.pop(asyncio.get_running_loop(), None)
        try:
            if own is not None:
                await own.close()
        finally:
            await asyncio.to_thread(self.close)


class _OpenResources:
    """Resources that are open. One task opens and closes them, because an async context manager may need that.

    :ivar value: their value, when they are open.
    """

    def __init__(self, factory: ResourcesFactory, pool: object) -> None:
        self.value: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._closing = asyncio.Event()
        self._task = asyncio.create_task(self._keep(factory, pool), name="asyncwork resources of a test")

    async def _keep(self, factory: ResourcesFactory, pool: object) -> None:
        try:
            async with factory.check(factory.call(pool)) as value:
                self.value.set_result(value)
                await self._closing.wait()
        except asyncio.CancelledError:
            self.value.cancel()
            raise
        except BaseException as error:
            if self.value.done():
                raise
            self.value.set_exception(error)

    async def close(self) -> None:
        """Close them."""
        self._closing.set()
        await self._task


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None
