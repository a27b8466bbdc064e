"""Batches, flows and slots of limits in tests of applications: they are in the namespace of the test."""

from __future__ import annotations

from typing import Any

from asyncwork import BatchState, Client, Job, Rate, WorkerPool
from asyncwork.testing import open_jobs

from .conftest import Bench


class App:
    """An application whose Redis cannot be reached."""

    def __init__(self) -> None:
        self.pool: WorkerPool[Any] = WorkerPool("redis://127.0.0.1:1/0", namespace="production")
        self.limit = self.pool.limit("model", rate=Rate(100, per=60, burst=10))
        self.ran: list[str] = []

        @self.pool.job
        async def add(job: Job, one: int, other: int = 0) -> int:
            self.ran.append(f"add {one} {other}")
            return one + other

        @self.pool.job
        async def grow(job: Job) -> None:
            await job.flow.add(add.call(7), after=job)

        @self.pool.job
        async def ask(job: Job) -> None:
            async with self.limit.slot(cost=3):
                self.ran.append("ask")

        self.add, self.grow, self.ask = add, grow, ask


async def test_a_flow_is_drained(bench: Bench) -> None:
    app = App()
    with open_jobs(app.pool, bench.url) as jobs:
        flow = app.pool.flow("sums")
        first = flow.add(app.add.call(1, 2))
        flow.add(app.add.call(first.result, 10), after=flow.add(app.grow.call()))
        handle = await flow.start()
        assert (await handle.status()).batch.left == 3
        assert [run.outcome for run in await jobs.drain()] == ["done"] * 4
        assert (await handle.wait(timeout=5)).batch.state is BatchState.SUCCEEDED
    assert sorted(app.ran) == ["add 1 2", "add 3 10", "add 7 0"]


async def test_a_batch_is_drained(bench: Bench) -> None:
    app = App()
    with open_jobs(app.pool, bench.url) as jobs:
        async with app.pool.batch("sums", on_success=app.add.call(9)) as batch:
            await batch.add_many(app.add.call(number) for number in range(2))
        assert len(await jobs.drain()) == 3
        async with Client(jobs.url, namespace=jobs.namespace) as client:
            found = await client.batch(batch.id)
        assert found is not None
        assert found.state is BatchState.SUCCEEDED
    assert app.ran[-1] == "add 9 0"


def test_blocking_code_starts_flows_and_batches(redis_url: str) -> None:
    app = App()
    with open_jobs(app.pool, redis_url) as jobs:
        flow = app.pool.sync_enqueuer.flow("sums")
        flow.add(app.add.call(1), after=flow.add("add", {"one": 2}))
        flow.start()
        with app.pool.sync_enqueuer.batch("sums") as batch:
            batch.add("add", {"one": 3})
        assert [run.outcome for run in jobs.sync.drain()] == ["done"] * 3
    assert sorted(app.ran) == ["add 1 0", "add 2 0", "add 3 0"]


async def test_a_job_takes_a_slot(bench: Bench) -> None:
    app = App()
    with open_jobs(app.pool, bench.url) as jobs:
        await app.ask.enqueue()
        assert [run.outcome for run in await jobs.drain()] == ["done"]
    assert app.ran == ["ask"]
