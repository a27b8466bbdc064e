"""streaq, without results (``ttl=0``) and without a log line for each task (``silent``)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from streaq import Worker

from ..orders import Case, Order
from ..recording import Record

# Tasks in one pipeline.
_BATCH = 1000


class _Sender:
    def __init__(self, worker: Worker, tasks: dict[str, Any], flow: str) -> None:
        self._worker = worker
        self._tasks = tasks
        self._flow = flow

    async def one(self, name: str, args: dict[str, Any]) -> None:
        await self._tasks[name].enqueue(**args)

    async def many(self, jobs: list[tuple[str, dict[str, Any]]]) -> None:
        tasks = [self._tasks[name].enqueue(**args) for name, args in jobs]
        # What waits is enqueued first: without results, a task that is done could not be waited for.
        if self._flow == "chain":
            for task, before in zip(reversed(tasks[1:]), reversed(tasks[:-1]), strict=True):
                await task.start(after=before.id)
            del tasks[1:]
        elif self._flow:
            last = tasks.pop()
            await last.start(after=[task.id for task in tasks])
        for first in range(0, len(tasks), _BATCH):
            await self._worker.enqueue_many(tasks[first : first + _BATCH])


def _registered(worker: Worker, case: Case, record: Record) -> dict[str, Any]:
    async def handle(index: int, sent: int = 0) -> None:
        if case.sleep:
            await asyncio.sleep(case.sleep)
        record(index, sent)

    return {name: worker.task(name=name, ttl=0, silent=True)(handle) for name in case.all_names()}


@asynccontextmanager
async def sending(order: Order) -> AsyncIterator[_Sender]:
    """Open its worker, which also enqueues."""
    async with Worker(redis_url=order.url, handle_signals=False) as worker:
        yield _Sender(worker, _registered(worker, order.case, lambda index, sent: None), order.case.flow)


@asynccontextmanager
async def running(order: Order, record: Record) -> AsyncIterator[None]:
    """Run its worker."""
    worker = Worker(redis_url=order.url, concurrency=order.case.concurrency, handle_signals=False, grace_period=1)
    _registered(worker, order.case, record)
    task = asyncio.create_task(worker.run_async())
    yield
    task.cancel()
    await asyncio.wait([task])
