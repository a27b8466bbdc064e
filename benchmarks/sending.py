"""Has a producer enqueue what was ordered, alike on all sides."""

from __future__ import annotations

import asyncio
import time
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol

from .orders import Order

# A job's name and its arguments.
Work = tuple[str, dict[str, Any]]

# Seconds at least between two looks at what is due.
_TURN = 0.001
# Jobs that are given to one call in bulk at most, so that a large number does not need as much memory.
_BULK = 100_000


class Sender(Protocol):
    """A side's way to enqueue."""

    async def one(self, name: str, args: dict[str, Any]) -> object:
        """Enqueue a job."""

    async def many(self, jobs: list[Work]) -> object:
        """Enqueue jobs in its own way for many; one after the other if it has none."""


class Sending(Protocol):
    """Opens a side's sender."""

    def __call__(self, order: Order, /) -> AbstractAsyncContextManager[Sender]: ...


async def send(order: Order, sending: Sending) -> float:
    """Enqueue what was ordered; return the seconds that it took."""
    async with sending(order) as sender:
        match order.what:
            case "fill":
                return await _fill(order, sender)
            case "trickle":
                return await _trickle(order, sender)
            case _:
                return await _flow(order, sender)


async def _fill(order: Order, sender: Sender) -> float:
    """Enqueue jobs of all names in turn, in bulk."""
    seconds = 0.0
    for first in range(0, order.jobs, _BULK):
        jobs = _jobs(order, range(first, min(first + _BULK, order.jobs)))
        start = time.perf_counter()
        await sender.many(jobs)
        seconds += time.perf_counter() - start
    return seconds


async def _trickle(order: Order, sender: Sender) -> float:
    """Enqueue jobs of all names in turn, each when the one before is written."""
    jobs = _jobs(order, range(order.jobs))
    start = time.perf_counter()
    for name, args in jobs:
        await sender.one(name, args)
    return time.perf_counter() - start


async def _flow(order: Order, sender: Sender) -> float:
    """Enqueue jobs as they are due, with the time just before that in each; those that are due together in bulk."""
    start, sent = time.perf_counter(), 0
    while sent < order.jobs:
        due = min(order.jobs, 1 + int(order.rate * (time.perf_counter() - start)))
        if due > sent:
            await _send_due(order, sender, range(sent, due))
            sent = due
        await asyncio.sleep(max(_TURN, start + sent / order.rate - time.perf_counter()))
    return time.perf_counter() - start


async def _send_due(order: Order, sender: Sender, places: range) -> None:
    jobs = [(name, {**args, "sent": time.time_ns()}) for name, args in _jobs(order, places)]
    if len(jobs) == 1:
        await sender.one(*jobs[0])
    else:
        await sender.many(jobs)


def _jobs(order: Order, places: range) -> list[Work]:
    return [(order.case.name(place), order.case.args(place)) for place in places]
