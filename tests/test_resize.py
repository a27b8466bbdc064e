"""Pools that are resized while they run."""

from __future__ import annotations

import asyncio
import random
import re
import threading
from collections.abc import AsyncIterator
from typing import Any

import anyio
import pytest

from asyncwork import Client, UsageError, WorkerPool
from asyncwork._worker.services.observer import Observer
from asyncwork.models.pools import Heartbeat

from .conftest import Bench, until
from .proxy import open_proxy
from .tuned import QUICK, tuned
from .web_app import serving


@pytest.fixture
async def client(bench: Bench) -> AsyncIterator[Client]:
    async with Client(bench.url, namespace=bench.namespace) as client:
        yield client


class Held:
    """Jobs that run until they are released, one at a time.

    :ivar running: the numbers of those that run.
    :ivar most: how many have run at once.
    """

    def __init__(self, pool: WorkerPool[Any], name: str = "wat", **options: Any) -> None:
        self.running: set[int] = set()
        self.most = 0
        self.done: list[int] = []
        self._released = asyncio.Semaphore(0)

        async def hold(n: int) -> None:
            self.running.add(n)
            self.most = max(self.most, len(self.running))
            await self._released.acquire()
            self.running.discard(n)
            self.done.append(n)

        pool.job(name, **options)(hold)

    def release(self, count: int) -> None:
        for _ in range(count):
            self._released.release()


def workers_of(pool: WorkerPool[Any]) -> int:
    assert pool._launcher is not None
    return len(pool._launcher.workers)


async def heartbeat_of(client: Client, pool: WorkerPool[Any]) -> Heartbeat:
    return next(each for each in await client.heartbeats() if each.pool_id == pool.id)


async def says_size(client: Client, pool: WorkerPool[Any], size: int) -> bool:
    heartbeat = await heartbeat_of(client, pool)
    return (heartbeat.concurrency, len(heartbeat.worker_ids)) == (size, size)


async def enqueue(bench: Bench, count: int, name: str = "wat") -> None:
    await bench.enqueuer.enqueue_many((name, {"n": n}) for n in range(count))


async def test_a_pool_that_grows_runs_more_jobs_at_once(bench: Bench, client: Client) -> None:
    pool = bench.pool(concurrency=2)
    held = Held(pool)
    async with pool.running():
        await enqueue(bench, 8)
        await until(lambda: len(held.running) == 2)
        pool.resize(5)
        assert pool.concurrency == 5
        await until(lambda: len(held.running) == 5)
        await until(lambda: says_size(client, pool, 5))
        held.release(8)
        await pool.drain()
        assert held.most == 5
        # The options are as they were, and so is the next start.
        assert pool.options.concurrency == 2
    assert pool.concurrency == 2
    async with pool.running():
        assert await says_size(client, pool, 2)


async def test_a_pool_that_shrinks_lets_its_jobs_go_on_and_takes_no_more_before_there_are_fewer(
    bench: Bench, client: Client
) -> None:
    pool = bench.pool(concurrency=6)
    held = Held(pool)
    async with pool.running():
        await enqueue(bench, 10)
        await until(lambda: len(held.running) == 6)
        pool.resize(2)
        # The heartbeat has the ids of all workers that run a job, because their observations are found by them.
        await until(lambda: is_concurrency(client, pool, 2))
        assert len((await heartbeat_of(client, pool)).worker_ids) == 6
        for left in (5, 4, 3):
            held.release(1)
            await until(lambda left=left: len(held.running) == left)
            await until(lambda left=left: workers_of(pool) == left)
        assert len(await bench.waiting("wat")) == 4
        held.release(1)
        await until(lambda: len(held.running) == 2 and len(held.done) == 4)
        await until(lambda: says_size(client, pool, 2))
        # From now on, the next job starts as soon as one ends.
        held.release(1)
        await until(lambda: len(held.done) == 5)
        await until(lambda: len(held.running) == 2)
        held.most = 0
        held.release(5)
        await pool.drain()
    assert sorted(held.done) == list(range(10))
    assert held.most <= 2


async def is_concurrency(client: Client, pool: WorkerPool[Any], concurrency: int) -> bool:
    return (await heartbeat_of(client, pool)).concurrency == concurrency


async def test_pops_end_when_an_idle_pool_shrinks_and_begin_when_it_grows(bench: Bench, client: Client) -> None:
    pool, ran = bench.pool(concurrency=6), list[str]()
    for name in "abcdef":

        async def note(name: str = name) -> None:
            ran.append(name)

        pool.job(name)(note)
    async with pool.running():
        await until(lambda: bench.blocked(pool) == 6)
        pool.resize(2)
        assert workers_of(pool) <= 6
        await until(lambda: bench.blocked(pool) == 2)
        await until(lambda: workers_of(pool) == 2)
        await until(lambda: says_size(client, pool, 2))
        for name in "abcdef":
            await bench.enqueuer.enqueue(name)
        await until(lambda: sorted(ran) == list("abcdef"))
        pool.resize(4)
        await until(lambda: bench.blocked(pool) == 4)
        # Shrunk and grown again before the pops have ended.
        for size in (1, 6):
            pool.resize(size)
        await until(lambda: bench.blocked(pool) == 6)
        pool.resize(1)
        await until(lambda: bench.blocked(pool) == 1)


async def test_plain_functions_have_as_many_threads_as_there_are_workers(bench: Bench) -> None:
    pool, lock, release = bench.pool(concurrency=1), threading.Lock(), threading.Event()
    running = most = 0

    @pool.job
    def wat(n: int) -> None:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        release.wait()
        with lock:
            running -= 1

    try:
        async with pool.running():
            await enqueue(bench, 6)
            await until(lambda: running == 1)
            pool.resize(4)
            await until(lambda: running == 4)
            pool.resize(2)
            release.set()
            await pool.drain()
            await until(lambda: workers_of(pool) == 2)
            assert pool._thread_limiter().total_tokens == 2
            # Those that are made anew have the size as well.
            release.clear()
            pool._threads = None
            await enqueue(bench, 3)
            await until(lambda: running == 2)
            release.set()
            await pool.drain()
    finally:
        release.set()
    assert most == 4


async def test_a_concurrency_limit_holds_whatever_the_size(bench: Bench) -> None:
    pool = bench.pool(concurrency=1)
    capped, held = Held(pool, "capped", max_concurrency=2), Held(pool, priority=1)
    async with pool.running():
        await enqueue(bench, 6, "capped")
        await enqueue(bench, 5)
        await until(lambda: len(capped.running) + len(held.running) == 1)
        pool.resize(7)
        await until(lambda: (len(capped.running), len(held.running)) == (2, 5))
        pool.resize(3)
        capped.release(6)
        held.release(5)
        await pool.drain()
    assert capped.most == 2
    assert (len(capped.done), len(held.done)) == (6, 5)


async def test_a_request_resizes_a_pool(bench: Bench, client: Client, caplog: pytest.LogCaptureFixture) -> None:
    pool = bench.pool(concurrency=2)
    held = Held(pool)
    async with pool.running():
        assert pool.id is not None
        await enqueue(bench, 6)
        await until(lambda: len(held.running) == 2)
        await client.resize_pool(pool.id, 4, who="ann\n")
        await until(lambda: len(held.running) == 4)
        await until(lambda: says_size(client, pool, 4))
        # Requested again, it has no effect.
        await client.resize_pool(pool.id, 4)
        await client.resize_pool(pool.id, 1)
        await until(lambda: is_concurrency(client, pool, 1))
        held.release(6)
        await pool.drain()
        await until(lambda: says_size(client, pool, 1))
        assert (await heartbeat_of(client, pool)).requests == ()
    asked = [each.partition(" was asked")[2] for each in caplog.messages if "was asked" in each]
    assert asked == [
        " by ann\\n to change: concurrency: 4 instead of 2, running jobs go on",
        " to change: concurrency: 1 instead of 4, running jobs go on",
    ]


async def test_a_pool_is_quiet_and_resized_at_the_same_time(bench: Bench, client: Client) -> None:
    """Neither request replaces the other, whichever comes first, also if the pool reads both at once."""
    pool = bench.pool(concurrency=2, **tuned(QUICK, heartbeat=0.5))
    held = Held(pool)
    async with pool.running():
        assert pool.id is not None
        await asyncio.gather(client.quiet_pool(pool.id), client.resize_pool(pool.id, 3))
        await until(lambda: has(client, pool, "quiet", 3))
        await until(lambda: not bench.blocked(pool))
        await enqueue(bench, 5)
        await client.resize_pool(pool.id, 4)
        await until(lambda: has(client, pool, "quiet", 4))
        assert not held.running
        assert len(await bench.waiting("wat")) == 5
        await client.unquiet_pool(pool.id)
        await until(lambda: len(held.running) == 4)
        await until(lambda: has(client, pool, "running", 4))
        held.release(5)
        await pool.drain()


async def has(client: Client, pool: WorkerPool[Any], state: str, size: int) -> bool:
    heartbeat = await heartbeat_of(client, pool)
    return (heartbeat.state, heartbeat.concurrency) == (state, size)


async def test_a_stop_wins(bench: Bench, client: Client) -> None:
    pool = bench.pool(concurrency=1)
    held = Held(pool)
    await pool.start()
    pool_id = pool.id
    assert pool_id is not None
    await enqueue(bench, 3)
    await until(lambda: held.running)
    # The pool reads both at once.
    await bench.redis.hset(
        bench.keys.heartbeat(pool_id),
        mapping={
            "requested": b'{"state":"stopping","by":"","at":1.5}',
            "requested_concurrency": b'{"concurrency":3,"by":"","at":1.5}',
        },
    )
    await until(lambda: pool.state == "stopping")
    with pytest.raises(UsageError, match=f"pool '{pool_id}' is stopping, which cannot be undone"):
        await client.resize_pool(pool_id, 2)
    with pytest.raises(UsageError, match="a pool must run to be resized"):
        pool.resize(2)
    assert pool.concurrency == 1
    held.release(3)
    await pool.wait()
    assert held.most == 1
    with pytest.raises(UsageError, match=r"a pool must run to be resized; WorkerPool\(concurrency=…\)"):
        pool.resize(2)
    await bench.redis.delete(bench.keys.queue("wat"))


@pytest.mark.parametrize("size", [0, -1, 10_001, True, 2.0, "3", None])
async def test_sizes_that_are_refused(bench: Bench, client: Client, size: Any) -> None:
    pool = bench.pool()
    Held(pool)
    async with pool.running():
        assert pool.id is not None
        message = f"concurrency must be a whole number from 1 to 10000, not {size!r}"
        with pytest.raises(UsageError, match=message):
            await client.resize_pool(pool.id, size)
        with pytest.raises(UsageError, match=message):
            pool.resize(size)
        assert not await bench.redis.hexists(bench.keys.heartbeat(pool.id), "requested_concurrency")


async def test_a_plain_function_resizes_its_pool_only_in_the_event_loop(bench: Bench) -> None:
    pool = bench.pool(concurrency=2)
    refused: list[str] = []

    @pool.job
    def wat(n: int) -> None:
        for size in (1, 3):
            with pytest.raises(UsageError) as raised:
                pool.resize(size)
            refused.append(f"{raised.value} {pool.concurrency}")
        anyio.from_thread.run_sync(pool.resize, 3)

    async with pool.running():
        await enqueue(bench, 1)
        await until(lambda: workers_of(pool) == pool.concurrency == 3)
        await pool.drain()
    text = "a pool must be resized in its event loop; "
    text += "a plain function can call anyio.from_thread.run_sync(pool.resize, 50)"
    assert refused == [f"{text} 2"] * 2


@pytest.mark.parametrize(
    "raw", [b"", b"12", b"[]", b'{"concurrency":0}', b'{"concurrency":10001}', b'{"concurrency":true}', b'{"state":1}']
)
async def test_a_request_that_cannot_be_read_is_shown_and_ignored(
    bench: Bench, client: Client, caplog: pytest.LogCaptureFixture, raw: bytes
) -> None:
    pool = bench.pool(concurrency=2)
    Held(pool)
    async with pool.running():
        assert pool.id is not None
        await bench.redis.hset(bench.keys.heartbeat(pool.id), "requested_concurrency", raw)
        await until(lambda: f"request to pool {pool.id} ignored: it cannot be read: {raw!r}" in caplog.text)
        (request,) = (await heartbeat_of(client, pool)).requests
        assert (request.state, request.concurrency, request.unreadable) == ("", 0, repr(raw))
        # It blocks no other request.
        await client.quiet_pool(pool.id)
        await until(lambda: has(client, pool, "quiet", 2))
        await client.resize_pool(pool.id, 3)
        await until(lambda: has(client, pool, "quiet", 3))
        assert (await heartbeat_of(client, pool)).requests == ()


async def test_a_request_is_shown_until_the_pool_has_followed_it(bench: Bench, client: Client) -> None:
    key = bench.keys.heartbeat("one")
    await bench.redis.sadd(bench.keys.worker_pools, "one")
    await bench.redis.hset(key, mapping={"heartbeat_at": 1, "takes_requests": 1, "beats": 7})
    await client.resize_pool("one", 12, who="ann")
    await bench.redis.hincrby(key, "beats", 5)
    await client.quiet_pool("one", who="bob")
    (heartbeat,) = await client.heartbeats()
    quiet, resize = heartbeat.requests
    assert (quiet.state, quiet.concurrency, quiet.who, quiet.heartbeats) == ("quiet", 0, "bob", 0)
    assert (resize.state, resize.concurrency, resize.who, resize.heartbeats) == ("", 12, "ann", 5)
    assert quiet.at >= resize.at > 1e9
    await bench.redis.hset(key, "followed", f"{resize.at:.6f}")
    (heartbeat,) = await client.heartbeats()
    assert heartbeat.requests == (quiet,)
    assert heartbeat.followed == (resize.at,)
    await bench.redis.delete(key, bench.keys.worker_pools)


async def test_a_pool_is_resized_again_and_again_while_it_works(bench: Bench) -> None:
    """Whatever happens at the moment, no job is lost, and each runs once."""
    pool, ran = bench.pool(concurrency=3), list[int]()
    rng = random.Random(7)
    names = ("plain", "threaded", "waiting")

    async def plain(n: int) -> None:
        ran.append(n)

    def threaded(n: int) -> None:
        ran.append(n)

    async def waiting(n: int) -> None:
        await asyncio.sleep(n % 3 / 1000)
        ran.append(n)

    for handler in (plain, threaded, waiting):
        pool.job(handler)
    async with pool.running():
        for begin in range(0, 600, 30):
            await bench.enqueuer.enqueue_many((rng.choice(names), {"n": n}) for n in range(begin, begin + 30))
            for _ in range(4):
                pool.resize(rng.choice((1, 2, 5, 20)))
                await asyncio.sleep(rng.choice((0, 0, 0.002, 0.02)))
        await pool.drain()
        pool.resize(4)
        await until(lambda: workers_of(pool) == 4)
        assert pool._launcher is not None
        state = pool._launcher._dispatcher._state
        assert state.check()
    assert sorted(ran) == list(range(600))


async def test_a_pool_is_resized_while_its_connections_break(bench: Bench) -> None:
    async with open_proxy(bench.url) as proxy:
        pool = WorkerPool(proxy.url, namespace=bench.namespace, concurrency=4, grace=5.0, **QUICK)
        ran = set[int]()

        async def note(n: int) -> None:
            await asyncio.sleep(0)
            ran.add(n)

        for name in "abcdef":
            pool.job(name)(note)
        async with pool.running():
            for turn, size in enumerate((9, 1, 6, 2, 12, 3)):
                await bench.enqueuer.enqueue_many(("abcdef"[n % 6], {"n": 50 * turn + n}) for n in range(50))
                pool.resize(size)
                await proxy.cut()
                pool.resize(size + 1)
            await until(lambda: len(ran) == 300)
            await until(lambda: bench.blocked(pool) == 4)
            await proxy.cut()
            pool.resize(2)
            await until(lambda: bench.blocked(pool) == 2)
            await until(lambda: workers_of(pool) == 2)
            assert pool._launcher is not None
            assert pool._launcher._dispatcher._state.check()


async def test_a_worker_that_was_retired_or_is_new_leaves_no_observation_behind(bench: Bench, client: Client) -> None:
    pool = bench.pool(concurrency=1)
    held = Held(pool)
    async with pool.running():
        launcher = pool._launcher
        assert launcher is not None
        await enqueue(bench, 4)
        pool.resize(4)
        await until(lambda: len(held.running) == 4)

        async def all_observed() -> bool:
            return len(await client.observations()) == 4

        await until(all_observed)
        pool.resize(1)
        held.release(4)
        await until(lambda: workers_of(pool) == 1)
        await until(lambda: not launcher._services.observer.written_ids())
        assert [each async for each in bench.redis.scan_iter(f"{bench.namespace}:worker:*")] == []
        await until(lambda: says_size(client, pool, 1))


async def test_what_a_worker_does_is_written_when_a_heartbeat_has_its_id(bench: Bench) -> None:
    """Otherwise nothing would delete it if the process died now."""
    pool = bench.pool(concurrency=1)
    held = Held(pool)
    async with pool.running():
        launcher = pool._launcher
        assert launcher is not None
        await enqueue(bench, 1)
        await until(lambda: held.running)
        announced = set[str]()
        observer = Observer(bench.in_redis, launcher.pool_id, launcher.workers, announced.__contains__, 1.0)
        await observer.run_once()
        assert observer.written_ids() == []
        announced.add(launcher.workers[0].id)
        await observer.run_once()
        assert observer.written_ids() == [launcher.workers[0].id]
        # Until it is deleted, the id stays in the heartbeats, whether or not the worker does.
        size, ids = launcher._worker_set.size(["f" * 24])
        assert (size, ids) == (1, {launcher.workers[0].id, "f" * 24})
        held.release(1)
        await pool.drain()
        await observer.delete_written()


async def test_the_metrics_have_the_size_of_now(bench: Bench) -> None:
    pool = bench.pool(concurrency=3)
    Held(pool)
    async with pool.running():
        pool.resize(8)
        (free,) = re.findall(r'\{state="free"\} (\d+)', pool.metrics_text())
        assert free == "8"


async def test_the_page_resizes_pools(bench: Bench, client: Client) -> None:
    pool = bench.pool(concurrency=2)
    Held(pool)
    async with pool.running(), serving(bench) as (_, web):
        assert pool.id is not None
        page = (await web.get("/busy")).text
        assert f'action="/api/pools/resize?pool={pool.id}"' in page
        assert 'name="concurrency" min="1" max="10000" value="2"' in page
        assert (await web.post("/api/pools/resize", json={"pool": pool.id, "concurrency": 3})).json()["done"] == 1
        await until(lambda: says_size(client, pool, 3))
        form = {"pool": pool.id, "concurrency": "4", "back": "/busy"}
        answer = await web.post("/api/pools/resize", data=form)
        assert (answer.status_code, answer.headers["location"].partition("?")[0]) == (303, "/busy")
        assert "The pool was asked to run that many jobs at once." in (await web.get(answer.headers["location"])).text
        await until(lambda: says_size(client, pool, 4))
        for size in (0, 10_001, -5, 10**30):
            answer = await web.post("/api/pools/resize", json={"pool": pool.id, "concurrency": size})
            assert answer.status_code == 400
            assert "concurrency must be a whole number from 1 to 10000" in answer.text
        answer = await web.post("/api/pools/resize", json={"pool": pool.id})
        assert (answer.status_code, "concurrency" in answer.text) == (400, True)
        # A request that it has not followed is shown.
        await bench.redis.hset(bench.keys.heartbeat(pool.id), "requested", "nonsense")
        assert "ignores a request that cannot be read" in (await web.get("/busy")).text
        (shown,) = (await web.get("/api/pools")).json()["pools"]
        assert [each["unreadable"] for each in shown["requests"]] == ["b'nonsense'"]
    async with pool.running(), serving(bench, read_only=True) as (_, web):
        assert "/api/pools/resize" not in (await web.get("/busy")).text
        answer = await web.post("/api/pools/resize", json={"pool": pool.id, "concurrency": 3})
        assert answer.status_code == 405
        assert pool.concurrency == 2
