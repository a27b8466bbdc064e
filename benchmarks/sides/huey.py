"""huey: one process with one thread for each job that runs at once, without results."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from huey import RedisHuey

from ..orders import Case, Order
from ..recording import Record, thread_safe


class _Sender:
    def __init__(self, tasks: dict[str, Any]) -> None:
        self._tasks = tasks

    async def one(self, name: str, args: dict[str, Any]) -> None:
        self._tasks[name](**args)

    async def many(self, jobs: list[tuple[str, dict[str, Any]]]) -> None:
        for name, args in jobs:
            self._tasks[name](**args)


def _registered(huey: RedisHuey, case: Case, record: Record) -> dict[str, Any]:
    def handle(index: int, sent: int = 0) -> None:
        if case.sleep:
            time.sleep(case.sleep)
        record(index, sent)

    return {name: huey.task(name=name)(handle) for name in case.all_names()}


@asynccontextmanager
async def sending(order: Order) -> AsyncIterator[_Sender]:
    """Create its tasks."""
    huey = RedisHuey("bench", url=order.url, results=False)
    yield _Sender(_registered(huey, order.case, lambda index, sent: None))


@asynccontextmanager
async def running(order: Order, record: Record) -> AsyncIterator[None]:
    """Run its consumer."""
    huey = RedisHuey("bench", url=order.url, results=False)
    _registered(huey, order.case, thread_safe(record))
    consumer = huey.create_consumer(workers=order.case.concurrency, periodic=False, check_worker_health=False)
    consumer.start()
    yield
    consumer.stop(graceful=True)
