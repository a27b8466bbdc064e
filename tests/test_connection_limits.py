"""How many connections are open, and how a pool adapts where Redis accepts few."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis

from asyncwork import Client, Enqueuer, RedisUnavailable, WorkerPool
from asyncwork._worker.connection_limits import connection_shares

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


# asyncio warns when the connections of closed loops are garbage-collected.
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
    # The next use closes the connections of the closed loops.
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
        await until(lambda: bench.blocked(pool) > 0)
        await push_thirty(bench)
        await until(lambda: len(ran) == 30)
        await until(lambda: bench.blocked(pool) > 0)
        assert bench.blocked(pool) <= 4
        assert await connected(bench) < 16
    (line,) = [each.getMessage() for each in caplog.records if "blocking pops limited" in each.getMessage()]
    assert "Redis accepts" in line


@pytest.mark.parametrize(
    ("spare", "shares"),
    [
        (0, (1, 1, 4)),
        (3, (1, 1, 1)),
        (4, (1, 1, 0)),
        (18, (3, 3, 0)),
        (100, (23, 24, 0)),
        (10_000, (2498, 2499, 0)),
    ],
)
def test_half_of_what_redis_accepts_is_left_to_others(spare: int, shares: tuple[int, ...]) -> None:
    assert connection_shares(spare, pipelines=2) == shares


async def test_two_pools_of_many_names_and_who_enqueues_find_room_together(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    await bench.redis.config_set("maxclients", 20)
    (pool, ran), (other, ran_there) = pool_of_thirty(bench), pool_of_thirty(bench)
    async with pool.running(), other.running():
        await until(lambda: bench.blocked(pool) and bench.blocked(other))
        # Each service has used a connection by then.
        await asyncio.sleep(1)
        async with Enqueuer(bench.url, namespace=bench.namespace) as enqueuer:
            await enqueuer.enqueue_many([(f"job{number}", {"name": f"job{number}"}) for number in range(30)])
        await until(lambda: len(ran | ran_there) == 30)
        async with Client(bench.url, namespace=bench.namespace) as client:
            assert len(await client.heartbeats()) == 2
    texts = [each.getMessage() for each in caplog.records]
    assert all(text.startswith("blocking pops limited") for text in texts), texts


async def test_a_pool_with_too_few_connections_logs_it_once_and_runs(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    pool, ran = pool_of_thirty(bench)
    await bench.redis.config_set("maxclients", await connected(bench) + 3)
    async with pool.running():
        await push_thirty(bench)
        await until(lambda: len(ran) == 30)
        # Longer than after which it would be considered dead.
        await asyncio.sleep(2.5)
        await bench.redis.config_set("maxclients", 100)
        await pool.enqueuer.enqueue("job0", {"name": "late"})
        await until(lambda: "late" in ran)
        heartbeat = await bench.redis.hgetall(bench.keys.heartbeat(pool.id or ""))
    assert heartbeat[b"heartbeat_at"]
    texts = [each.getMessage() for each in caplog.records]
    assert texts[0] == "too few connections: Redis accepts 2 more, and this pool needs 4; raise maxclients"
    assert "considered dead" not in caplog.text
    assert sum("max number of clients" in text for text in texts if text.startswith("dispatcher")) <= 1, texts


async def test_the_heartbeat_gets_a_connection_that_blocking_pops_held(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    pool, _ = pool_of_thirty(bench)
    async with pool.running():
        await until(lambda: bench.blocked(pool) == 30)
        key = bench.keys.heartbeat(pool.id or "")

        async def beats() -> int:
            return int(await bench.redis.hget(key, "beats"))

        mine = await bench.redis.client_id()
        clients, waiting = list[dict[str, str]](), list[dict[str, str]]()

        async def all_wait() -> bool:
            # Each pop ends without a job again and again, and begins anew.
            clients[:] = await bench.redis.client_list()
            waiting[:] = [each for each in clients if each["cmd"] == "brpoplpush"]
            return len(waiting) == 30

        await until(all_wait)
        # In one go: its connection breaks, and Redis accepts no more than wait in it.
        async with bench.redis.pipeline(transaction=True) as pipe:
            for each in clients:
                if each not in waiting and int(each["id"]) != mine:
                    pipe.client_kill_filter(_id=each["id"])
            pipe.config_set("maxclients", len(waiting) + 1)
            await pipe.execute()
        before = await beats()

        async def beats_again() -> bool:
            return await beats() > before + 1

        await until(beats_again)
        assert bench.blocked(pool) <= 15
    assert "Redis refuses connections: max number of clients reached" in caplog.text


async def test_a_pool_gives_connections_up_when_redis_refuses_one(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    pool, ran = pool_of_thirty(bench)
    async with pool.running():
        await until(lambda: bench.blocked(pool) == 30)
        # As if others had taken the connections while this pool's were broken.
        await bench.redis.config_set("maxclients", 20)
        await bench.redis.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        await until(lambda: "Redis refuses connections" in caplog.text)
        await push_thirty(bench)
        await until(lambda: len(ran) == 30)
        await until(lambda: 0 < bench.blocked(pool) < 15)
        # There is room for others again.
        await bench.enqueuer.enqueue("job0", {"name": "late"})
        await until(lambda: "late" in ran)


@pytest.mark.parametrize("password", ["", "secret"])
async def test_the_enqueuer_reports_that_redis_accepts_no_more_clients(tmp_path: Path, password: str) -> None:
    with Node(tmp_path / "redis", [f"requirepass {password}"] if password else []) as node:
        url = f"redis://:{password}@{node.address}/0" if password else f"redis://{node.address}/0"
        async with Redis.from_url(url, protocol=2) as admin:
            await admin.config_set("maxclients", 1)
            for _ in range(5):
                async with Enqueuer(url) as enqueuer:
                    with pytest.raises(RedisUnavailable, match="max number of clients reached"):
                        await enqueuer.enqueue("wat")
            pool = WorkerPool(url)
            with pytest.raises(RedisUnavailable, match="max number of clients reached"):
                await pool.start()
            assert await admin.llen("work:jobs:wat") == 0
