"""Run a blocking function beside the event loop, to its end."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import anyio


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
