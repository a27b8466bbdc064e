"""A stop during a failure ends in time and loses nothing, whether it is requested once or twice."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from asyncwork import WorkerPool
from asyncwork._redis import scripts
from asyncwork.embedded import EmbeddedRedis

from .child import Child, running
from .conftest import UNSYNCED, Bench, open_bench, until
from .proxy import open_proxy

DEAD = "d" * 24
# Seconds.
GRACE = 0.5
STEP = 0.5
# Ending the waits, writing results, deregistering and two steps of the heartbeat's thread, each with its own waits.
MOST = GRACE + 12 * STEP


@pytest.fixture(autouse=True)
def short_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    for limit in ("blocking_pops._UNBLOCK_TIMEOUT", "services.heartbeat_thread._STOP_LIMIT", "shutdown._STEP_LIMIT"):
        monkeypatch.setattr(f"asyncwork._worker.{limit}", STEP)


@asynccontextmanager
async def away(server: EmbeddedRedis, bench: Bench) -> AsyncIterator[None]:
    await asyncio.to_thread(server.stop)
    yield
    await asyncio.to_thread(server.start)


@asynccontextmanager
async def restarting(server: EmbeddedRedis, bench: Bench) -> AsyncIterator[None]:
    def restart() -> None:
        server.stop()
        server.start()

    restarted = asyncio.create_task(asyncio.to_thread(restart))
    await asyncio.sleep(0.02)
    yield
    await restarted


@asynccontextmanager
async def full(server: EmbeddedRedis, bench: Bench) -> AsyncIterator[None]:
    await bench.redis.config_set("maxmemory", 1)
    yield
    await bench.redis.config_set("maxmemory", 0)


@asynccontextmanager
async def read_only(server: EmbeddedRedis, bench: Bench) -> AsyncIterator[None]:
    # Of a master that does not exist.
    await bench.redis.execute_command("REPLICAOF", "127.0.0.1", "1")
    yield
    await bench.redis.execute_command("REPLICAOF", "NO", "ONE")


@asynccontextmanager
async def silent(server: EmbeddedRedis, bench: Bench) -> AsyncIterator[None]:
    os.kill(server.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(server.pid, signal.SIGCONT)


@asynccontextmanager
async def forgetful(server: EmbeddedRedis, bench: Bench) -> AsyncIterator[None]:
    async def forget() -> None:
        while True:
            await bench.redis.script_flush()
            await asyncio.sleep(0.005)

    forgetting = asyncio.create_task(forget())
    await asyncio.sleep(0.02)
    yield
    forgetting.cancel()
    await asyncio.wait([forgetting])


@asynccontextmanager
async def reaping(server: EmbeddedRedis, bench: Bench) -> AsyncIterator[None]:
    redis, keys = bench.redis, bench.keys
    jobs = [json.dumps({"name": "many", "id": f"{n}", "t": 1, "args": {"n": n}}) for n in range(1000, 11_000)]
    await redis.sadd(keys.known_jobs, "many")
    await redis.lpush(keys.in_progress("many", DEAD), *jobs)
    await redis.hset(keys.lock_info("many"), DEAD, len(jobs))
    await redis.set(keys.lock("many"), len(jobs))
    await until(lambda: redis.llen(keys.queue("many")))
    yield


@asynccontextmanager
async def moving(server: EmbeddedRedis, bench: Bench) -> AsyncIterator[None]:
    jobs = [json.dumps({"name": "many", "id": f"{n}", "t": 1, "args": {"n": n}}) for n in range(1000, 21_000)]
    await bench.redis.sadd(bench.keys.known_jobs, "many")
    await bench.redis.zadd(bench.keys.scheduled, dict.fromkeys(jobs, 1))
    await until(lambda: bench.redis.llen(bench.keys.queue("many")))
    yield


@asynccontextmanager
async def blocked(server: EmbeddedRedis, bench: Bench) -> AsyncIterator[None]:
    asyncio.get_running_loop().call_soon(time.sleep, 1.0)
    yield


@asynccontextmanager
async def poisoned(server: EmbeddedRedis, bench: Bench) -> AsyncIterator[None]:
    await bench.redis.rpush(bench.keys.queue("wat"), *(b"\xff%d" % n for n in range(2000)))
    yield


Failure = Callable[[EmbeddedRedis, Bench], AbstractAsyncContextManager[None]]
FAILURES: list[Failure] = [
    away, restarting, full, read_only, silent, forgetful, reaping, moving, blocked, poisoned,
]  # fmt: skip


@pytest.mark.parametrize("failure", FAILURES, ids=lambda failure: failure.__name__)
async def test_it_ends_in_time_and_loses_nothing(tmp_path: Path, failure: Failure) -> None:
    ran: Counter[int] = Counter()
    started: Counter[int] = Counter()

    def pool(bench: Bench, concurrency: int = 5) -> WorkerPool[Any]:
        made = bench.pool(concurrency=concurrency, grace=GRACE)

        async def wat(n: int) -> None:
            started[n] += 1
            # Some end within the grace period, some do not.
            await asyncio.sleep(0.1 if n % 2 else 1.5)
            ran[n] += 1

        @made.job
        async def many(n: int) -> None:
            ran[n] += 1

        made.job("wat")(wat)
        made.job("capped", max_concurrency=3)(wat)
        made.job("idle")(wat)
        return made

    with EmbeddedRedis(tmp_path, settings=UNSYNCED) as server:
        async with open_bench(server.url) as bench:
            once, twice, successor = pool(bench), pool(bench), pool(bench, concurrency=100)
            for n in range(30):
                await bench.enqueuer.enqueue("capped" if n < 10 else "wat", {"n": n}, unique=True)
            await once.start()
            await twice.start()
            await until(lambda: len(started) >= 10)
            async with failure(server, bench):
                began = time.monotonic()
                twice.stop_soon()
                stops = [asyncio.create_task(each.stop()) for each in (once, twice)]
                await asyncio.sleep(0.05)
                twice.stop_soon(now=True)
                await asyncio.wait(stops)
                assert time.monotonic() - began < MOST
                for stop in stops:
                    stop.result()
            async with successor.running():
                expected = 30 + sum({"reaping": 10_000, "moving": 20_000}.get(each, 0) for each in [failure.__name__])
                await until(lambda: len(ran) == expected)
                await successor.drain()
                await until(lambda: _is_alone(bench))
            assert len(ran) == expected
            if failure in (full, reaping, moving, blocked, poisoned, forgetful):
                # Nobody died, so nothing that had ended ran again.
                assert set(ran.values()) == {1}
            if failure is poisoned:
                assert await bench.redis.llen(bench.keys.quarantine) == 2000


@pytest.mark.parametrize("ends", ["well", "badly"])
async def test_results_that_a_silent_connection_kept_back_are_written_over_another(bench: Bench, ends: str) -> None:
    ran: Counter[int] = Counter()
    script = scripts.digest("ack" if ends == "well" else "move")
    async with open_proxy(bench.url) as proxy:
        pool = WorkerPool(proxy.url, namespace=bench.namespace, grace=GRACE)

        @pool.job
        async def wat(n: int) -> None:
            ran[n] += 1
            if ends == "badly":
                raise ValueError("sorry")

        async with pool.running():
            await bench.enqueuer.enqueue("wat", {"n": 1})
            proxy.mute_request = lambda request: script in request and not proxy.muted
            await until(lambda: proxy.muted)
        assert ran == {1: 1}
        assert not await bench.redis.exists(bench.keys.queue("wat"))
        assert len(await bench.job_set("retry")) == (ends == "badly")


async def _is_alone(bench: Bench) -> bool:
    """Return whether only the running pool is registered."""
    return bool(await bench.redis.scard(bench.keys.worker_pools) == 1)


@pytest.mark.parametrize("times", [1, 2])
async def test_a_process_that_was_stopped_and_goes_on_can_be_shut_down(
    bench: Bench, tmp_path: Path, times: int
) -> None:
    child = Child(bench.url, bench.namespace, tmp_path / "log", heartbeat=0.2, dead_after=1.0)
    successor, ran = bench.pool(), Counter[int]()

    @successor.job
    async def held(n: int, seconds: float) -> None:
        ran[n] += 1

    with running(child):
        await bench.enqueuer.enqueue_many([("held", {"n": n, "seconds": 0.5}) for n in range(5)])
        await until(lambda: len(child.events("start")) == 5)
        child.signal(signal.SIGSTOP)
        async with successor.running():
            await until(lambda: len(ran) == 5)
            child.signal(signal.SIGCONT)
            for _ in range(times):
                child.signal(signal.SIGTERM)
            assert await asyncio.to_thread(child.end) == 0
            await successor.drain()
    assert ran == Counter(range(5))
