"""asyncwork."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from asyncwork import CallNext, Enqueuer, Job, Tuning, WorkerPool

from ..orders import NAMESPACE, Order
from ..recording import Record


class _Sender:
    def __init__(self, enqueuer: Enqueuer) -> None:
        self.one = enqueuer.enqueue
        self.many = enqueuer.enqueue_many


@asynccontextmanager
async def sending(order: Order) -> AsyncIterator[_Sender]:
    """Open an enqueuer, as in a program without handlers."""
    async with Enqueuer(order.url, namespace=NAMESPACE) as enqueuer:
        yield _Sender(enqueuer)


async def _pass_on(job: Job, call_next: CallNext) -> object:
    return await call_next()


@asynccontextmanager
async def running(order: Order, record: Record) -> AsyncIterator[None]:
    """Run a pool, as in an application."""
    case = order.case
    checkins, sleep = case.checkins, case.sleep

    async def handle(job: Job) -> None:
        args = job.args
        for _ in range(checkins):
            job.checkin("half of it is done")
        if sleep:
            await asyncio.sleep(sleep)
        record(args["index"], args.get("sent", 0))

    pool: WorkerPool[Any] = WorkerPool(
        order.url, namespace=NAMESPACE, concurrency=case.concurrency, tuning=Tuning(pipelines=case.pipelines)
    )
    for _ in range(case.middleware):
        pool.middleware(_pass_on)
    for name in case.all_names():
        pool.job(name)(handle)
    async with pool.running():
        yield
