"""Queues with a bound: an enqueue that would exceed it is refused, exactly, and nothing else is."""

from __future__ import annotations

import asyncio
import copy
import json
import pickle
import threading
from collections.abc import AsyncIterator
from typing import Any

import pytest

from asyncwork import (
    Client,
    EnqueueManyError,
    EnqueueOptions,
    Enqueuer,
    Job,
    JobCall,
    JobOptions,
    NoContext,
    QueueFull,
    Throttle,
    Unique,
    UsageError,
    WorkerPool,
    sync,
)

from .conftest import Bench, until
from .tuned import QUICK, tuned


@pytest.fixture
async def client(bench: Bench) -> Any:
    async with Client(bench.url, namespace=bench.namespace) as client:
        yield client


@pytest.fixture
async def pool(bench: Bench) -> AsyncIterator[WorkerPool[NoContext]]:
    """A pool that enqueues, and runs only where a test starts it."""
    pool = bench.pool(**tuned(QUICK, requeue=0.05))
    yield pool
    await pool.enqueuer.close()
    pool.sync_enqueuer.close()


async def count(bench: Bench, name: str = "wat") -> int:
    return int(await bench.redis.llen(bench.keys.queue(name)))


@pytest.mark.parametrize(
    "rule",
    [{"unique": Unique(by=["n"], until="done")}, {"throttle": Throttle(per=60, by=["n"])}],
    ids=["unique", "throttle"],
)
async def test_jobs_with_a_rule_find_a_queue_full_too_and_take_no_key_then(bench: Bench, rule: Any) -> None:
    enqueue = bench.enqueuer.enqueue
    assert not (await enqueue("wat", {"n": 1}, **rule, max_waiting=1)).duplicate
    # A duplicate needs no place.
    assert (await enqueue("wat", {"n": 1}, **rule, max_waiting=1)).duplicate
    with pytest.raises(QueueFull, match="queue wat is full: 1 job waits, and at most 1 may"):
        await enqueue("wat", {"n": 2}, **rule, max_waiting=1)
    options = EnqueueOptions(**rule, max_waiting=1)
    with pytest.raises(EnqueueManyError) as caught:
        await bench.enqueuer.enqueue_many([JobCall("wat", {"n": n}, options) for n in (1, 2)])
    assert (len(caught.value.written), len(caught.value.unwritten)) == (1, 1)
    assert not (await enqueue("wat", {"n": 2}, **rule, max_waiting=2)).duplicate
    assert await count(bench) == 2
    await bench.delete_keys()


async def test_a_task_with_a_limit(bench: Bench, pool: WorkerPool[NoContext]) -> None:
    @pool.job(max_waiting=2)
    async def wat(n: int) -> None: ...

    await wat.enqueue(1)
    await wat.options(front=True).enqueue(2)
    for enqueue in (wat.enqueue, wat.options(front=True).enqueue, wat.options(id="x").enqueue, wat.options().enqueue):
        with pytest.raises(QueueFull, match="queue wat is full: 2 jobs wait, and at most 2 may") as caught:
            await enqueue(3)
        assert (caught.value.name, caught.value.waiting, caught.value.limit) == ("wat", 2, 2)
    with pytest.raises(QueueFull):
        await bench.enqueuer.enqueue(wat, {"n": 3})
    with pytest.raises(QueueFull):
        await pool.enqueuer.enqueue_call(wat.call(3))
    assert [json.loads(each)["args"]["n"] for each in await bench.waiting("wat")] == [2, 1]
    await wat.options(max_waiting=3).enqueue(3)
    await wat.options(max_waiting=0).enqueue(4)
    assert await count(bench) == 4


async def test_a_limit_by_name(bench: Bench) -> None:
    await bench.enqueuer.enqueue("wat", max_waiting=1)
    with pytest.raises(QueueFull):
        await bench.enqueuer.enqueue("wat", max_waiting=1)
    await bench.enqueuer.enqueue("wat")
    await bench.enqueuer.enqueue("wat", max_waiting=0)
    assert await count(bench) == 3


async def test_a_limit_in_calls_that_block(bench: Bench, pool: WorkerPool[NoContext]) -> None:
    @pool.job(max_waiting=2)
    async def wat(n: int) -> None: ...

    def enqueue() -> None:
        with sync.Enqueuer(bench.url, namespace=bench.namespace) as enqueuer:
            enqueuer.enqueue("wat", {"n": 1}, max_waiting=1)
            with pytest.raises(QueueFull):
                enqueuer.enqueue("wat", {"n": 2}, max_waiting=1)
            enqueuer.enqueue(wat, {"n": 2})
            with pytest.raises(QueueFull):
                enqueuer.enqueue(wat, {"n": 3})
            with pytest.raises(QueueFull):
                wat.sync.enqueue(3)
            with pytest.raises(EnqueueManyError):
                wat.sync.enqueue_many([wat.call(3)])

    await asyncio.to_thread(enqueue)
    assert await count(bench) == 2


async def test_many_enqueuers_never_exceed_it(bench: Bench) -> None:
    """Twenty enqueuers, ten of them threads, enqueue at the same time; not one job is too many, nor too few."""
    full = 0

    def block() -> None:
        nonlocal full
        with sync.Enqueuer(bench.url, namespace=bench.namespace) as enqueuer:
            for n in range(20):
                try:
                    enqueuer.enqueue("wat", {"n": n}, max_waiting=100)
                except QueueFull:
                    with lock:
                        full += 1

    async def enqueue() -> None:
        nonlocal full
        async with Enqueuer(bench.url, namespace=bench.namespace) as enqueuer:
            for n in range(20):
                try:
                    await enqueuer.enqueue("wat", {"n": n}, max_waiting=100, unique=n % 2 == 0 and {"n": n})
                except QueueFull:
                    with lock:
                        full += 1

    lock = threading.Lock()
    await asyncio.gather(*(asyncio.to_thread(block) for _ in range(10)), *(enqueue() for _ in range(10)))
    assert await count(bench) == 100
    assert full > 0


async def test_of_many_jobs_those_that_fit_are_written(bench: Bench, pool: WorkerPool[NoContext]) -> None:
    @pool.job(max_waiting=3)
    async def wat(n: int) -> None: ...

    @pool.job
    async def other() -> None: ...

    with pytest.raises(
        EnqueueManyError, match="4 jobs were written, 0 may have been, 2 were not: queue wat is"
    ) as caught:
        await wat.enqueue_many([*(wat.call(n) for n in range(4)), other.call(), wat.call(4)])
    error = caught.value
    assert isinstance(error.__cause__, QueueFull)
    assert [job.name for job in error.written] == ["wat", "wat", "wat", "other"]
    assert [job.args for job in error.unwritten] == [{"n": 3}, {"n": 4}]
    assert [json.loads(each)["args"]["n"] for each in await bench.waiting("wat")] == [0, 1, 2]
    with pytest.raises(EnqueueManyError, match="0 jobs were written, 0 may have been, 1 were not"):
        await bench.enqueuer.enqueue_many([(wat, {"n": 5})])


async def test_of_thousands_of_jobs_the_first_are_written(bench: Bench, pool: WorkerPool[NoContext]) -> None:
    @pool.job(max_waiting=7500)
    async def wat(n: int) -> None: ...

    with pytest.raises(EnqueueManyError, match="7500 jobs were written, 0 may have been, 1500 were not") as caught:
        await wat.enqueue_many(wat.call(n) for n in range(9000))
    assert [job.args["n"] for job in caught.value.unwritten if job.args] == list(range(7500, 9000))
    assert await count(bench) == 7500


async def test_a_duplicate_is_no_job_too_many(bench: Bench, client: Client) -> None:
    await bench.enqueuer.enqueue("wat", {"n": 1}, unique=True, max_waiting=1)
    assert (await bench.enqueuer.enqueue("wat", {"n": 1}, unique=True, max_waiting=1)).duplicate
    with pytest.raises(QueueFull):
        await bench.enqueuer.enqueue("wat", {"n": 2}, unique=True, max_waiting=1)
    # What was refused has left no key that would keep it out later.
    await client.empty("wat")
    assert not (await bench.enqueuer.enqueue("wat", {"n": 2}, unique=True, max_waiting=1)).duplicate


async def test_scheduled_jobs_and_retries_are_never_refused(bench: Bench, pool: WorkerPool[NoContext]) -> None:
    @pool.job(max_waiting=1)
    async def wat(n: int) -> None: ...

    await wat.options(delay=1000).enqueue(1)
    await wat.options(delay=1000, unique=True).enqueue(2)
    await wat.enqueue(3)
    for payload, _ in await bench.job_set("scheduled"):
        await bench.redis.zadd(bench.keys.scheduled, {payload: 1})
    retry = {"name": "wat", "id": "r", "t": 1, "args": {"n": 4}, "fails": 1, "err": "sorry", "failed_at": 1}
    await bench.redis.zadd(bench.keys.retry, {json.dumps(retry): 1})
    async with Client(bench.url, namespace=bench.namespace) as client:
        await client.pause("wat")
        async with pool.running():
            await until(lambda: _is(bench, 4))
        await client.unpause("wat")


async def _is(bench: Bench, expected: int) -> bool:
    return await count(bench) == expected


async def test_a_limit_is_set_at_run_time(bench: Bench, pool: WorkerPool[NoContext], client: Client) -> None:
    @pool.job(max_waiting=1)
    async def wat(n: int) -> None: ...

    await wat.enqueue(1)
    await client.set_max_waiting(wat, 2)
    await wat.enqueue(2)
    with pytest.raises(QueueFull, match="at most 2 may"):
        await wat.enqueue(3)
    with pytest.raises(QueueFull, match="at most 2 may"):
        await wat.options(max_waiting=100, unique=True).enqueue(3)
    await client.set_max_waiting("wat", 0)
    await wat.enqueue(3)
    await client.set_max_waiting("wat", None)
    with pytest.raises(QueueFull, match="3 jobs wait, and at most 1 may"):
        await wat.enqueue(4)


async def test_a_queue_shows_its_limit(bench: Bench, pool: WorkerPool[NoContext], client: Client) -> None:
    @pool.job(max_waiting=5, chunk=3, wait=2)
    async def wat(jobs: list[Job]) -> None: ...

    @pool.job
    async def plain() -> None: ...

    async with pool.running():
        shown = {each.name: (each.max_waiting, each.chunk, each.wait, each.is_full) for each in await client.queues()}
        assert shown == {"wat": (5, 3, 2.0, False), "plain": (0, 0, 0.0, False)}
        await client.set_max_waiting("wat", 9)
        (queue,) = [each for each in await client.queues() if each.name == "wat"]
        assert (queue.max_waiting, queue.chunk) == (9, 3)
    await client.forget("wat")
    assert not await bench.redis.exists(bench.keys.queue_options, bench.keys.max_waiting)


async def test_keys_of_another_type_limit_nothing(bench: Bench, client: Client) -> None:
    await bench.redis.set(bench.keys.max_waiting, "a string")
    await bench.redis.set(bench.keys.queue_options, "a string")
    await bench.enqueuer.enqueue("wat", max_waiting=1)
    with pytest.raises(QueueFull):
        await bench.enqueuer.enqueue("wat", max_waiting=1)
    assert [each.max_waiting for each in await client.queues()] == [0]
    await bench.redis.delete(bench.keys.max_waiting, bench.keys.queue_options)
    await bench.redis.hset(bench.keys.max_waiting, "wat", "no number")
    await bench.redis.hset(bench.keys.queue_options, "wat", "no JSON")
    with pytest.raises(QueueFull):
        await bench.enqueuer.enqueue("wat", max_waiting=1)
    assert [each.max_waiting for each in await client.queues()] == [0]


async def test_redis_has_lost_the_script(bench: Bench) -> None:
    await bench.enqueuer.enqueue("wat", max_waiting=9)
    await bench.redis.script_flush()
    await bench.enqueuer.enqueue("wat", max_waiting=9)
    assert await count(bench) == 2


def test_the_error_is_copied_and_pickled() -> None:
    error = QueueFull("wat", 7, 5)
    for same in (copy.copy(error), pickle.loads(pickle.dumps(error))):
        assert (str(same), same.name, same.waiting, same.limit) == (str(error), "wat", 7, 5)


@pytest.mark.parametrize("limit", [-1, 1.5, True, "9"])
async def test_limits_that_are_none(bench: Bench, client: Client, limit: Any) -> None:
    for set_limit in (
        lambda: EnqueueOptions(max_waiting=limit),
        lambda: JobOptions(max_waiting=limit),
    ):
        with pytest.raises(UsageError, match="max_waiting must be a whole number of 0 or more"):
            set_limit()
    with pytest.raises(UsageError, match="max_waiting must be a whole number"):
        await client.set_max_waiting("wat", limit)


# Queues whose tenants take turns


def exporting(pool: WorkerPool[Any], **options: Any) -> Any:
    @pool.job(**{"partition": "tenant", "max_waiting": 5, **options})
    async def export(tenant: str, n: int = 0) -> None: ...

    return export


async def lengths(bench: Bench, *tenants: str) -> list[int]:
    return [int(await bench.redis.llen(bench.keys.tenants.list("export", each))) for each in tenants]


async def test_the_jobs_of_all_tenants_count(bench: Bench, pool: WorkerPool[NoContext], client: Client) -> None:
    export = exporting(pool)
    async with pool.running():
        pass
    for tenant in ("a", "b", "a", "", "c"):
        await export.enqueue(tenant)
    with pytest.raises(QueueFull) as caught:
        await export.enqueue("d")
    full = caught.value
    assert (full.name, full.waiting, full.limit, full.partition) == ("export", 5, 5, None)
    assert "queue export is full:" in str(caught.value)
    assert await lengths(bench, "a", "b", "", "c", "d") == [2, 1, 1, 1, 0]
    (queue,) = await client.queues()
    assert (queue.count, queue.max_waiting, queue.is_full) == (5, 5, True)
    async with pool.running():
        await pool.drain()
        await export.enqueue("d")
        await pool.drain()
    assert pool.counts.done == 6


async def test_many_enqueuers_of_tenants_never_exceed_it(bench: Bench, pool: WorkerPool[NoContext]) -> None:
    export = exporting(pool, max_waiting=20)
    async with pool.running():
        pass

    async def enqueue(tenant: str) -> int:
        try:
            await export.enqueue(tenant)
        except QueueFull:
            return 0
        return 1

    written = await asyncio.gather(*(enqueue(f"t{n % 7}") for n in range(100)))
    assert sum(written) == 20
    assert sum(await lengths(bench, *(f"t{n}" for n in range(7)))) == 20


async def test_of_many_jobs_of_tenants_those_that_fit_are_written(bench: Bench, pool: WorkerPool[NoContext]) -> None:
    export = exporting(pool)
    async with pool.running():
        pass
    with pytest.raises(EnqueueManyError) as caught:
        await export.enqueue_many([export.call(f"t{n % 3}", n) for n in range(9)])
    assert isinstance(caught.value.__cause__, QueueFull)
    numbers = [[(each.args or {})["n"] for each in some] for some in (caught.value.written, caught.value.unwritten)]
    assert numbers == [list(range(5)), list(range(5, 9))]


async def test_both_bounds_of_a_fair_queue_hold(bench: Bench, pool: WorkerPool[NoContext], client: Client) -> None:
    export = exporting(pool, partition_max=2)
    async with pool.running():
        pass
    await export.enqueue_many([export.call("a"), export.call("a"), export.call("b")])
    with pytest.raises(QueueFull) as caught:
        await export.enqueue("a")
    assert (caught.value.partition, caught.value.waiting, caught.value.limit) == ("a", 2, 2)
    await client.set_max_waiting("export", 3)
    with pytest.raises(QueueFull) as caught:
        await export.enqueue("b")
    assert (caught.value.partition, caught.value.waiting, caught.value.limit) == (None, 3, 3)
    await client.set_max_waiting("export", None)
    await export.enqueue("b")


@pytest.mark.parametrize(
    "rule",
    [
        {"unique": True},
        {"unique": Unique(by=["n"], until="done")},
        {"throttle": Throttle(per=60, by=["n"])},
    ],
    ids=["unique", "until done", "throttle"],
)
async def test_jobs_of_tenants_with_a_rule_find_a_queue_full_too(
    bench: Bench, pool: WorkerPool[NoContext], rule: Any
) -> None:
    export = exporting(pool, max_waiting=2, **rule)
    async with pool.running():
        pass
    await export.enqueue("a", 1)
    await export.enqueue("b", 2)
    with pytest.raises(QueueFull):
        await export.enqueue("c", 3)
    # A duplicate is no job too many.
    await export.enqueue("a", 1)
    async with pool.running():
        await pool.drain()
        assert await export.enqueue("c", 3)
        await pool.drain()
    assert pool.counts.done == 3


async def test_what_is_never_refused_counts_among_the_jobs_of_tenants(
    bench: Bench, pool: WorkerPool[NoContext], client: Client
) -> None:
    export = exporting(pool, max_waiting=3)
    async with pool.running():
        pass
    await export.enqueue("a")
    await export.options(delay=0.001).enqueue("b")
    await bench.redis.lpush(bench.keys.queue("export"), b'{"name":"export","id":"go","t":1,"args":{"tenant":""}}')
    await client.retry_matching("scheduled")
    with pytest.raises(QueueFull):
        await export.enqueue("c")
    # Whoever passes no limit is not refused, and his jobs count.
    await bench.enqueuer.enqueue("export", {"tenant": "d"}, partition="d")
    with pytest.raises(QueueFull) as caught:
        await export.enqueue("c")
    assert caught.value.waiting == 4
    await client.delete_matching("queue:export")
    await export.enqueue("c")


async def test_a_count_of_tenants_jobs_that_is_wrong_is_repaired(
    bench: Bench, pool: WorkerPool[NoContext], client: Client
) -> None:
    export = exporting(pool)
    async with pool.running():
        pass
    await export.enqueue("a")
    key = bench.keys.tenants.waiting("export")
    for wrong in ("7", "-3"):
        await bench.redis.set(key, wrong)
        assert await bench.audit()
        diagnosis = await client.diagnose(0)
        assert [each.subject for each in diagnosis.problems if each.kind == "tenant_drift"] == ["export"]
        assert "corrected the state of 1 tenant of the fair queue export" in [
            line async for line in client.repair(diagnosis)
        ]
        assert await bench.redis.get(key) == b"1"
    for lost in (b"wat", None):
        await bench.redis.delete(key)
        if lost:
            await bench.redis.rpush(key, lost)
        await export.enqueue("a")
        assert int(await bench.redis.get(key)) == sum(await lengths(bench, "a"))
    assert 0 < await bench.redis.ttl(key) <= 3600
