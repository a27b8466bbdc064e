"""Requests to pools: to be quiet, to run again, and to stop."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import pytest

from asyncwork import Client, RedisUnavailable, UsageError, WorkerPool
from asyncwork._redis import pool_requests
from asyncwork._redis.scripts import digest
from asyncwork._redis.wake_channel import wake_pools
from asyncwork.models.pools import Heartbeat, PoolRequest

from .conftest import LIMIT, Bench, until
from .proxy import never, open_proxy
from .tuned import QUICK, tuned
from .web_app import serving

# A heartbeat so rare that only a message can make a pool comply in time.
RARELY = tuned(QUICK, heartbeat=4 * LIMIT, dead_after=9 * LIMIT)


@pytest.fixture
async def client(bench: Bench) -> AsyncIterator[Client]:
    async with Client(bench.url, namespace=bench.namespace) as client:
        yield client


def counting(bench: Bench, **options: Any) -> tuple[WorkerPool[Any], list[int]]:
    pool, ran = bench.pool(**options), list[int]()

    @pool.job
    async def wat(n: int) -> None:
        ran.append(n)

    return pool, ran


def id_of(pool: WorkerPool[Any]) -> str:
    assert pool.id is not None
    return pool.id


async def has_state(client: Client, pool: WorkerPool[Any], state: str) -> bool:
    return [each.state for each in await client.heartbeats() if each.pool_id == pool.id] == [state]


async def test_a_pool_is_quiet_and_runs_again(bench: Bench, client: Client, caplog: pytest.LogCaptureFixture) -> None:
    pool, ran = counting(bench)
    async with pool.running():
        await bench.enqueuer.enqueue("wat", {"n": 1})
        await until(lambda: ran == [1])
        await client.quiet_pool(id_of(pool), who="ann\n")
        await until(lambda: has_state(client, pool, "quiet"))
        await until(lambda: not bench.blocked(pool))
        await bench.enqueuer.enqueue("wat", {"n": 2})
        assert len(await bench.waiting("wat")) == 1
        # Requested again, it has no effect.
        await client.quiet_pool(id_of(pool))
        await client.unquiet_pool(id_of(pool))
        await until(lambda: ran == [1, 2])
        await until(lambda: has_state(client, pool, "running"))
        await until(lambda: bench.blocked(pool))
    asked = [each for each in caplog.messages if "was asked" in each]
    assert asked == [
        f"pool {pool_id} was asked{by} to change: {effect}"
        for pool_id, by, effect in [
            (asked[0].split()[1], " by ann\\n", "quiet: no more jobs are fetched, running jobs go on"),
            (asked[0].split()[1], "", "running: jobs are fetched again"),
        ]
    ]


async def test_running_jobs_go_on_in_a_quiet_pool(bench: Bench, client: Client) -> None:
    pool, started, release, ended = bench.pool(), asyncio.Event(), asyncio.Event(), asyncio.Event()

    @pool.job
    async def wat() -> None:
        started.set()
        await release.wait()
        ended.set()

    async with pool.running():
        await wat.enqueue()
        await started.wait()
        await client.quiet_pool(id_of(pool))
        await until(lambda: has_state(client, pool, "quiet"))
        release.set()
        await asyncio.wait_for(ended.wait(), LIMIT)
        await pool.drain()


async def test_a_message_makes_a_pool_comply_at_once(bench: Bench, client: Client) -> None:
    pool, _ = counting(bench, **RARELY)
    async with pool.running():
        launcher = pool._launcher
        assert launcher is not None

        async def is_quiet() -> bool:
            await wake_pools(client._in_redis)  # the first may come before it has subscribed
            return launcher.state.is_quiet

        await client.quiet_pool(id_of(pool))
        await until(is_quiet)


async def test_a_pool_says_at_once_that_it_is_quiet(bench: Bench, client: Client) -> None:
    pool, _ = counting(bench, **RARELY)
    async with pool.running():
        await until(lambda: has_state(client, pool, "running"))
        await pool.quiet()
        await until(lambda: has_state(client, pool, "quiet"))


async def test_the_heartbeat_alone_makes_a_pool_comply(bench: Bench, client: Client) -> None:
    pool, _ = counting(bench)
    async with pool.running():
        raw = pool_requests.encode(PoolRequest(state="quiet"))
        await bench.redis.hset(bench.keys.heartbeat(id_of(pool)), "requested", raw)
        await until(lambda: has_state(client, pool, "quiet"))


async def test_a_stop_ends_an_embedded_pool_cleanly(bench: Bench, client: Client) -> None:
    pool, ran = counting(bench)
    other, _ = counting(bench)
    await pool.start()
    async with other.running():
        await bench.enqueuer.enqueue("wat", {"n": 1})
        await client.stop_pool(id_of(pool), who="ann")
        # It raises nothing, because the pool was asked to.
        await asyncio.wait_for(pool.wait(), LIMIT)
        assert await has_state(client, other, "running")
        await other.drain()
    assert pool.stop_failure == ""
    assert await client.heartbeats() == []
    # It may be started again, under another id, and obeys no earlier request.
    async with pool.running():
        await bench.enqueuer.enqueue("wat", {"n": 2})
        await until(lambda: 2 in ran)


async def test_a_stop_stays(bench: Bench, client: Client) -> None:
    pool, started, release = bench.pool(), asyncio.Event(), asyncio.Event()

    @pool.job
    async def wat() -> None:
        started.set()
        await release.wait()

    await pool.start()
    pool_id = id_of(pool)
    await wat.enqueue()
    await started.wait()
    await client.stop_pool(pool_id)
    for request in (client.quiet_pool, client.unquiet_pool):
        with pytest.raises(UsageError, match=f"pool {pool_id!r} is stopping, which cannot be undone"):
            await request(pool_id)
    await client.stop_pool(pool_id)
    release.set()
    await asyncio.wait_for(pool.wait(), LIMIT)


async def test_requests_that_no_pool_would_obey_are_refused(bench: Bench, client: Client) -> None:
    with pytest.raises(UsageError, match="there is no pool 'gone': it has ended, or never was in this namespace"):
        await client.quiet_pool("gone")
    assert not await bench.redis.exists(bench.keys.heartbeat("gone"))
    with pytest.raises(UsageError, match=r"there is no pool '\\ud83d'"):
        await client.quiet_pool("\ud83d", who="\ud83d")
    with pytest.raises(UsageError, match="the id of a pool must be text, not 7"):
        await client.stop_pool(7)  # type: ignore[arg-type]
    key = bench.keys.heartbeat("go")
    await bench.redis.hset(key, mapping={"heartbeat_at": 1, "job_names": "wat"})
    with pytest.raises(UsageError, match=r"pool 'go' takes no requests: it is one of gocraft/work"):
        await client.quiet_pool("go")
    assert not await bench.redis.hexists(key, "requested")
    await bench.redis.delete(key)


@pytest.mark.parametrize("raw", [b"", b"quiet", b"[]", b'{"state":"asleep"}', b'{"state":["quiet"]}', b"\xff"])
async def test_a_request_that_cannot_be_read_is_logged_and_ignored(
    bench: Bench, client: Client, caplog: pytest.LogCaptureFixture, raw: bytes
) -> None:
    pool, ran = counting(bench)
    async with pool.running():
        await bench.redis.hset(bench.keys.heartbeat(id_of(pool)), "requested", raw)
        await until(lambda: "it cannot be read" in caplog.text)
        await bench.enqueuer.enqueue("wat", {"n": 1})
        await until(lambda: ran == [1])
        assert await has_state(client, pool, "running")


async def test_which_pools_take_requests(bench: Bench, client: Client) -> None:
    pool, _ = counting(bench)
    async with pool.running():
        (heartbeat,) = await client.heartbeats()
        assert heartbeat.takes_requests
    assert not Heartbeat("a", 1, 1, (), 1, (), "host", 1).takes_requests


async def test_the_page_has_pools_be_quiet_run_again_and_stop(
    bench: Bench, client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    pool, _ = counting(bench)
    await pool.start()
    async with serving(bench) as (_, web):
        page = (await web.get("/busy")).text
        assert f"/confirm?action=quiet&amp;pool={pool.id}" in page
        assert "Unquiet" not in page
        asked = (await web.get("/confirm", params={"action": "quiet", "pool": id_of(pool)})).text
        assert f"Quiet the pool {pool.id}?" in asked
        assert (await web.post("/api/pools/quiet", json={"pool": pool.id})).json()["done"] == 1
        await until(lambda: has_state(client, pool, "quiet"))
        page = (await web.get("/busy")).text
        assert f"/api/pools/unquiet?pool={pool.id}" in page
        assert "action=quiet" not in page
        answer = await web.post("/api/pools/unquiet", data={"pool": pool.id or "", "back": "/busy"})
        assert (answer.status_code, answer.headers["location"].partition("?")[0]) == (303, "/busy")
        await until(lambda: has_state(client, pool, "running"))
        asked = (await web.get("/confirm", params={"action": "stop", "pool": id_of(pool)})).text
        assert f"Stop the pool {pool.id}?" in asked
        assert (await web.post("/api/pools/stop", json={"pool": pool.id})).json()["done"] == 1
        await asyncio.wait_for(pool.wait(), LIMIT)
        answer = await web.post("/api/pools/stop", json={"pool": "gone"})
        assert answer.status_code == 400
        assert "there is no pool 'gone'" in answer.text


async def test_the_page_offers_nothing_for_pools_that_take_no_requests(bench: Bench) -> None:
    key = bench.keys.heartbeat("go")
    await bench.redis.sadd(bench.keys.worker_pools, "go")
    await bench.redis.hset(key, mapping={"heartbeat_at": int(time.time()), "job_names": "wat"})
    async with serving(bench) as (_, web):
        page = (await web.get("/busy")).text
        assert "takes no requests" in page
        assert "action=stop" not in page
    async with serving(bench, read_only=True) as (_, web):
        assert "takes no requests" not in (await web.get("/busy")).text
    await bench.redis.delete(key, bench.keys.worker_pools)


# What goes wrong between the request and the pool


def makes_requests(data: bytes) -> bool:
    return digest("request_state") in data


async def test_a_request_that_never_reaches_redis_changes_nothing(bench: Bench) -> None:
    pool, ran = counting(bench)
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(pool.running())
        proxy = await stack.enter_async_context(open_proxy(bench.url))
        client = await stack.enter_async_context(Client(proxy.url, namespace=bench.namespace))
        await client.heartbeats()
        proxy.lose_request = makes_requests
        for request in (client.quiet_pool(id_of(pool)), client.resize_pool(id_of(pool), 3)):
            with pytest.raises(RedisUnavailable):
                await request
        assert not await bench.redis.hexists(bench.keys.heartbeat(id_of(pool)), "requested")
        await bench.enqueuer.enqueue("wat", {"n": 1})
        await until(lambda: ran == [1])
        proxy.lose_request = never
        await client.resize_pool(id_of(pool), 3)
        await until(lambda: pool.concurrency == 3)


async def test_a_request_whose_answer_is_lost_is_followed_and_may_be_repeated(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    pool, _ = counting(bench)
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(pool.running())
        proxy = await stack.enter_async_context(open_proxy(bench.url))
        client = await stack.enter_async_context(Client(proxy.url, namespace=bench.namespace))
        await client.heartbeats()
        proxy.lose_answer = makes_requests
        for request in (client.quiet_pool(id_of(pool)), client.resize_pool(id_of(pool), 3)):
            with pytest.raises(RedisUnavailable):
                await request
        # No message wakes the pool, whose heartbeat reads them.
        await until(lambda: (pool.state, pool.concurrency) == ("quiet", 3))
        proxy.lose_answer = never
        await client.quiet_pool(id_of(pool))
        await client.resize_pool(id_of(pool), 3)
        await until(lambda: has_followed(client, pool))
    assert len([each for each in caplog.messages if "was asked" in each]) == 2


async def has_followed(client: Client, pool: WorkerPool[Any]) -> bool:
    return next(each for each in await client.heartbeats() if each.pool_id == pool.id).requests == ()


async def test_a_request_ends_with_its_pool(bench: Bench, client: Client) -> None:
    """The process dies before it has read the request."""
    key = bench.keys.heartbeat("dead")
    await bench.redis.sadd(bench.keys.worker_pools, "dead")
    await bench.redis.hset(key, mapping={"heartbeat_at": 1, "takes_requests": 1, "job_names": "wat"})
    await client.quiet_pool("dead")
    await client.resize_pool("dead", 3)
    pool, ran = counting(bench)

    async def is_gone() -> bool:
        return not await bench.redis.exists(key)

    async with pool.running():
        await until(is_gone)
        for request in (client.quiet_pool("dead"), client.resize_pool("dead", 3), client.stop_pool("dead")):
            with pytest.raises(UsageError, match="there is no pool 'dead'"):
                await request
        assert not await bench.redis.exists(key)
        await bench.enqueuer.enqueue("wat", {"n": 1})
        await until(lambda: ran == [1])
        assert (pool.state, pool.concurrency) == ("running", 10)


async def test_a_pool_that_was_considered_dead_keeps_what_it_has_followed(bench: Bench, client: Client) -> None:
    """What it has not followed is gone with its heartbeat, and may be requested again."""
    pool, ran = counting(bench, **RARELY)
    async with pool.running():
        launcher, key = pool._launcher, bench.keys.heartbeat(id_of(pool))
        assert launcher is not None

        async def is_resized() -> bool:
            await wake_pools(client._in_redis)  # the first may come before it has subscribed
            return pool.concurrency == 3

        await client.resize_pool(id_of(pool), 3)
        await until(is_resized)
        async with bench.redis.pipeline(transaction=True) as pipe:
            pipe.hset(key, "requested", pool_requests.encode(PoolRequest(state="quiet")))
            pipe.delete(key)
            pipe.srem(bench.keys.worker_pools, id_of(pool))
            await pipe.execute()
        with pytest.raises(UsageError, match="there is no pool"):
            await client.quiet_pool(id_of(pool))
        launcher.state.resize(3)  # writes a heartbeat

        async def is_back() -> bool:
            return [(each.state, each.concurrency) for each in await client.heartbeats()] == [("running", 3)]

        await until(is_back)
        assert not await bench.redis.hexists(key, "requested_concurrency")
        await bench.enqueuer.enqueue("wat", {"n": 1})
        await until(lambda: ran == [1])
        await client.resize_pool(id_of(pool), 5)
        await until(lambda: pool.concurrency == 5)
