"""Redis's memory is full: enqueues are refused, waiting jobs still run, and no pool is considered dead."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from asyncwork import Client, RedisUnavailable
from asyncwork.embedded import EmbeddedRedis

from .conftest import Bench, open_bench, until


@pytest.fixture
async def small(tmp_path: Path) -> AsyncIterator[Bench]:
    """A namespace on a Redis of its own."""
    with EmbeddedRedis(tmp_path, appendonly=False) as server:
        async with open_bench(server.url) as bench:
            yield bench


async def full(bench: Bench) -> None:
    """Let no more memory be used than is."""
    await bench.redis.config_set("maxmemory", 1)


async def test_what_is_there_is_worked_off(small: Bench) -> None:
    pool, ran, go_on = small.pool(concurrency=5), [], asyncio.Event()

    @pool.job(max_fails=2)
    async def wat(n: int) -> None:
        ran.append(n)
        await go_on.wait()
        if n % 10 == 0:
            raise ValueError("ohno")

    for n in range(50):
        await wat.enqueue(n)
    async with pool.running():
        await until(lambda: len(ran) == 5)
        assert pool.id is not None
        heartbeat = small.keys.heartbeat(pool.id)
        beat = await small.redis.hget(heartbeat, "heartbeat_at")
        await full(small)
        with pytest.raises(RedisUnavailable, match="maxmemory"):
            await wat.enqueue(99)

        async def beaten() -> bool:
            return bool(await small.redis.hget(heartbeat, "heartbeat_at") != beat)

        await until(beaten)
        go_on.set()
        await pool.drain()
        assert sorted(ran) == list(range(50))
        assert len(await small.job_set("retry")) == 5
        async with Client(small.url, namespace=small.namespace) as client:
            assert (await client.retry_matching("retry")).done == 5
            assert (await client.overview()).problems
        await until(lambda: len(ran) == 55)
        await until(lambda: _dead(small))


async def _dead(bench: Bench) -> bool:
    return len(await bench.job_set("dead")) == 5


async def test_a_dead_pools_jobs_come_back(small: Bench) -> None:
    dead = "a" * 24
    payloads = [f'{{"name":"wat","id":"{n}","t":1,"args":null}}'.encode() for n in range(3)]
    await small.redis.lpush(small.keys.in_progress("wat", dead), *payloads)
    await small.redis.hset(small.keys.lock_info("wat"), dead, 3)
    await small.redis.set(small.keys.lock("wat"), 3)
    await small.redis.sadd(small.keys.worker_pools, dead)
    await small.redis.hset(small.keys.heartbeat(dead), mapping={"heartbeat_at": 1, "job_names": "wat"})
    pool, ran = small.pool(), []

    @pool.job
    async def wat() -> None:
        ran.append(1)

    async with pool.running():
        await full(small)
        await until(lambda: len(ran) == 3)


async def test_what_nobody_needs_can_be_deleted_for_good(small: Bench) -> None:
    await small.enqueuer.enqueue("wat", {"n": 1}, unique=True)
    for n in range(3):
        await small.enqueuer.enqueue("later", {"n": n}, delay=100)
    await full(small)
    async with Client(small.url, namespace=small.namespace) as client:
        (first, *_) = (await client.jobs("scheduled")).jobs
        outcome = await client.delete("scheduled", [first.ref])
        assert (outcome.done, outcome.undo) == (1, "")
        assert (await client.delete_matching("scheduled")).done == 2
        emptied = await client.empty("wat")
        assert (emptied.done, emptied.undo) == (1, "")
    assert await small.redis.keys(f"{small.keys.prefix}*") == [small.keys.known_jobs.encode()]


async def test_no_periodic_job_is_unpaused_without_a_note_of_the_time(small: Bench) -> None:
    """A pool that has read the changes before a pause would plan the instances of that time."""
    pool = small.pool()

    @pool.periodic("* * * * * *")
    @pool.job
    async def beating() -> None: ...

    key, planned = "beating:* * * * * *", small.keys.periodic
    async with Client(small.url, namespace=small.namespace) as client:
        async with pool.running():
            await until(lambda: small.redis.hexists(planned, key))
            await client.pause_periodic(key)
        await small.redis.hset(planned, key, 1)
        await full(small)
        with pytest.raises(RedisUnavailable, match="maxmemory"):
            await client.unpause_periodic(key)
        assert await small.redis.hexists(small.keys.periodic_changes, key)
        await small.redis.config_set("maxmemory", 0)
        await client.unpause_periodic(key)
        assert int(await small.redis.hget(planned, key)) > 1_000_000_000
        assert not await small.redis.exists(small.keys.periodic_changes)
