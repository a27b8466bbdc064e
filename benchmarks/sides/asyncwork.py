"""asyncwork: of this checkout or of an earlier one. So options are passed only where a case needs them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from redis.asyncio import Redis

from asyncwork import Client, Enqueuer, Job, WorkerPool

from ..memory import resident
from ..orders import KEPT, NAMESPACE, Order, Waiters
from ..recording import Record

if TYPE_CHECKING:
    from asyncwork import CallNext


class _Sender:
    def __init__(self, enqueuer: Enqueuer) -> None:
        self._enqueuer = enqueuer
        self.one = enqueuer.enqueue
        self.many = enqueuer.enqueue_many

    async def call(self, name: str, args: dict[str, Any]) -> object:
        job = await self._enqueuer.enqueue(name, args)
        return await job.result()


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

    async def handle(job: Job) -> int:
        args = job.args
        for _ in range(checkins):
            job.checkin("half of it is done")
        if sleep:
            await asyncio.sleep(sleep)
        index: int = args["index"]
        record(index, args.get("sent", 0))
        return index

    pool: WorkerPool[Any] = WorkerPool(order.url, namespace=NAMESPACE, concurrency=case.concurrency)
    for _ in range(case.middleware):
        pool.middleware(_pass_on)
    options: dict[str, Any] = {}
    if case.tracked:
        options["result"] = KEPT
    if case.timeout:
        options["timeout"] = case.timeout
    for name in case.all_names():
        pool.job(name, **options)(handle)
    async with pool.running():
        yield


async def hold_waiters(order: Order) -> Waiters:
    """Wait for the results of jobs that do not run, all at once; return the memory before and meanwhile."""
    # Starting a pool notes in Redis that the results of its jobs are kept.
    async with running(order, lambda index, sent: None):
        pass
    redis: Any = Redis.from_url(order.url, protocol=2)
    async with (
        Enqueuer(order.url, namespace=NAMESPACE) as enqueuer,
        Client(order.url, namespace=NAMESPACE) as client,
    ):
        jobs = await enqueuer.enqueue_many((order.case.name(n), order.case.args(n)) for n in range(order.jobs))
        before = resident()
        # As the jobs of tasks wait. `Client.result` would search for each job first.
        waits = [asyncio.create_task(client._wait_for_end(job.id, job.name, None)) for job in jobs]
        # Redis has a record for each wait.
        while await redis.dbsize() < order.jobs:
            await asyncio.wait(waits, timeout=0.05, return_when=asyncio.FIRST_EXCEPTION)
            for wait in waits:
                if wait.done():
                    wait.result()
        after = resident()
        for wait in waits:
            wait.cancel()
        await asyncio.wait(waits)
    await redis.aclose()
    return Waiters(before, after)
