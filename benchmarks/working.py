"""Has a worker run what was ordered, alike on all sides."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from .orders import Order, reply
from .tally import Arrivals, Record, Share, Tally

# Seconds in which a worker that has nothing to do comes to rest.
_SETTLING = 1.0


class Running(Protocol):
    """A side's worker: runs jobs within the ``async with``, and has each handler call the record."""

    def __call__(self, order: Order, record: Record, /) -> AbstractAsyncContextManager[object]: ...


async def work(order: Order, running: Running) -> None:
    """Run what was ordered, and tell how it went."""
    match order.what:
        case "drain":
            await _drain(order, running)
        case "share":
            await _share(order, running)
        case "wait":
            await _wait(order, running)


async def _drain(order: Order, running: Running) -> None:
    """Run as many jobs as were ordered."""
    done = asyncio.Event()
    tally = Tally(order, _from_any_thread(done))
    async with running(order, tally.ran):
        await done.wait()
    reply(tally.result())


async def _share(order: Order, running: Running) -> None:
    """Run jobs from a line on standard input to the next, both of which the others get too."""
    reply("ready")
    await _line()
    share = Share(order, lambda: None)
    async with running(order, share.ran):
        await _line()
    reply(share.share())


async def _wait(order: Order, running: Running) -> None:
    """Run jobs as they come, each of which tells when it was sent. Says ``waiting`` when the worker is at rest."""
    done = asyncio.Event()
    arrivals = Arrivals(order, _from_any_thread(done))
    async with running(order, arrivals.came):
        await asyncio.sleep(_SETTLING)
        arrivals.rest()
        reply("waiting")
        await done.wait()
    reply(arrivals.result())


def _from_any_thread(done: asyncio.Event) -> Callable[[], None]:
    loop = asyncio.get_running_loop()
    return lambda: loop.call_soon_threadsafe(done.set) and None


async def _line() -> None:
    await asyncio.to_thread(sys.stdin.readline)
