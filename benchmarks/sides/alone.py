"""asyncio alone: as many coroutines as there are workers sleep as often as there are jobs.

Nothing is fetched or settled, so no queue can be quicker on this event loop and machine. What was enqueued stays there.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from ..orders import Order
from ..tally import Record


@asynccontextmanager
async def running(order: Order, record: Record) -> AsyncIterator[None]:
    """Coroutines that sleep."""
    places = iter(range(order.jobs))

    async def sleep() -> None:
        for place in places:
            await asyncio.sleep(order.case.sleep)
            record(place, 0)

    async with asyncio.TaskGroup() as tasks:
        for _ in range(order.case.concurrency):
            tasks.create_task(sleep())
        yield
