"""An event loop in a thread of its own, so that plain tests can use Redis, and no test's own loop holds a connection.

A loop that ends with open connections would warn about them, and pytest closes a test's loop before it ends fixtures.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import queue
import threading
from collections.abc import Awaitable, Callable, Coroutine
from contextvars import ContextVar, copy_context
from functools import partial
from typing import Any, TypeVar

import anyio.to_thread

T = TypeVar("T")


class _WaitingThread:
    """A thread that waits for a coroutine of another loop, and meanwhile runs plain functions for it."""

    def __init__(self) -> None:
        self._calls: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self.over = False

    def run_calls(self) -> None:
        """Run what other threads request, until the coroutine has ended."""
        while (call := self._calls.get()) is not None:
            call()

    def end(self) -> None:
        """Let the thread go on."""
        self.over = True
        self._calls.put(None)

    async def run(self, function: Callable[[], T]) -> T:
        """Run a function in that thread, in a copy of the current context variables; return its result."""
        loop = asyncio.get_running_loop()
        result: asyncio.Future[T] = loop.create_future()
        context = copy_context()

        def call() -> None:
            try:
                returned = context.run(function)
            except BaseException as error:
                loop.call_soon_threadsafe(_fail, result, error)
            else:
                loop.call_soon_threadsafe(_succeed, result, returned)

        self._calls.put(call)
        return await result


def _succeed(future: asyncio.Future[T], result: T) -> None:
    if not future.done():
        future.set_result(result)


def _fail(future: asyncio.Future[Any], error: BaseException) -> None:
    if not future.done():
        future.set_exception(error)


# The thread that waits for the coroutine that runs now. Context variables follow a coroutine into another loop.
_waiting: ContextVar[_WaitingThread | None] = ContextVar("asyncwork_waiting_thread", default=None)


async def run_plain(function: Callable[..., T], *args: Any, limiter: anyio.CapacityLimiter, **options: Any) -> T:
    """Run a plain function in the thread of the test that waits for it, or else in a thread of anyio's.

    In its own thread, a handler has what belongs to the thread: Django's database connection and its transaction, an
    SQLite connection. Parameters as for :func:`anyio.to_thread.run_sync`.
    """
    waiting = _waiting.get()
    if waiting is None or waiting.over:
        return await anyio.to_thread.run_sync(function, *args, limiter=limiter, **options)
    return await waiting.run(partial(function, *args))


class BackgroundLoop:
    """An event loop in a daemon thread, which is started on first use.

    :param on_close: awaited in the loop before it ends; closes connections.
    """

    def __init__(self, on_close: Callable[[], Awaitable[None]]) -> None:
        self._on_close = on_close
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine in the loop and wait for its end, also in a thread whose own loop is running.

        Handlers that are plain functions run in the calling thread.
        """
        if self._thread is threading.current_thread():
            # A coroutine of this loop has called blocking code.
            other = BackgroundLoop(self._on_close)
            try:
                return other.run(coroutine)
            finally:
                other.close()
        thread = _WaitingThread()
        token = _waiting.set(thread)
        try:
            future = self._submit(coroutine)
        finally:
            _waiting.reset(token)
        future.add_done_callback(lambda _: thread.end())
        try:
            thread.run_calls()
        except BaseException:
            future.cancel()
            raise
        return future.result()

    async def call(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine in the loop, and await its end in this one."""
        return await asyncio.wrap_future(self._submit(coroutine))

    def close(self) -> None:
        """Close connections and end the thread. Do nothing when it was never used."""
        with self._lock:
            loop, thread, self._loop, self._thread = self._loop, self._thread, None, None
        if loop is None or thread is None:
            return
        try:
            asyncio.run_coroutine_threadsafe(self._end(), loop).result()
        finally:
            loop.call_soon_threadsafe(loop.stop)
            thread.join()
            loop.close()

    async def _end(self) -> None:
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._on_close()

    def _submit(self, coroutine: Coroutine[Any, Any, T]) -> concurrent.futures.Future[T]:
        with self._lock:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                self._thread = threading.Thread(target=self._loop.run_forever, name="asyncwork tests", daemon=True)
                self._thread.start()
            return asyncio.run_coroutine_threadsafe(coroutine, self._loop)
