"""taskiq, with a broker on a list, which does not acknowledge jobs, or on a stream, which does.

It has a result backend only if results are kept.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any

from taskiq import AsyncBroker
from taskiq.receiver import Receiver
from taskiq_redis import ListQueueBroker, RedisAsyncResultBackend, RedisStreamBroker

from ..orders import KEPT, Case, Order
from ..recording import Record
from .together import together

# Seconds for the acknowledgement of jobs that have run.
_FINISHING = 1.0
# Seconds between two looks for a result. Its default is 0.2.
_POLL = 0.01

_BROKERS = {"taskiq-list": ListQueueBroker, "taskiq-stream": RedisStreamBroker}


def _broker(order: Order) -> AsyncBroker:
    # redis-py's default timeout of 5 s would end a receiver that waits longer for a job.
    broker: AsyncBroker = _BROKERS[order.case.side](order.url, socket_timeout=None)
    if order.case.tracked:
        return broker.with_result_backend(RedisAsyncResultBackend(order.url, result_ex_time=KEPT))
    return broker


class _Sender:
    def __init__(self, tasks: dict[str, Any]) -> None:
        self._tasks = tasks

    async def one(self, name: str, args: dict[str, Any]) -> None:
        await self._tasks[name].kiq(**args)

    async def call(self, name: str, args: dict[str, Any]) -> object:
        task = await self._tasks[name].kiq(**args)
        return await task.wait_result(check_interval=_POLL)

    async def many(self, jobs: list[tuple[str, dict[str, Any]]]) -> None:
        await together(self.one, jobs)


def _registered(broker: AsyncBroker, case: Case, record: Record) -> dict[str, Any]:
    async def handle(index: int, sent: int = 0) -> int:
        if case.sleep:
            await asyncio.sleep(case.sleep)
        record(index, sent)
        return index

    return {name: broker.register_task(handle, task_name=name) for name in case.all_names()}


@asynccontextmanager
async def sending(order: Order) -> AsyncIterator[_Sender]:
    """Start a broker, which creates the consumer group of the stream."""
    broker = _broker(order)
    tasks = _registered(broker, order.case, lambda index, sent: None)
    await broker.startup()
    yield _Sender(tasks)
    await broker.shutdown()


@asynccontextmanager
async def running(order: Order, record: Record) -> AsyncIterator[None]:
    """Run its receiver, as ``taskiq worker`` does."""
    broker = _broker(order)
    _registered(broker, order.case, record)
    finish = asyncio.Event()
    receiver = Receiver(broker, ThreadPoolExecutor(1), max_async_tasks=order.case.concurrency)
    task = asyncio.create_task(receiver.listen(finish))
    yield
    finish.set()
    # The receiver of a stream does not always end.
    await asyncio.wait([task], timeout=_FINISHING)
