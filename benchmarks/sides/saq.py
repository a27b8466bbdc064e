"""saq. It deletes a finished job at once (``ttl=-1``), unless its result is kept."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from saq import Queue, Worker

from ..orders import KEPT, Order
from ..recording import Record
from .together import together

# Seconds between two looks for a result. Its default is 0.5.
_POLL = 0.01


class _Sender:
    def __init__(self, queue: Queue, ttl: int, *, unique: bool) -> None:
        self._queue = queue
        self._ttl = ttl
        self._unique = unique

    async def one(self, name: str, args: dict[str, Any]) -> None:
        # No other job has the same key until this one has ended.
        keys = {"key": f"{name}:{args['index']}"} if self._unique else {}
        await self._queue.enqueue(name, ttl=self._ttl, **keys, **args)

    async def call(self, name: str, args: dict[str, Any]) -> object:
        return await self._queue.apply(name, ttl=self._ttl, poll_interval=_POLL, **args)

    async def many(self, jobs: list[tuple[str, dict[str, Any]]]) -> None:
        await together(self.one, jobs)


@asynccontextmanager
async def sending(order: Order) -> AsyncIterator[_Sender]:
    """Open its queue."""
    queue = Queue.from_url(order.url)
    await queue.connect()
    yield _Sender(queue, KEPT if order.case.tracked else -1, unique=order.case.limit == "unique")
    await queue.disconnect()


@asynccontextmanager
async def running(order: Order, record: Record) -> AsyncIterator[None]:
    """Run its worker."""
    sleep = order.case.sleep

    async def handle(context: dict[str, Any], *, index: int, sent: int = 0) -> int:
        if sleep:
            await asyncio.sleep(sleep)
        record(index, sent)
        return index

    queue = Queue.from_url(order.url)
    await queue.connect()
    functions = [(name, handle) for name in order.case.all_names()]
    worker = Worker(queue, functions, concurrency=order.case.concurrency, shutdown_grace_period_s=1)
    task = asyncio.create_task(worker.start())
    yield
    await worker.stop()
    await task
    await queue.disconnect()
