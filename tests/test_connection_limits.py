"""How many connections are held, and what becomes of it where Redis accepts few."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis

from asyncwork import Client, Enqueuer, RedisUnusable, WorkerPool

from .conftest import Bench, open_bench, until
from .nodes import Node


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    """A namespace on a Redis that has no other clients."""
    with Node(tmp_path / "redis", []) as node:
        async with open_bench(f"redis://{node.address}/0") as bench:
            yield bench


async def connected(bench: Bench) -> int:
    return int((await bench.redis.info("clients"))["connected_clients"])


def pool_of_thirty(bench: Bench) -> tuple[WorkerPool[Any], set[str]]:
    """A pool of thirty queues, and the names of the jobs that it ran."""
    pool, ran = bench.pool(concurrency=50), set[str]()

    async def handler(name: str) -> None:
        ran.add(name)

    for number in range(30):
        pool.job(f"job{number}")(handler)
    return pool, ran


async def push_thirty(bench: Bench) -> None:
    """Put a job on each queue, by the connection that the bench has already."""
    for number in range(30):
        name = b"job%d" % number
        payload = b'{"name":"%b","id":"%b","t":1,"args":{"name":"%b"}}' % (name, name, name)
        await bench.redis.lpush(bench.keys.queue(name.decode()), payload)


# Of connections that were left behind by closed loops asyncio says so when they are collected.
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
async def test_threads_that_share_an_enqueuer_hold_a_connection_each(bench: Bench) -> None:
    enqueuer, before = Enqueuer(bench.url, namespace=bench.namespace), await connected(bench)
    runners = [asyncio.Runner() for _ in range(4)]
    with ThreadPoolExecutor(4) as threads:
        loop = asyncio.get_running_loop()
        for _ in range(25):
            # The loops alternate.
            for runner in runners:
                await loop.run_in_executor(threads, runner.run, enqueuer.enqueue("wat"))
        assert await connected(bench) == before + 4
        for runner in runners:
            await loop.run_in_executor(threads, runner.close)
    # Who comes next closes what the closed loops held.
    await enqueuer.enqueue("wat")
    await until(lambda: settles_at(bench, before + 1))
    await enqueuer.close()
    assert len(await bench.waiting("wat")) == 101
    gc.collect()


async def settles_at(bench: Bench, number: int) -> bool:
    return await connected(bench) == number


async def test_a_client_keeps_a_connection_for_each_of_its_loops(bench: Bench) -> None:
    client, before = Client(bench.url, namespace=bench.namespace), await connected(bench)
    runners = [asyncio.Runner() for _ in range(2)]
    for _ in range(5):
        for runner in runners:
            await asyncio.to_thread(runner.run, client.queues())
    assert await connected(bench) == before + 2
    for runner in runners:
        await asyncio.to_thread(runner.run, client.close())
        await asyncio.to_thread(runner.close)
    await until(lambda: settles_at(bench, before))


async def test_a_pool_leaves_room_where_redis_accepts_few(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    await bench.redis.config_set("maxclients", 20)
    pool, ran = pool_of_thirty(bench)
    async with pool.running():
        await until(lambda: bench.parked(pool) > 0)
        await push_thirty(bench)
        await until(lambda: len(ran) == 30)
        await until(lambda: bench.parked(pool) > 0)
        assert bench.parked(pool) <= 4
        assert await connected(bench) < 16
    (line,) = [each.getMessage() for each in caplog.records if "blocking pops limited" in each.getMessage()]
    assert "Redis accepts" in line


async def test_a_pool_gives_connections_up_when_redis_refuses_one(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    pool, ran = pool_of_thirty(bench)
    async with pool.running():
        await until(lambda: bench.parked(pool) == 30)
        # As if others had taken the connections while this pool's were broken.
        await bench.redis.config_set("maxclients", 20)
        await bench.redis.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        await until(lambda: "Redis refuses connections" in caplog.text)
        await push_thirty(bench)
        await until(lambda: len(ran) == 30)
        await until(lambda: 0 < bench.parked(pool) < 15)
        # There is room for others again.
        await bench.enqueuer.enqueue("job0", {"name": "late"})
        await until(lambda: "late" in ran)


@pytest.mark.parametrize("password", ["", "secret"])
async def test_the_enqueuer_tells_that_redis_accepts_no_more_clients(tmp_path: Path, password: str) -> None:
    with Node(tmp_path / "redis", [f"requirepass {password}"] if password else []) as node:
        url = f"redis://:{password}@{node.address}/0" if password else f"redis://{node.address}/0"
        async with Redis.from_url(url, protocol=2) as admin:
            await admin.config_set("maxclients", 1)
            for _ in range(5):
                async with Enqueuer(url) as enqueuer:
                    with pytest.raises(RedisUnusable, match="max number of clients reached"):
                        await enqueuer.enqueue("wat")
            pool = WorkerPool(url)
            with pytest.raises(RedisUnusable, match="max number of clients reached"):
                await pool.start()
            assert await admin.llen("work:jobs:wat") == 0
