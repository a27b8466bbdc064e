"""Chunks of fair queues: each call has jobs of one tenant, and the tenants take turns by chunk."""

from __future__ import annotations

import asyncio
import json
from collections import Counter, defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from asyncwork import Client, Job, Rate, RateLimited, Task, UsageError, WorkerPool
from asyncwork._redis.fair_queues import FairQueues

from .conftest import Bench, until
from .test_chunks import LONG, POISONED, collected, run, runner_of
from .test_crashes import supervised
from .tuned import QUICK, tuned


def indexing(pool: WorkerPool[Any], calls: list[str], gate: asyncio.Event | None = None, **options: Any) -> Any:
    """A fair job type that runs in chunks, and notes the tenant of each job, such as ``"aaa"`` for a chunk of three."""

    @pool.job(**{"chunk": 3, "wait": 0.02, "partition": "tenant", **options})
    async def index(jobs: list[Job]) -> None:
        calls.append("".join(job.args["tenant"] for job in jobs))
        if gate is not None:
            await gate.wait()

    return index


async def declare(pool: WorkerPool[Any]) -> None:
    """Have a queue be fair before its first job comes."""
    async with pool.running():
        pass


def calls_of(index: Task[..., ..., Any], tenants: str) -> list[Any]:
    return [index.call(tenant=tenant, n=n) for n, tenant in enumerate(tenants)]


# Turns


@pytest.mark.parametrize("concurrency", [1, 3])
async def test_a_call_has_jobs_of_one_tenant_and_they_take_turns_by_chunk(bench: Bench, concurrency: int) -> None:
    calls: list[str] = []
    pool = bench.pool(concurrency=concurrency)
    index = indexing(pool, calls, wait=LONG)
    await declare(pool)
    await index.enqueue_many(calls_of(index, "a" * 12 + "b" * 6 + "ccc"))
    await run(pool)
    # The others came one turn after the first.
    assert calls == ["aaa", "aaa", "bbb", "ccc", "aaa", "bbb", "aaa"]
    assert pool.counts.done == 21


async def test_the_jobs_of_a_tenant_keep_their_order(bench: Bench) -> None:
    seen: defaultdict[str, list[int]] = defaultdict(list)
    pool = bench.pool(concurrency=1)

    @pool.job(chunk=7, wait=0.01, partition="tenant")
    async def index(jobs: list[Job]) -> None:
        seen[jobs[0].args["tenant"]] += [job.args["n"] for job in jobs]

    await index.enqueue_many(calls_of(index, "abcd" * 50))
    await run(pool)
    assert all(numbers == sorted(numbers) for numbers in seen.values())
    assert {tenant: len(numbers) for tenant, numbers in seen.items()} == dict.fromkeys("abcd", 50)


async def test_a_weight_gives_more_chunks(bench: Bench) -> None:
    calls: list[str] = []
    pool = bench.pool(concurrency=1)
    index = indexing(pool, calls, wait=LONG)
    await declare(pool)
    async with Client(bench.url, namespace=bench.namespace) as client:
        await client.set_partition("index", "a", weight=2)
    await index.enqueue_many(calls_of(index, "ab" * 18))
    await run(pool)
    assert Counter(calls[:9]) == {"aaa": 6, "bbb": 3}


async def test_the_chunks_of_several_tenants_are_collected_side_by_side(bench: Bench) -> None:
    calls: list[str] = []
    pool = bench.pool(concurrency=2)
    index = indexing(pool, calls, wait=LONG)
    async with pool.running():
        await index.enqueue(tenant="a", n=0)
        await index.enqueue(tenant="b", n=0)
        await until(lambda: collected(pool) == 2)
        # There are two calls, so that a third chunk stays in Redis, where other pools can take it.
        await index.enqueue(tenant="c", n=0)
        await index.enqueue(tenant="b", n=1)
        await until(lambda: collected(pool) == 3)
        assert await bench.redis.llen(bench.keys.tenants.list("index", "c")) == 1
        await index.enqueue_many(calls_of(index, "bcc"))
        await until(lambda: calls == ["bbb", "ccc"])
        await index.enqueue_many(calls_of(index, "aabbb"))
        await until(lambda: sorted(calls[2:]) == ["aaa", "bbb"])


async def test_a_chunk_is_completed_although_others_wait(bench: Bench) -> None:
    calls: list[str] = []
    gate = asyncio.Event()
    pool = bench.pool(concurrency=1)
    index = indexing(pool, calls, gate, wait=LONG)
    async with pool.running():
        await index.enqueue(tenant="a", n=0)
        await until(lambda: collected(pool) == 1)
        await index.enqueue_many(calls_of(index, "bbb"))
        await index.enqueue_many(calls_of(index, "aaaa"))
        await until(lambda: calls == ["aaa"])
        assert collected(pool) == 0
        gate.set()
        await until(lambda: calls[1:] == ["bbb"])
        await until(lambda: collected(pool) == 2)


async def test_each_chunk_begins_when_its_first_job_has_waited(bench: Bench) -> None:
    calls: list[str] = []
    pool = bench.pool(concurrency=5)
    index = indexing(pool, calls, wait=0.2)
    loop = asyncio.get_running_loop()
    async with pool.running():
        began = loop.time()
        for tenant in "aabb":
            await index.enqueue(tenant=tenant, n=0)
        await until(lambda: calls == ["aa", "bb"])
        assert loop.time() - began >= 0.2
        await index.enqueue(tenant="c", n=0)
        await until(lambda: calls == ["aa", "bb", "c"])


async def test_many_small_tenants_are_through_before_a_large_one(bench: Bench) -> None:
    calls: list[str] = []
    pool = bench.pool(concurrency=2)
    index = indexing(pool, calls, chunk=10, wait=0.01)
    await declare(pool)
    await index.enqueue_many(calls_of(index, "L" * 1000))
    await index.enqueue_many([index.call(tenant=f"{n % 20:x}"[-1], n=n) for n in range(100)])
    await run(pool)
    last = max(at for at, call in enumerate(calls) if "L" not in call)
    assert sum(map(len, calls)) == 1100
    assert last < 60


# Limits


async def test_the_limits_of_a_tenant_count_jobs(bench: Bench) -> None:
    running, most = Counter[str](), Counter[str]()
    pool = bench.pool(concurrency=4)

    @pool.job(chunk=4, wait=0.005, partition="tenant", partition_concurrency=5)
    async def index(jobs: list[Job]) -> None:
        tenant = jobs[0].args["tenant"]
        running[tenant] += len(jobs)
        most[tenant] = max(most[tenant], running[tenant])
        await asyncio.sleep(0.005)
        running[tenant] -= len(jobs)

    await index.enqueue_many(calls_of(index, "ab" * 40))
    await run(pool)
    assert pool.counts.done == 80
    assert 0 < most["a"] <= 5
    assert 0 < most["b"] <= 5


async def test_the_limit_of_the_queue_counts_jobs(bench: Bench) -> None:
    running = most = 0
    pool = bench.pool(concurrency=4)

    @pool.job(chunk=4, wait=0.005, partition="tenant", max_concurrency=6)
    async def index(jobs: list[Job]) -> None:
        nonlocal running, most
        running += len(jobs)
        most = max(most, running)
        await asyncio.sleep(0.005)
        running -= len(jobs)

    await index.enqueue_many(calls_of(index, "abc" * 20))
    await run(pool)
    assert pool.counts.done == 60
    assert most <= 6
    await bench.redis.delete(bench.keys.max_concurrency("index"))


async def test_the_rate_of_a_tenant_counts_jobs(bench: Bench) -> None:
    calls: list[str] = []
    pool = bench.pool()
    index = indexing(pool, calls, partition_rate=Rate(1, per=1000, burst=4), chunk=3)
    await index.enqueue_many(calls_of(index, "aaaaaabb"))
    async with pool.running(), Client(bench.url, namespace=bench.namespace) as client:
        await until(lambda: sum(map(len, calls)) == 6)
        assert Counter("".join(calls)) == {"a": 4, "b": 2}
        await client.set_partition("index", "a", rate="none")
        await until(lambda: Counter("".join(calls)) == {"a": 6, "b": 2})


async def test_the_rate_of_the_queue_counts_jobs(bench: Bench) -> None:
    calls: list[str] = []
    pool = bench.pool()
    index = indexing(pool, calls, rate=Rate(1, per=1000, burst=5))
    await index.enqueue_many(calls_of(index, "aaabbb"))
    async with pool.running(), Client(bench.url, namespace=bench.namespace) as client:
        await until(lambda: sum(map(len, calls)) == 5)
        assert all(len({*call}) == 1 for call in calls)
        await client.set_rate("index", None)
        await until(lambda: sum(map(len, calls)) == 6)


async def test_a_rate_limited_job_has_its_tenant_rest(bench: Bench) -> None:
    calls: list[str] = []
    pool = bench.pool(concurrency=1)

    @pool.job(chunk=3, wait=0.02, partition="tenant")
    async def index(jobs: list[Job]) -> Mapping[str, object] | None:
        calls.append("".join(job.args["tenant"] for job in jobs))
        if calls.count("aaa") == 1 and calls[-1] == "aaa":
            return {job.id: RateLimited(1000) for job in jobs}
        return None

    await declare(pool)
    await index.enqueue_many(calls_of(index, "aaabbbbbb"))
    async with pool.running(), Client(bench.url, namespace=bench.namespace) as client:
        await until(lambda: calls == ["aaa", "bbb", "bbb"])

        async def rests() -> bool:
            return bool(await bench.redis.llen(bench.keys.tenants.list("index", "a")) == 3)

        await until(rests)
        await client.unpause_partition("index", "a")
        # A pool that is slow to fetch may run them in several calls.
        await until(lambda: "".join(calls[3:]) == "aaa")


# Jobs that go back, fail, and come from elsewhere


async def test_a_stop_gives_back_what_has_not_begun(bench: Bench) -> None:
    pool = bench.pool(grace=LONG)
    index = indexing(pool, [], wait=LONG)
    await declare(pool)
    await index.enqueue_many(calls_of(index, "abab"))
    async with pool.running():
        await until(lambda: collected(pool) == 4)
    for tenant, numbers in (("a", [0, 2]), ("b", [1, 3])):
        waiting = await bench.redis.lrange(bench.keys.tenants.list("index", tenant), 0, -1)
        assert [json.loads(each)["args"]["n"] for each in reversed(waiting)] == numbers


async def test_a_quiet_pool_gives_back_and_goes_on_later(bench: Bench) -> None:
    calls: list[str] = []
    pool = bench.pool(concurrency=2)
    index = indexing(pool, calls, wait=LONG)
    await declare(pool)
    await index.enqueue_many(calls_of(index, "aabb"))
    async with pool.running():
        await until(lambda: collected(pool) == 4)
        await pool.quiet()
        await until(lambda: bench.redis.llen(bench.keys.tenants.list("index", "a")))
        await index.enqueue_many(calls_of(index, "ab"))
        pool._launcher.state.unquiet()  # type: ignore[union-attr]
        await until(lambda: sorted(calls) == ["aaa", "bbb"])


async def test_a_pause_gives_back_what_has_not_begun(bench: Bench) -> None:
    calls: list[str] = []
    pool = bench.pool()
    index = indexing(pool, calls, wait=LONG)
    async with pool.running(), Client(bench.url, namespace=bench.namespace) as client:
        await index.enqueue_many(calls_of(index, "aab"))
        await until(lambda: collected(pool) == 3)
        await client.pause("index")
        await until(lambda: collected(pool) == 0)
        await until(lambda: bench.redis.llen(bench.keys.tenants.list("index", "a")))
        await index.enqueue_many(calls_of(index, "abb"))
        await client.unpause("index")
        await until(lambda: sorted(calls) == ["aaa", "bbb"])


async def test_fewer_calls_collect_fewer_chunks(bench: Bench) -> None:
    calls: list[str] = []
    pool = bench.pool(concurrency=4)
    index = indexing(pool, calls, wait=LONG)
    async with pool.running():
        await index.enqueue_many(calls_of(index, "abcd"))
        await until(lambda: collected(pool) == 4)
        pool.resize(2)
        await index.enqueue_many(calls_of(index, "abcdabcd"))
        await until(lambda: sorted(calls) == ["aaa", "bbb", "ccc", "ddd"])


async def test_each_job_ends_by_itself_and_is_tried_again_with_its_tenant(bench: Bench) -> None:
    calls: list[str] = []
    pool = bench.pool(**tuned(QUICK, requeue=0.02))

    @pool.job(chunk=3, wait=0.02, partition="tenant", backoff=lambda job: 0)
    async def index(jobs: list[Job]) -> Mapping[str, object]:
        calls.append("".join(job.args["tenant"] for job in jobs))
        assert {job.partition for job in jobs} == {jobs[0].args["tenant"]}
        return {job.id: ValueError("no") for job in jobs if not job.fails and job.args["n"] % 2}

    await index.enqueue_many(calls_of(index, "aabb"))
    async with pool.running():
        await until(lambda: pool.counts.done == 4)
    assert Counter("".join(calls)) == {"a": 3, "b": 3}
    assert all(len({*call}) == 1 for call in calls)


async def test_what_other_programs_push_gets_to_chunks_of_its_tenant(bench: Bench) -> None:
    calls: list[str] = []
    pool = bench.pool(concurrency=1)
    index = indexing(pool, calls, wait=0.01)
    await declare(pool)
    # More than a fetch reads at once.
    payloads = [
        json.dumps({"name": "index", "id": f"{tenant}{n}", "t": 1, "args": {"tenant": tenant}, "partition": tenant})
        for n in range(100)
        for tenant in "ab"
    ]
    payloads.append('{"name":"index","id":"x","t":1,"args":{"tenant":"-"}}')
    await bench.redis.lpush(bench.keys.queue("index"), *payloads)
    await run(pool)
    assert Counter("".join(calls)) == {"a": 100, "b": 100, "-": 1}
    assert all(len({*call}) == 1 for call in calls)
    assert index.name == "index"


async def test_a_job_that_kills_its_process_is_found_among_its_chunk(bench: Bench, tmp_path: Path) -> None:
    script = POISONED.replace("wait=0.2", 'wait=0.2, partition="n"')
    await bench.enqueuer.enqueue_many([("wat", {"n": n}) for n in range(10)])
    # Jobs that are enqueued by name belong to one tenant, as those of a chunk do.
    assert await supervised(bench, tmp_path, script, ("wat",)) == 4
    ((payload, _),) = await bench.job_set("dead")
    assert Job.decode(payload).args == {"n": 5}


async def test_two_pools_share_the_tenants(bench: Bench) -> None:
    calls: list[str] = []
    first, second = bench.pool(concurrency=2), bench.pool(concurrency=2)
    index = indexing(first, calls, chunk=10)
    indexing(second, calls, chunk=4)
    async with first.running(), second.running():
        for _ in range(10):
            await index.enqueue_many(calls_of(index, "abcdefgh" * 5))
        await first.drain()
        await second.drain()
    assert sum(map(len, calls)) == 400
    assert all(len({*call}) == 1 for call in calls)


async def test_a_pool_that_knows_of_no_tenants_runs_chunks_all_the_same(bench: Bench) -> None:
    calls: list[str] = []
    fair, other = bench.pool(), bench.pool()
    index = indexing(fair, calls)
    await declare(fair)
    indexing(other, calls, partition=None)
    # Not by the pool, which would have to be closed again.
    await bench.enqueuer.enqueue_many(calls_of(index, "abc" * 5))
    await run(other)
    assert Counter("".join(calls)) == {"a": 5, "b": 5, "c": 5}


async def test_the_options_that_redis_has_lost(bench: Bench) -> None:
    calls: list[str] = []
    pool = bench.pool()
    index = indexing(pool, calls, wait=0.01)
    async with pool.running():
        await until(lambda: runner_of(pool).dispatcher.blocked == 1)
        await bench.redis.delete(bench.keys.tenants.options("index"))
        await index.enqueue_many(calls_of(index, "ababab"))
        await until(lambda: sum(map(len, calls)) == 6)
    assert all(len({*call}) == 1 for call in calls)
    await FairQueues(bench.in_redis).review("index")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"ordered": True}, "each chunk would have one job"),
        ({"partition_concurrency": 2}, r"partition_concurrency \(2\) counts jobs, not calls"),
    ],
)
def test_options_that_do_not_fit_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        WorkerPool().job(chunk=3, partition="tenant", **options)
