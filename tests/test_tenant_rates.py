"""The rates of tenants of fair queues, and tenants that rest: over all pools, and whatever wakes them."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import defaultdict
from typing import Any

import pytest

from asyncwork import Client, Rate, RateLimited, Task, UsageError, WorkerPool
from asyncwork._redis.commands import RequeueAndRest
from asyncwork._redis.fair_queues import FairQueues
from asyncwork._redis.fair_queues import tenant_of as job_tenant
from asyncwork._worker.fetcher import Fetcher

from .conftest import Bench, until

RATE = Rate(20, per=1, burst=2)


def exporting(pool: WorkerPool[Any], starts: dict[str, list[float]], **options: Any) -> Task[..., ..., Any]:
    """A fair job type that notes when a job of a tenant has started."""

    @pool.job(**{"partition": "tenant", "partition_rate": RATE, **options})
    async def export(tenant: str) -> None:
        starts[tenant].append(time.monotonic())

    return export


async def tenant_of(client: Client, name: str) -> Any:
    return next((each for each in (await client.tenants("export")).tenants if each.name == name), None)


async def test_the_rate_of_each_tenant_holds_over_all_pools(bench: Bench) -> None:
    starts: dict[str, list[float]] = defaultdict(list)
    first, second = bench.pool(concurrency=5), bench.pool(concurrency=5)
    export = exporting(first, starts)
    exporting(second, starts)
    async with first.running(), second.running():
        await export.enqueue_many([export.call(tenant) for tenant in "abc" for _ in range(20)])
        await export.enqueue("alone")
        await first.drain()
        await second.drain()
    assert {tenant: len(times) for tenant, times in starts.items()} == {"a": 20, "b": 20, "c": 20, "alone": 1}
    for tenant in "abc":
        # All but the burst had to wait for a token. They wait side by side.
        assert starts[tenant][-1] - starts[tenant][0] >= 17 / 20
    assert max(starts[tenant][0] for tenant in starts) - min(starts[tenant][0] for tenant in starts) < 0.8


async def test_an_idle_pool_learns_of_a_tenant_that_waits_for_a_token(bench: Bench) -> None:
    starts: dict[str, list[float]] = defaultdict(list)
    pool = bench.pool()
    export = exporting(pool, starts, partition_rate=Rate(10))
    async with pool.running():
        await export.enqueue("a")
        await until(lambda: starts["a"] and bench.blocked(pool) == 1)
        # No pool has read the queue since then: the enqueue wakes one.
        for number in range(2, 12):
            await export.enqueue("a")
            await until(lambda number=number: len(starts["a"]) == number and bench.blocked(pool) == 1)
    # Without the bell, each would wait until a pop has ended, a quarter of a second.
    assert 0.99 <= starts["a"][-1] - starts["a"][0] < 2


async def test_a_pool_looks_not_ahead_on_tenants_with_rates(bench: Bench) -> None:
    starts: dict[str, list[float]] = defaultdict(list)
    pool = bench.pool(concurrency=2)
    export = exporting(pool, starts, partition_rate=Rate(500, burst=1))
    async with pool.running():
        await export.enqueue_many([export.call(f"t{n % 10}") for n in range(1000)])
        await pool.drain()
    assert sum(map(len, starts.values())) == 1000


async def test_the_rate_of_one_tenant_is_changed_while_a_pool_runs(bench: Bench) -> None:
    starts: dict[str, list[float]] = defaultdict(list)
    pool = bench.pool()
    export = exporting(pool, starts, partition_rate=Rate(1, per=1000))
    async with pool.running(), Client(bench.url, namespace=bench.namespace) as client:
        await export.enqueue_many([export.call(tenant) for tenant in "ab" for _ in range(3)])
        await until(lambda: len(starts["a"]) == len(starts["b"]) == 1)
        tenant = await tenant_of(client, "a")
        assert (tenant.held, tenant.rests, tenant.rate, tenant.rate_label) == (True, False, "1/1000/1", "1 per 1000 s")
        assert 900 < tenant.opens_in <= 1000
        waiting = (await client.jobs("queue:export")).jobs
        (one,) = [each for each in waiting if b'"a"' in each.args][:1]
        reason = await client.waiting_reason(one.id)
        assert "its tenant has no token left of its rate of 1 per 1000 s; the next one comes in " in reason
        assert float(reason.split("comes in ")[1].split(" s")[0]) == pytest.approx(950, abs=50)
        await client.set_partition("export", "a", rate="none")
        await until(lambda: len(starts["a"]) == 3)
        await client.set_partition("export", "b", rate=Rate(100))
        await until(lambda: len(starts["b"]) == 3)
        assert (await tenant_of(client, "b")).rate == "100/1/10"
        await client.set_partition("export", "b", rate="default")
        assert await tenant_of(client, "b") is None
        assert (await client.tenants("export")).rate == "1/1000/1"


async def test_a_rate_that_is_withdrawn_holds_nobody(bench: Bench) -> None:
    starts: dict[str, list[float]] = defaultdict(list)
    pool, later = bench.pool(), bench.pool()
    export = exporting(pool, starts, partition_rate=Rate(1, per=1000))
    exporting(later, starts, partition_rate=None)
    async with pool.running():
        await export.enqueue_many([export.call("a") for _ in range(3)])
        await until(lambda: len(starts["a"]) == 1)
    async with later.running():
        await later.drain()
    assert len(starts["a"]) == 3


async def test_a_rate_limited_job_has_its_tenant_rest(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    ran: list[str] = []
    pool = bench.pool(concurrency=1)

    @pool.job(partition="tenant")
    async def export(tenant: str, n: int) -> None:
        ran.append(f"{tenant}{n}")
        if tenant == "a" and ran.count("a0") == 1:
            raise RateLimited(retry_after=1000)

    caplog.set_level(logging.INFO, "asyncwork")
    async with pool.running(), Client(bench.url, namespace=bench.namespace) as client:
        await export.enqueue_many([export.call(tenant, n) for n in range(3) for tenant in "ab"])
        await until(lambda: len(ran) == 4)
        assert ran == ["a0", "b0", "b1", "b2"]
        assert "rate limited: no pool takes jobs of its tenant for 1000 s" in caplog.text
        tenant = await tenant_of(client, "a")
        assert (tenant.waiting, tenant.held, tenant.rests) == (3, True, True)
        assert 900 < tenant.opens_in <= 1000
        assert not (await client.queues())[0].rests_for
        waiting = (await client.jobs("queue:export")).jobs
        assert (await client.waiting_reason(waiting[0].id)).startswith("its tenant rests for ")
        await client.unpause_partition("export", "a")
        await until(lambda: len(ran) == 7)
    assert ran[4:] == ["a0", "a1", "a2"]


async def test_no_job_of_a_tenant_starts_that_was_taken_before_its_rest(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    rested, after = set[str](), list[str]()
    rest = Fetcher.rest

    def note(self: Fetcher, command: RequeueAndRest) -> None:
        rested.add(job_tenant(command.payloads[0]))
        rest(self, command)

    monkeypatch.setattr(Fetcher, "rest", note)
    pool = bench.pool(concurrency=10)

    @pool.job
    async def other() -> None:
        await asyncio.sleep(0)

    @pool.job(partition="tenant")
    async def export(tenant: str, n: int) -> None:
        if tenant in rested:
            after.append(tenant)
        if n == 50:
            raise RateLimited(retry_after=1000)

    async with pool.running():
        for turn in range(10):
            # Batches of many jobs are under way, also of another queue, when one is rate limited.
            await bench.enqueuer.enqueue_many([export.call(f"{turn} {n % 5}", n // 5) for n in range(500)])
            await bench.enqueuer.enqueue_many([other.call() for _ in range(500)])
            await until(lambda turn=turn: len(rested) == 5 * (turn + 1))
    assert after == []


async def test_a_rest_of_a_tenant_ends(bench: Bench) -> None:
    ran: list[float] = []
    pool = bench.pool()

    @pool.job(partition="tenant")
    async def export(tenant: str) -> None:
        ran.append(time.monotonic())
        if len(ran) == 1:
            raise RateLimited(retry_after=1)

    async with pool.running():
        await export.enqueue("a")
        await pool.drain()
    assert len(ran) == 2
    assert ran[1] - ran[0] >= 0.99


async def test_the_doctor_repairs_tenants_that_wait_for_no_token(bench: Bench) -> None:
    pool = bench.pool()
    starts: dict[str, list[float]] = defaultdict(list)
    export = exporting(pool, starts)
    async with pool.running(), Client(bench.url, namespace=bench.namespace) as client:
        await until(lambda: bench.blocked(pool) == 1)
        await pool.quiet()
        await export.enqueue_many([export.call(tenant) for tenant in ("a", "b")])
        keys, far = bench.keys.tenants, (time.time() + 1000) * 1_000_000
        # As if Redis's clock had been set back since then.
        await bench.redis.zrem(keys.ring("export"), "a")
        await bench.redis.sadd(keys.held("export"), "a")
        await bench.redis.zadd(keys.opens("export"), {"a": far})
        diagnosis = await client.diagnose(0)
        (problem,) = [each for each in diagnosis.problems if each.kind == "tenant_drift"]
        assert problem.text.startswith("the state of 1 tenant of the fair queue export")
        assert "corrected the state of 1 tenant of the fair queue export" in [
            line async for line in client.repair(diagnosis)
        ]
        assert (await tenant_of(client, "a")).opens_in is None
        # It is paused, so that no token gives it a turn.
        await client.pause_partition("export", "a")
        assert not await bench.audit(running=True)
        await bench.redis.zadd(keys.opens("export"), {"a": far, "gone": far})
        wrong = "waits for a token or the end of its rest, but that is not what it is held for"
        assert await bench.audit(running=True) == [
            f"queue export: tenant {tenant!r} {wrong}" for tenant in ("a", "gone")
        ]
        await bench.redis.zrem(keys.opens("export"), "a", "gone")
        await client.unpause_partition("export", "a")
        # Held, and nothing will end that.
        await bench.redis.zrem(keys.ring("export"), "b")
        await bench.redis.sadd(keys.held("export"), "b")
        assert await bench.audit(running=True) == ["queue export: tenant 'b' is held for no reason"]
        assert await FairQueues(bench.in_redis).review("export") == 1
    async with pool.running():
        await pool.drain()
    assert set(starts) == {"a", "b"}


async def test_keys_of_another_type_are_replaced(bench: Bench) -> None:
    starts: dict[str, list[float]] = defaultdict(list)
    pool = bench.pool()
    export = exporting(pool, starts)
    keys = bench.keys.tenants
    async with pool.running():
        pass
    for key in (keys.opens("export"), keys.rests("export"), keys.tokens("export") + "a"):
        await bench.redis.lpush(key, "x")
    async with pool.running():
        await export.enqueue_many([export.call("a") for _ in range(4)])
        await pool.drain()
    assert len(starts["a"]) == 4


@pytest.mark.parametrize("rate", [0, 3, "10/1", True, (10, 1)])
async def test_what_is_no_rate_is_refused(bench: Bench, rate: Any) -> None:
    pool = WorkerPool()
    with pytest.raises(UsageError, match=r"^partition_rate must be a Rate, such as Rate\(10, per=1\), not "):
        pool.job("export", partition="tenant", partition_rate=rate)
    with pytest.raises(UsageError, match=r"^partition_rate is about tenants"):
        pool.job("export", partition_rate=RATE)
    async with Client(bench.url, namespace=bench.namespace) as client:
        with pytest.raises(UsageError, match=r'^rate must be a Rate, such as Rate\(10, per=1\), "none" or "default"'):
            await client.set_partition("export", "a", rate=rate)
