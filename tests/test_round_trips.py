"""Counts of Redis commands and round trips, under load and at rest. They hold on any machine."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from asyncwork import Client, ResultLost, WorkerPool
from asyncwork.embedded import EmbeddedRedis

from .conftest import LIMIT, Bench, open_bench, until
from .payloads import failed, payload, put
from .tuned import tuned
from .web_app import serving

# Background roles that say nothing while a test lasts, but for once at the start.
SILENT = tuned(
    heartbeat=60, dead_after=120, reap=60, orphans=60, observe=60, requeue=60, reconcile=60, revive=60, count=60
)
JOBS = 2_000


@pytest.fixture
async def own(tmp_path: Path) -> AsyncIterator[Bench]:
    """A namespace on a Redis that nobody else speaks to."""
    with EmbeddedRedis(tmp_path, appendonly=False) as server:
        async with open_bench(server.url) as bench:
            yield bench


def pool_of(bench: Bench, names: int, concurrency: int, ran: list[int], **options: Any) -> WorkerPool[Any]:
    pool = bench.pool(concurrency=concurrency, **SILENT)

    async def wat(n: int) -> None:
        ran.append(n)

    for number in range(names):
        pool.job(f"wat{number}", **options)(wat)
    return pool


async def reads(bench: Bench) -> int:
    return int((await bench.redis.info("stats"))["total_reads_processed"])


async def commands(bench: Bench) -> dict[str, int]:
    """How often each command was called, within scripts, too."""
    stats = await bench.redis.info("commandstats")
    return {name.removeprefix("cmdstat_"): int(each["calls"]) for name, each in stats.items()}


@pytest.mark.parametrize(("concurrency", "names"), [(20, 10), (20, 100), (20, 500), (100, 10)])
async def test_under_load_a_batch_is_one_round_trip_and_a_job_few_commands(
    own: Bench, concurrency: int, names: int
) -> None:
    ran: list[int] = []
    pool = pool_of(own, names, concurrency, ran)
    await own.enqueuer.enqueue_many((f"wat{n % names}", {"n": n}) for n in range(JOBS))
    async with pool.running():
        await pool.drain()
        before, said = await reads(own), await commands(own)
        ran.clear()
        await own.enqueuer.enqueue_many((f"wat{n % names}", {"n": n}) for n in range(JOBS))
        await until(lambda: len(ran) == JOBS)
        batches = await reads(own) - before
        calls = {name: count - said.get(name, 0) for name, count in (await commands(own)).items()}
    assert sorted(ran) == list(range(JOBS))
    # Two lanes share the workers. Half as much again for batches that are not full; to find out that all queues are
    # empty takes some more.
    assert batches < 1.5 * JOBS / (concurrency / 2) + 100 + names / 2
    # Of each job one, to acknowledge it; the rest is for each queue of a batch, which are as many as its jobs at most.
    assert calls["lrem"] == JOBS
    assert sum(calls.values()) < (6 if names <= 10 else 20) * JOBS


@pytest.mark.parametrize("options", [{}, {"max_concurrency": 1}])
async def test_at_rest_nothing_is_said_but_that_a_wait_is_over(own: Bench, options: dict[str, int]) -> None:
    ran: list[int] = []
    pool = pool_of(own, 3, 4, ran, **options)
    async with pool.running():
        await until(lambda: own.blocked(pool) == 3)
        for number in range(3):
            await own.enqueuer.enqueue(f"wat{number}", {"n": number})
        await until(lambda: len(ran) == 3 and own.blocked(pool) == 3)
        before = await reads(own)
        await asyncio.sleep(1)
        # Our own look at it, waits that happen to end, and a few looks less and less often.
        assert await reads(own) - before < 20


async def test_a_queue_at_its_cap_is_looked_at_now_and_then(own: Bench) -> None:
    pool = own.pool(concurrency=4, **SILENT)
    hold = asyncio.Event()

    @pool.job(max_concurrency=1)
    async def capped(n: int) -> None:
        await hold.wait()

    @pool.job
    async def free() -> None:
        """Somebody can be parked on."""

    await own.enqueuer.enqueue_many(("capped", {"n": n}) for n in range(3))
    async with pool.running():
        await until(lambda: own.redis.llen(own.keys.in_progress("capped", pool.id or "")))
        await until(lambda: own.blocked(pool) == 1)
        before = await commands(own)
        await asyncio.sleep(2)
        now = await commands(own)
        # After 10 ms, 20 ms and so on up to a second, not again and again; and nobody parked is disturbed for it.
        assert now["evalsha"] - before["evalsha"] < 25
        assert now.get("client|unblock", 0) - before.get("client|unblock", 0) < 3
        hold.set()
        await pool.drain()


async def test_an_idle_pool_starts_a_job_without_another_round_trip(own: Bench) -> None:
    ran: list[int] = []
    pool = pool_of(own, 1, 4, ran)
    async with pool.running():
        await until(lambda: own.blocked(pool) == 1)
        await own.enqueuer.enqueue("wat0", {"n": 0})
        await until(lambda: len(ran) == 1 and own.blocked(pool) == 1)
        before = await commands(own)
        await own.enqueuer.enqueue("wat0", {"n": 1})
        await until(lambda: len(ran) == 2 and own.blocked(pool) == 1)
        now = await commands(own)
    # What was brought is accounted for behind the pop; a fetch and an ack follow when the job has ended.
    assert now["brpoplpush"] - before["brpoplpush"] == 1
    assert now["evalsha"] - before["evalsha"] <= 4


async def test_many_who_wait_for_jobs_by_id_share_one_search(own: Bench) -> None:
    ran: list[int] = []
    pool = pool_of(own, 1, 20, ran, result=60)
    async with pool.running():
        pass
    jobs = await own.enqueuer.enqueue_many(("wat0", {"n": n}) for n in range(JOBS))
    async with Client(own.url, namespace=own.namespace) as client:
        before, said = await reads(own), await commands(own)
        waiting = [asyncio.create_task(client.result(job.id, timeout=LIMIT)) for job in jobs]
        known = client._waits.get()._waits
        await until(lambda: len(known) == JOBS and not any(each.unknown for each in known.values()))
        # The queue is read once, in some steps, and their records twice; the rest is our own look at all of that.
        assert (await commands(own))["lrange"] - said.get("lrange", 0) < 20
        assert await reads(own) - before < 200
        async with pool.running():
            assert await asyncio.gather(*waiting) == [None] * JOBS
        before, said = await reads(own), await commands(own)
        assert await asyncio.gather(*(client.result(job.id, timeout=LIMIT) for job in jobs)) == [None] * JOBS
        # Nothing is searched that has ended.
        assert (await commands(own)).get("lrange", 0) == said.get("lrange", 0)
        assert await reads(own) - before < 100
        before, said = await reads(own), await commands(own)
        lost = await asyncio.gather(*(client.result(f"no{n}") for n in range(JOBS)), return_exceptions=True)
        assert {type(each) for each in lost} == {ResultLost}
        assert await reads(own) - before < 200
    assert sorted(ran) == list(range(JOBS))


# The web UI


async def test_the_page_of_all_queues_takes_as_many_round_trips_for_sixty_as_for_one(own: Bench) -> None:
    taken = []
    async with serving(own) as (_, web):
        for count in (1, 60):
            await own.redis.sadd(own.keys.known_jobs, *(f"wat{number}" for number in range(count)))
            await web.get("/queues", headers={"accept": "text/html"})
            before = await reads(own)
            response = await web.get("/queues", headers={"accept": "text/html"})
            taken.append(await reads(own) - before)
            assert response.text.count("wat") > count
    # A pipeline of some hundred commands may reach Redis in several reads.
    assert taken[1] <= taken[0] + 10, taken
    assert taken[1] < 30


async def test_many_handles_of_jobs_that_are_gone_are_sought_in_one_way(own: Bench) -> None:
    await put(own, "dead", *(failed() for _ in range(20_000)), at=1_500_000_000)
    await own.redis.zadd(own.keys.dead, dict.fromkeys([failed() for _ in range(10_000)], 1_600_000_000))
    await put(own, "queue:wat", *(payload() for _ in range(10_000)))
    gone = "0" * 20
    async with Client(own.url, namespace=own.namespace) as client:
        page = await client.jobs("dead", per_page=2)
        for handles, found, most in (
            ([f"{1_600_000_000.0}~{gone[:17]}{number:03}~{number}" for number in range(100)], 0, 60),
            ([f"{1_500_000_000.0 + number}~{gone}~{number}" for number in range(100)], 0, 300),
            ([f"{1_400_000_000.0 + number}~{gone}~{number}" for number in range(100)], 0, 20),
            ([page.jobs[1].ref, f"{1_600_000_000.0}~{gone}~0", page.jobs[0].ref], 2, 60),
        ):
            before = await reads(own)
            outcome = await client.retry("dead", handles)
            assert outcome.looked == outcome.done == found
            assert await reads(own) - before < most
        before = await reads(own)
        handles = [f"~{gone[:17]}{number:03}~{50 * number}" for number in range(100)]
        assert (await client.delete("queue:wat", handles)).done == 0
        assert await reads(own) - before < 100
