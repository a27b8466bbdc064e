"""The floor: asyncwork's hot path alone. What it runs is enqueued by asyncwork; its own memory is without it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from ..floor import Fields, Floor
from ..orders import NAMESPACE, Order
from ..tally import Record


@asynccontextmanager
async def running(order: Order, record: Record) -> AsyncIterator[None]:
    """The sketch, which ends when the queues are empty."""

    async def handle(job: Fields) -> None:
        record(job["args"]["place"], 0)

    case = order.case
    floor = Floor(
        order.url, NAMESPACE, case.all_names(), handle, concurrency=case.concurrency, exchanges=case.exchanges
    )
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(floor.run())
        yield
