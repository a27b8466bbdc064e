"""asyncio alone: one coroutine for each worker sleeps, once for each job.

It fetches and settles nothing, so no queue can be faster on this event loop and machine. The enqueued jobs stay in
their queues.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from ..orders import Order
from ..recording import Record


@asynccontextmanager
async def running(order: Order, record: Record) -> AsyncIterator[None]:
    """Run coroutines that sleep."""
    indexes = iter(range(order.jobs))

    async def sleep() -> None:
        for index in indexes:
            await asyncio.sleep(order.case.sleep)
            record(index, 0)

    async with asyncio.TaskGroup() as tasks:
        for _ in range(order.case.concurrency):
            tasks.create_task(sleep())
        yield
