"""dramatiq: one process with as many threads as jobs are to run at once."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import dramatiq
from dramatiq.brokers.redis import RedisBroker

from ..orders import Case, Order
from ..tally import Record, one_by_one


class _Sender:
    def __init__(self, actors: dict[str, Any]) -> None:
        self._actors = actors

    async def one(self, name: str, args: dict[str, Any]) -> None:
        self._actors[name].send(**args)

    async def many(self, jobs: list[tuple[str, dict[str, Any]]]) -> None:
        for name, args in jobs:
            self._actors[name].send(**args)


def _registered(broker: RedisBroker, case: Case, record: Record) -> dict[str, Any]:
    def handle(place: int, sent: int = 0) -> None:
        if case.sleep:
            time.sleep(case.sleep)
        record(place, sent)

    return {name: dramatiq.actor(handle, actor_name=name, broker=broker) for name in case.all_names()}


@asynccontextmanager
async def sending(order: Order) -> AsyncIterator[_Sender]:
    """Its actors."""
    yield _Sender(_registered(RedisBroker(url=order.url), order.case, lambda place, sent: None))


@asynccontextmanager
async def running(order: Order, record: Record) -> AsyncIterator[None]:
    """Its worker."""
    broker = RedisBroker(url=order.url)
    _registered(broker, order.case, one_by_one(record))
    worker = dramatiq.Worker(broker, worker_threads=order.case.concurrency)
    worker.start()
    yield
    worker.stop()
