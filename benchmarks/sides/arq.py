"""arq. ``poll_delay`` is 10 ms, because with its default of 500 ms workers are mostly idle, and results late."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from arq import create_pool, func
from arq.connections import ArqRedis, RedisSettings
from arq.worker import Worker

from ..orders import KEPT, Order
from ..recording import Record
from .together import together

_POLL = 0.01


class _Sender:
    def __init__(self, redis: ArqRedis) -> None:
        self._redis = redis

    async def one(self, name: str, args: dict[str, Any]) -> None:
        await self._redis.enqueue_job(name, **args)

    async def call(self, name: str, args: dict[str, Any]) -> object:
        job = await self._redis.enqueue_job(name, **args)
        assert job is not None
        return await job.result(poll_delay=_POLL)

    async def many(self, jobs: list[tuple[str, dict[str, Any]]]) -> None:
        await together(self.one, jobs)


@asynccontextmanager
async def sending(order: Order) -> AsyncIterator[_Sender]:
    """Open its connection pool, which enqueues."""
    redis = await create_pool(RedisSettings.from_dsn(order.url))
    yield _Sender(redis)
    await redis.aclose()


@asynccontextmanager
async def running(order: Order, record: Record) -> AsyncIterator[None]:
    """Run its worker."""
    sleep = order.case.sleep

    async def handle(context: dict[str, Any], index: int, sent: int = 0) -> int:
        if sleep:
            await asyncio.sleep(sleep)
        record(index, sent)
        return index

    worker = Worker(
        [func(handle, name=name) for name in order.case.all_names()],
        redis_settings=RedisSettings.from_dsn(order.url),
        handle_signals=False,
        max_jobs=order.case.concurrency,
        keep_result=KEPT if order.case.tracked else 0,
        log_results=False,
        poll_delay=_POLL,
    )
    task = asyncio.create_task(worker.async_run())
    yield
    # Each job is settled in the task that ran it.
    await asyncio.gather(*worker.tasks.values(), return_exceptions=True)
    task.cancel()
    await asyncio.wait([task])
    await worker.close()
