"""Runs the worker of any side."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from .orders import Order, reply
from .recording import FlowRecorder, LatencyRecorder, Record, RunRecorder, SharedRunRecorder

# Seconds after which a worker without jobs is considered idle.
_SETTLING = 1.0


class Running(Protocol):
    """A side's worker: it runs jobs within the ``async with``, and each handler calls the record."""

    def __call__(self, order: Order, record: Record, /) -> AbstractAsyncContextManager[object]: ...


async def work(order: Order, running: Running) -> None:
    """Carry out an order, and write the result."""
    match order.what:
        case "drain":
            await _drain(order, running)
        case "share":
            await _share(order, running)
        case "wait":
            await _wait(order, running)
        case "serve":
            await _serve(order, running)


async def _drain(order: Order, running: Running) -> None:
    """Run as many jobs as ordered."""
    done = asyncio.Event()
    recorder = (FlowRecorder if order.case.flow else RunRecorder)(order, _from_any_thread(done))
    async with running(order, recorder.ran):
        await done.wait()
    reply(recorder.result())


async def _share(order: Order, running: Running) -> None:
    """Run jobs from one line on standard input to the next. All processes get both lines."""
    reply("ready")
    await _line()
    recorder = SharedRunRecorder(order, lambda: None)
    async with running(order, recorder.ran):
        await _line()
    reply(recorder.share())


async def _serve(order: Order, running: Running) -> None:
    """Run jobs until a line on standard input. Writes ``ready`` when the worker is idle."""
    async with running(order, lambda index, sent: None):
        await asyncio.sleep(_SETTLING)
        reply("ready")
        await _line()


async def _wait(order: Order, running: Running) -> None:
    """Run jobs as they arrive, and measure their latency. Writes ``waiting`` when the worker is idle."""
    done = asyncio.Event()
    recorder = LatencyRecorder(order, _from_any_thread(done))
    async with running(order, recorder.arrived):
        await asyncio.sleep(_SETTLING)
        recorder.record_idle_memory()
        reply("waiting")
        await done.wait()
    reply(recorder.result())


def _from_any_thread(done: asyncio.Event) -> Callable[[], None]:
    loop = asyncio.get_running_loop()
    return lambda: loop.call_soon_threadsafe(done.set) and None


async def _line() -> None:
    await asyncio.to_thread(sys.stdin.readline)
