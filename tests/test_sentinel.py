"""A Redis that sentinels watch: its master is found through them, and found again when it is another."""

from __future__ import annotations

import asyncio
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from asyncwork import Client, Enqueuer, RedisUnavailable, WorkerPool, sync
from asyncwork._redis import client, discovery

from .conftest import LIMIT, open_bench, until
from .gated import PATIENT, Gate, accepted, all_run_once
from .nodes import Node, Watched, eventually, watched

# Seconds within which no sentinel takes a master for dead.
BLIND = 0.4


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
async def test_workers_go_on_when_the_master_is_gone(
    tmp_path: Path, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    # For a master that is silent instead of gone; ten by default.
    monkeypatch.setattr(client, "COMMAND_TIMEOUT", 3.0)

    async def fail(_: object) -> None:
        redis.master.kill(number)

    with watched(tmp_path) as redis:
        async with open_bench(redis.url) as bench:
            await all_run_once(bench, redis.master.confirm, fail)


async def test_a_failover_under_load_loses_at_most_what_no_replica_had(tmp_path: Path) -> None:
    began: dict[int, list[float]] = {}
    taken: dict[int, float] = {}
    with watched(tmp_path) as redis:
        async with open_bench(redis.url) as bench:
            pool = bench.pool(**PATIENT)

            @pool.job
            async def wat(n: int) -> None:
                began.setdefault(n, []).append(time.monotonic())
                await asyncio.sleep(0.02)

            async def feed() -> None:
                n = 0
                while True:
                    n += 1
                    try:
                        await bench.enqueuer.enqueue("wat", {"n": n})
                    except RedisUnavailable:
                        await asyncio.sleep(0.05)
                    else:
                        taken[n] = time.monotonic()
                        await asyncio.sleep(0.002)

            async with pool.running():
                feeding = asyncio.create_task(feed())
                await until(lambda: len(began) > 100)
                # What has begun by now has ended when the hundred after it have begun, and Redis was told so.
                ended = set(began)
                await until(lambda: len(began) > 300)
                confirmed = set(taken)
                redis.master.confirm()
                redis.master.kill()
                killed_at = time.monotonic()
                await until(lambda: sum(at > killed_at + BLIND for at in taken.values()) > 100)
                feeding.cancel()
                await pool.drain()
    lost = taken.keys() - began.keys()
    assert not lost & confirmed
    assert all(taken[n] < killed_at + BLIND for n in lost)
    twice = {n for n, times in began.items() if len(times) > 1}
    assert not twice & ended
    assert all(len(began[n]) == 2 and began[n][0] < killed_at + BLIND < began[n][1] for n in twice)


def fail_over(redis: Watched) -> None:
    """Have the sentinels make the replica the master, on purpose; return when they say that it is."""
    eventually(lambda: redis.sentinels[0].ask("SENTINEL", "FAILOVER", redis.service))
    eventually(redis.moved)


async def test_a_planned_failover(tmp_path: Path) -> None:
    async def fail(pool: WorkerPool[Any]) -> None:
        found = pool._redis._discovery
        fail_over(redis)
        # Until it is asked again, what the sentinels said is taken to hold: the old master takes jobs, which are lost.
        await asyncio.sleep(discovery.MAX_AGE)
        await until(lambda: found and found._address == ("127.0.0.1", redis.replica.port))

    with watched(tmp_path) as redis:
        async with open_bench(redis.url) as bench:
            await all_run_once(bench, redis.master.confirm, fail)
            # Nobody waited until it refuses.
            assert redis.master.role() == "master"


async def test_an_idle_pool_and_an_idle_enqueuer_leave_a_master_that_was_replaced(tmp_path: Path) -> None:
    with watched(tmp_path) as redis:
        async with open_bench(redis.url) as bench:
            pool = bench.pool(**PATIENT)
            gate = Gate(pool)
            gate.open.set()
            async with pool.running():
                await accepted(bench.enqueuer, 1)
                await until(lambda: len(gate.ran) == 1 and bench.blocked(pool))
                redis.master.confirm()
                fail_over(redis)
                moved_at = time.monotonic()
                # Until it is asked again, what the sentinels said is taken to hold.
                await asyncio.sleep(discovery.MAX_AGE)
                await bench.enqueuer.enqueue("wat", {"n": 2})
                await until(lambda: len(gate.ran) == 2)
                assert time.monotonic() - moved_at < LIMIT / 4
                assert redis.master.role() == "master"


async def test_a_blocking_enqueuer_leaves_a_master_that_was_replaced(tmp_path: Path) -> None:
    with watched(tmp_path) as redis:
        async with open_bench(redis.url) as bench:
            with sync.Enqueuer(redis.url, namespace=bench.namespace) as enqueuer:
                await asyncio.to_thread(enqueuer.enqueue, "wat")
                redis.master.confirm()
                fail_over(redis)
                # Until it is asked again, what the sentinels said is taken to hold.
                await asyncio.sleep(discovery.MAX_AGE)
                await asyncio.to_thread(enqueuer.enqueue, "wat")
            assert redis.replica.ask("LLEN", bench.keys.queue("wat")) == 2


async def test_a_master_that_refuses_for_it_has_lost_its_replicas_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Nobody asks again who was not refused.
    monkeypatch.setattr(discovery, "MAX_AGE", 1000.0)

    async def fail(_: object) -> None:
        fail_over(redis)

    with watched(tmp_path) as redis:
        redis.master.ask("CONFIG", "SET", "min-replicas-to-write", 1)
        async with open_bench(redis.url) as bench:
            await all_run_once(bench, redis.master.confirm, fail)
            assert redis.master.role() == "master"


async def test_what_cannot_be_found_is_named(tmp_path: Path) -> None:
    with watched(tmp_path) as redis:
        url = redis.url.replace(f"/{redis.service}", "/nothing")
        with pytest.raises(RedisUnavailable, match="'nothing'") as caught:
            await WorkerPool(url).start()
        for sentinel in redis.sentinels:
            assert f"{sentinel.address}: it does not know service 'nothing'" in str(caught.value)
    with pytest.raises(RedisUnavailable, match=f"service '{redis.service}'") as caught:
        await WorkerPool(redis.url.replace("//", "//user:secret@")).start()
    assert "secret" not in str(caught.value)
    for sentinel in redis.sentinels:
        assert f"{sentinel.address}: Error 111" in str(caught.value)
    with pytest.raises(RedisUnavailable, match=r"could not be enqueued.*no sentinel knows"):
        await Enqueuer(redis.url).enqueue("wat")


async def test_passwords_of_redis_and_of_the_sentinels(tmp_path: Path) -> None:
    users = ["user worker on >of-redis ~* &* +@all", "user default off"]
    with Node(tmp_path / "redis", users) as redis:
        watch = [f"sentinel monitor jobs 127.0.0.1 {redis.port} 1", "sentinel auth-user jobs worker"]
        watch += ["sentinel auth-pass jobs of-redis", "user asker on >of-sentinel +@all", "user default off"]
        with Node(tmp_path / "sentinel", watch, "--sentinel") as sentinel:

            async def names(user: str, options: str) -> list[str]:
                url = f"redis+sentinel://{user}@{sentinel.address}/jobs/1{options}"
                async with Client(url, namespace="x") as client:
                    return [each.name for each in await client.queues()]

            assert await names("worker:of-redis", "?sentinel_user=asker&sentinel_password=of-sentinel") == []
            for user, options in [
                ("worker:of-redis", ""),
                ("worker:of-redis", "?sentinel_user=asker&sentinel_password=wrong"),
                ("worker:wrong", "?sentinel_user=asker&sentinel_password=of-sentinel"),
            ]:
                with pytest.raises(RedisUnavailable, match=r"Authentication required|invalid username-password"):
                    await names(user, options)
