"""Run a blocking function in a thread, to its end, which a cancellation of the caller may bring closer."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import anyio


class Deadline:
    """The time limit of a blocking function: some seconds, or until :attr:`cancelled` is set."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.cancelled: threading.Event = threading.Event()
        self._at = time.monotonic() + seconds

    def attempts(self) -> Iterator[None]:
        """Yield now and every 2 ms, until the function has to give up. A start of Redis takes about 15 ms."""
        yield
        while not self.cancelled.wait(0.002) and time.monotonic() < self._at:
            yield


async def run_to_end(function: Callable[[], None], on_cancel: Callable[[], None] = lambda: None) -> None:
    """Run ``function`` in a thread, and wait until it ends even when the caller is cancelled.

    :param on_cancel: called at the first cancellation; it may make ``function`` end sooner.
    """
    # It gets a thread of its own, because all shared threads may be taken by jobs that wait for it.
    executor = ThreadPoolExecutor(1, "asyncwork-redis")
    done = asyncio.get_running_loop().run_in_executor(executor, function)
    executor.shutdown(wait=False)
    try:
        await asyncio.wait([done])
    except asyncio.CancelledError:
        on_cancel()
        # anyio repeats its cancellation until a scope shields from it, asyncio cancels once for each call of cancel().
        with anyio.CancelScope(shield=True):
            while not done.done():
                with contextlib.suppress(asyncio.CancelledError):
                    await asyncio.wait([done])
        # Retrieve the exception, because asyncio warns about one that is never retrieved.
        done.exception()
        raise
    done.result()
