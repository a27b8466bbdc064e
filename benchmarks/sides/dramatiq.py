"""dramatiq: one process with one thread for each job that runs at once."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import dramatiq
from dramatiq.brokers.redis import RedisBroker

from ..orders import Case, Order
from ..recording import Record, thread_safe


class _Sender:
    def __init__(self, actors: dict[str, Any]) -> None:
        self._actors = actors

    async def one(self, name: str, args: dict[str, Any]) -> None:
        self._actors[name].send(**args)

    async def many(self, jobs: list[tuple[str, dict[str, Any]]]) -> None:
        for name, args in jobs:
            self._actors[name].send(**args)


def _registered(broker: RedisBroker, case: Case, record: Record) -> dict[str, Any]:
    def handle(index: int, sent: int = 0) -> None:
        if case.sleep:
            time.sleep(case.sleep)
        record(index, sent)

    return {name: dramatiq.actor(handle, actor_name=name, broker=broker) for name in case.all_names()}


@asynccontextmanager
async def sending(order: Order) -> AsyncIterator[_Sender]:
    """Create its actors."""
    yield _Sender(_registered(RedisBroker(url=order.url), order.case, lambda index, sent: None))


@asynccontextmanager
async def running(order: Order, record: Record) -> AsyncIterator[None]:
    """Run its worker."""
    broker = RedisBroker(url=order.url)
    _registered(broker, order.case, thread_safe(record))
    worker = dramatiq.Worker(broker, worker_threads=order.case.concurrency)
    worker.start()
    yield
    worker.stop()
