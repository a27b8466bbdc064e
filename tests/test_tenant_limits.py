"""Shared limits of fair queues: a tenant whose job does not fit keeps its turn, and no limit is exceeded."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import pytest

from asyncwork import Client, EnqueueOptions, Job, Limit, Rate, WorkerPool
from asyncwork._jobs.payload import encode_job, with_trace

from .conftest import LIMIT, Bench, until

# Tokens that come once.
ONCE = Rate(1, per=86_400, burst=10)


@pytest.fixture
async def client(bench: Bench) -> AsyncIterator[Client]:
    async with Client(bench.url, namespace=bench.namespace) as client:
        yield client


def exporting(
    pool: WorkerPool[Any], limit: Limit, ran: list[str], gate: asyncio.Event | None = None, **options: Any
) -> Any:
    """A fair job type with a shared limit that notes whose jobs have started."""

    @pool.job(**{"partition": "tenant", "limits": [limit], "cost": lambda args: args.get("tokens", 1), **options})
    async def export(tenant: str, tokens: int = 1) -> None:
        ran.append(tenant)
        if gate is not None:
            await gate.wait()

    return export


async def declare(pool: WorkerPool[Any]) -> None:
    async with pool.running():
        pass


@pytest.mark.parametrize("concurrency", [1, 10])
async def test_tenants_take_turns_and_keep_them_while_there_are_no_tokens(
    bench: Bench, client: Client, concurrency: int
) -> None:
    ran: list[str] = []
    pool = bench.pool(concurrency=concurrency)
    export = exporting(pool, pool.limit("llm", rate=ONCE), ran)
    await declare(pool)
    await export.enqueue_many([export.call(tenant) for tenant in "a" * 20 + "b" * 6 + "c" * 3])
    async with pool.running():
        await until(lambda: len(ran) == 10)
        assert Counter(ran) == {"a": 4, "b": 3, "c": 3}
        await client.set_limit("llm", rate=Rate(1000, burst=100))
        await until(lambda: len(ran) == 29)
    # Two batches may overtake each other.
    assert Counter(ran[10:21])["b"] == 3


async def test_a_job_that_costs_more_than_is_left_keeps_its_turn(bench: Bench, client: Client) -> None:
    ran: list[str] = []
    pool = bench.pool()
    export = exporting(pool, pool.limit("llm", rate=ONCE), ran)
    await declare(pool)
    await export.enqueue("a", 6)
    await export.enqueue("b", 6)
    await export.enqueue("c", 1)
    async with pool.running():
        await until(lambda: ran == ["a"])
        waiting = (await client.jobs("queue:export")).jobs
        assert [json.loads(each.args)["tenant"] for each in waiting] == ["b", "c"]
        await asyncio.sleep(0.1)
        assert ran == ["a"]
        await client.set_limit("llm", rate=Rate(1000, burst=100))
        await until(lambda: ran == ["a", "b", "c"])


async def test_no_more_run_than_may_and_other_limits_hold_beside_it(bench: Bench, client: Client) -> None:
    running, most, ran = Counter[str](), Counter[str](), list[str]()
    first, second = bench.pool(concurrency=5), bench.pool(concurrency=5)
    for pool in (first, second):
        limit = pool.limit("llm", concurrency=3)

        @pool.job(partition="tenant", partition_concurrency=2, limits=[limit])
        async def export(tenant: str) -> None:
            for key in (tenant, "all"):
                running[key] += 1
                most[key] = max(most[key], running[key])
            await asyncio.sleep(0.002)
            running.subtract([tenant, "all"])
            ran.append(tenant)

    async with first.running(), second.running():
        await export.enqueue_many([export.call(tenant) for tenant in "aabbcc" * 10])
        await until(lambda: len(ran) == 60, 2 * LIMIT)
    assert most["all"] == 3
    assert max(most[tenant] for tenant in "abc") <= 2


async def test_the_rates_of_tenants_of_the_queue_and_of_the_limit_hold_together(bench: Bench, client: Client) -> None:
    ran: list[str] = []
    pool = bench.pool()
    rates: dict[str, Any] = {"partition_rate": Rate(1, per=1000, burst=2), "rate": Rate(1, per=1000, burst=7)}
    export = exporting(pool, pool.limit("llm", rate=ONCE), ran, max_concurrency=50, **rates)
    await declare(pool)
    await export.enqueue_many([export.call(tenant) for tenant in "aaaabbbbccccdddd"])
    async with pool.running():
        await until(lambda: len(ran) == 7)
        assert max(Counter(ran).values()) == 2
        await client.set_rate("export", None)
        await until(lambda: len(ran) == 8)
        assert Counter(ran) == dict.fromkeys("abcd", 2)
        for tenant in "abcd":
            await client.set_partition("export", tenant, rate="none")
        await until(lambda: len(ran) == 10)
        await client.set_limit("llm", rate=Rate(1000, burst=100))
        await until(lambda: len(ran) == 16)
    await bench.redis.delete(bench.keys.max_concurrency("export"))


async def test_jobs_of_tenants_that_cost_more_than_the_burst_owe_tokens(bench: Bench, client: Client) -> None:
    ran: list[str] = []
    pool = bench.pool(concurrency=1)
    exporting(pool, pool.limit("llm", rate=ONCE), ran)
    await declare(pool)
    for tenant, cost in (("a", 11), ("b", 1), ("a", 2), ("c", 99)):
        await bench.enqueuer.enqueue("export", {"tenant": tenant}, partition=tenant, cost=cost)
    async with pool.running():
        await until(lambda: len(ran) == 1)
        (found,) = await client.limits()
        assert found.tokens == 0
        await client.set_limit("llm", rate=Rate(1000, burst=10))
        await until(lambda: len(ran) == 4)
    assert ran[0] == "a"
    assert sorted(ran) == ["a", "a", "b", "c"]
    assert await bench.redis.exists(bench.keys.quarantine) == 0


async def test_a_chunk_of_a_tenant_takes_what_its_jobs_cost(bench: Bench, client: Client) -> None:
    calls: list[str] = []
    pool = bench.pool(concurrency=1)
    limit = pool.limit("llm", rate=ONCE)

    @pool.job(chunk=3, wait=0.02, partition="tenant", limits=[limit], cost=2)
    async def index(jobs: list[Job]) -> None:
        calls.append("".join(job.args["tenant"] for job in jobs))

    await declare(pool)
    await index.enqueue_many([index.call(tenant=tenant) for tenant in "aaabbbaaabbb"])
    async with pool.running():
        # The last two tokens are of a chunk that is not full.
        await until(lambda: sum(map(len, calls)) == 5)
        assert all(len({*call}) == 1 for call in calls)
        await client.set_limit("llm", rate=Rate(1000, burst=100))
        await until(lambda: sum(map(len, calls)) == 12)
    assert all(len({*call}) == 1 for call in calls)


async def test_what_other_programs_push_costs_as_much_as_its_type_says(bench: Bench, client: Client) -> None:
    ran: list[str] = []
    pool = bench.pool()
    exporting(pool, pool.limit("llm", rate=ONCE), ran, cost=3)
    await declare(pool)
    for n, partition in enumerate(("", ',"partition":"b"', ',"partition":"c"', "", "")):
        payload = b'{"name":"export","id":"x%d","t":1,"args":{"tenant":"x"}%b}' % (n, partition.encode())
        await bench.redis.lpush(bench.keys.queue("export"), payload)
    async with pool.running():
        await until(lambda: len(ran) == 3)
        await asyncio.sleep(0.05)
        assert len(ran) == 3
        await client.set_limit("llm", rate=Rate(1000, burst=100))
        await until(lambda: len(ran) == 5)


def test_the_cost_and_the_tenant_are_last_where_scripts_look_for_them() -> None:
    _, payload = encode_job("wat", {"cost": 7}, 1, job_id="x", tenant='a"b', cost=5)
    assert payload.endswith(b',"cost":5,"partition":"a\\"b"}')
    assert with_trace(payload, "t").endswith(b',"trace":"t","cost":5,"partition":"a\\"b"}')
    assert EnqueueOptions(partition="a", cost=3).cost == 3
    for options in ({"tenant": "a"}, {"cost": 5}, {}):
        _, payload = encode_job("wat", None, 1, job_id="x", **options)
        assert Job.decode(with_trace(payload, "t")).partition == options.get("tenant", "")
        assert with_trace(payload, "t").count(b'"trace":"t"') == 1
