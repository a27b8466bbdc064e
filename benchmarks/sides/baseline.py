"""The baseline: asyncwork's hot path alone. asyncwork enqueues its jobs, but is not imported in its process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from ..baseline import Baseline, Fields
from ..orders import NAMESPACE, Order
from ..recording import Record


@asynccontextmanager
async def running(order: Order, record: Record) -> AsyncIterator[None]:
    """Run the baseline, which ends when the queues are empty."""

    async def handle(job: Fields) -> None:
        record(job["args"]["index"], 0)

    case = order.case
    baseline = Baseline(
        order.url, NAMESPACE, case.all_names(), handle, concurrency=case.concurrency, pipelines=case.pipelines
    )
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(baseline.run())
        yield
