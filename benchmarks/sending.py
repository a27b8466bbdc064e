"""Runs the producer of any side."""

from __future__ import annotations

import asyncio
import time
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol

from .orders import Order, Waited

# A job's name and its arguments.
Work = tuple[str, dict[str, Any]]

# The shortest time between two checks for due jobs, seconds.
_SHORTEST_PAUSE = 0.001
# Round trips that are not measured: connections are opened in them.
_WARM_UP = 10
# The most jobs in one bulk call, to limit the memory of the producer.
_BULK = 100_000
# Tasks that enqueue a job each at the same time.
CROWD = 1_000


class Sender(Protocol):
    """Enqueues jobs of a side."""

    async def one(self, name: str, args: dict[str, Any]) -> object:
        """Enqueue a job."""

    async def many(self, jobs: list[Work]) -> object:
        """Enqueue many jobs in the side's own way; one after the other if it has none."""


class Caller(Sender, Protocol):
    """Enqueues jobs of a side that can wait for results."""

    async def call(self, name: str, args: dict[str, Any]) -> object:
        """Enqueue a job, and wait for its result."""


class Sending(Protocol):
    """Opens a side's sender."""

    def __call__(self, order: Order, /) -> AbstractAsyncContextManager[Sender]: ...


class Calling(Protocol):
    """Opens the sender of a side that can wait for results."""

    def __call__(self, order: Order, /) -> AbstractAsyncContextManager[Caller]: ...


async def make_trips(order: Order, calling: Calling) -> Waited:
    """Enqueue jobs one after the other, and wait for the result of each; return how long each took."""
    seconds = []
    async with calling(order) as caller:
        for name, args in _jobs(order, range(order.jobs + _WARM_UP)):
            start = time.perf_counter()
            await caller.call(name, args)
            seconds.append(time.perf_counter() - start)
    return Waited(seconds[_WARM_UP:], 0)


async def send(order: Order, sending: Sending) -> float:
    """Carry out an order; return the seconds that it took."""
    async with sending(order) as sender:
        match order.what:
            case "fill":
                return await _fill(order, sender)
            case "trickle":
                return await _trickle(order, sender)
            case "crowd":
                return await _crowd(order, sender)
            case _:
                return await _flow(order, sender)


async def _fill(order: Order, sender: Sender) -> float:
    """Enqueue jobs of all names in turn, in bulk; those that depend on each other in one call."""
    seconds, bulk = 0.0, order.jobs if order.case.flow else _BULK
    for first in range(0, order.jobs, bulk):
        jobs = _jobs(order, range(first, min(first + bulk, order.jobs)))
        start = time.perf_counter()
        await sender.many(jobs)
        seconds += time.perf_counter() - start
    return seconds


async def _trickle(order: Order, sender: Sender) -> float:
    """Enqueue jobs of all names in turn, each after the one before was written."""
    jobs = _jobs(order, range(order.jobs))
    start = time.perf_counter()
    for name, args in jobs:
        await sender.one(name, args)
    return time.perf_counter() - start


async def _crowd(order: Order, sender: Sender) -> float:
    """Enqueue jobs of all names in turn, each in a task of its own, with many tasks at the same time."""
    jobs = _jobs(order, range(order.jobs))
    start = time.perf_counter()
    for first in range(0, len(jobs), CROWD):
        await asyncio.gather(*(sender.one(name, args) for name, args in jobs[first : first + CROWD]))
    return time.perf_counter() - start


async def _flow(order: Order, sender: Sender) -> float:
    """Enqueue jobs at a constant rate, each with the time just before; in bulk if several are due together."""
    start, sent = time.perf_counter(), 0
    while sent < order.jobs:
        due = min(order.jobs, 1 + int(order.rate * (time.perf_counter() - start)))
        if due > sent:
            await _send_due(order, sender, range(sent, due))
            sent = due
        await asyncio.sleep(max(_SHORTEST_PAUSE, start + sent / order.rate - time.perf_counter()))
    return time.perf_counter() - start


async def _send_due(order: Order, sender: Sender, indexes: range) -> None:
    jobs = [(name, {**args, "sent": time.time_ns()}) for name, args in _jobs(order, indexes)]
    if len(jobs) == 1:
        await sender.one(*jobs[0])
    else:
        await sender.many(jobs)


def _jobs(order: Order, indexes: range) -> list[Work]:
    return [(order.case.name(index), order.case.args(index)) for index in indexes]
