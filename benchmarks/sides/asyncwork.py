"""asyncwork: of this checkout or of an earlier one. So options are passed only where a case needs them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from redis.asyncio import Redis

from asyncwork import Client, Enqueuer, Job, WorkerPool

from ..memory import resident
from ..orders import KEPT, NAMESPACE, Case, Order, Waiters
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


class _TaskSender:
    """Enqueues by tasks, which know the tenants and the unique keys of their jobs."""

    def __init__(self, enqueuer: Enqueuer, tasks: dict[str, Any]) -> None:
        self._enqueuer = enqueuer
        self._tasks = tasks

    async def one(self, name: str, args: dict[str, Any]) -> None:
        await self._tasks[name].enqueue(**args)

    async def many(self, jobs: list[tuple[str, dict[str, Any]]]) -> None:
        await self._enqueuer.enqueue_many(self._tasks[name].call(**args) for name, args in jobs)


class _FlowSender:
    """Enqueues jobs that depend on each other."""

    def __init__(self, order: Order, pool: WorkerPool[Any], tasks: dict[str, Any]) -> None:
        self._kind = order.case.flow
        self._pool = pool
        self._tasks = tasks

    async def one(self, name: str, args: dict[str, Any]) -> None:
        await self._tasks[name].enqueue(**args)

    async def many(self, jobs: list[tuple[str, dict[str, Any]]]) -> None:
        calls = [self._tasks[name].call(**args) for name, args in jobs]
        if self._kind == "batch":
            async with self._pool.batch(on_success=calls.pop()) as batch:
                await batch.add_many(calls)
        elif self._kind == "fan":
            flow: Any = self._pool.flow()
            last = calls.pop()
            flow.add(last, after=flow.add_many(calls))
            await flow.start()
        else:
            await self._pool.chain(*calls).start()


@asynccontextmanager
async def sending(order: Order) -> AsyncIterator[_Sender | _TaskSender | _FlowSender]:
    """Open an enqueuer, as in a program without handlers; or that of a pool, for jobs that need their tasks."""
    case = order.case
    if not case.limit and not case.flow:
        async with Enqueuer(order.url, namespace=NAMESPACE) as enqueuer:
            yield _Sender(enqueuer)
        return
    pool, tasks = _pool(order, lambda index, sent: None)
    # What a pool announces when it starts decides where its jobs wait.
    async with pool.running():
        pass
    async with pool.enqueuer as enqueuer:
        yield _FlowSender(order, pool, tasks) if case.flow else _TaskSender(enqueuer, tasks)


async def _pass_on(job: Job, call_next: CallNext) -> object:
    return await call_next()


@asynccontextmanager
async def running(order: Order, record: Record) -> AsyncIterator[None]:
    """Run a pool, as in an application."""
    async with _pool(order, record)[0].running():
        yield


def _pool(order: Order, record: Record) -> tuple[WorkerPool[Any], dict[str, Any]]:
    """Return the pool, and its tasks by their names."""
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

    async def handle_chunk(jobs: list[Job]) -> None:
        for job in jobs:
            record(job.args["index"], 0)

    ahead: dict[str, Any] = {"ahead": False} if case.limit == "no-ahead" else {}
    pool: WorkerPool[Any] = WorkerPool(order.url, namespace=NAMESPACE, concurrency=case.concurrency, **ahead)
    for _ in range(case.middleware):
        pool.middleware(_pass_on)
    options = _options(pool, case)
    handler: Any = handle_chunk if case.limit == "chunk" else handle
    return pool, {name: pool.job(name, **options)(handler) for name in case.all_names()}


def _options(pool: WorkerPool[Any], case: Case) -> dict[str, Any]:
    options: dict[str, Any] = {}
    if case.tracked:
        options["result"] = KEPT
    if case.timeout:
        options["timeout"] = case.timeout
    if case.limit:
        # An earlier checkout may not have what this imports.
        from .limits import limited

        options.update(limited(pool, case))
    return options


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
