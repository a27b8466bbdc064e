"""The audit reports each violated invariant."""

from __future__ import annotations

import asyncio

import pytest

from asyncwork.testing import audit

from .conftest import Bench

POOL = "p" * 24
PAYLOAD = '{"name":"wat","id":"1","t":1,"args":null}'


async def clean(bench: Bench) -> None:
    keys = await bench.redis.keys(f"{bench.namespace}:*")
    await bench.redis.delete(*keys)


async def live_pool(bench: Bench) -> None:
    await bench.redis.sadd(bench.keys.worker_pools, POOL)
    await bench.redis.hset(bench.keys.heartbeat(POOL), "heartbeat_at", 1)


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ("queue", "job wat 1 is in two locations: queue wat, and queue wat"),
        ("retry", "job wat 1 is in two locations"),
        ("scheduled", "job wat 1 is in two locations"),
        ("dead", "job wat 1 is in two locations"),
        ("in progress", "job wat 1 is in two locations"),
    ],
)
async def test_a_job_in_two_places(bench: Bench, where: str, message: str) -> None:
    await live_pool(bench)
    await bench.redis.lpush(bench.keys.queue("wat"), PAYLOAD)
    if where == "queue":
        await bench.redis.lpush(bench.keys.queue("wat"), PAYLOAD)
    elif where == "in progress":
        await bench.redis.lpush(bench.keys.in_progress("wat", POOL), PAYLOAD)
        await bench.redis.hset(bench.keys.lock_info("wat"), POOL, 1)
        await bench.redis.set(bench.keys.lock("wat"), 1)
    else:
        # Written anew: the same job all the same.
        await bench.redis.zadd(getattr(bench.keys, where), {PAYLOAD.replace("null", '{"a":1}'): 1})
    (line,) = await audit(bench.url, bench.namespace, running=True)
    assert line.startswith(message)
    await clean(bench)


BROKEN: list[tuple[dict[str, int], int, int | None, list[str]]] = [
    # shares, in progress, lock, what is wrong
    ({POOL: 1}, 1, 1, []),
    ({POOL: 0}, 0, 0, []),
    ({}, 0, 0, []),
    ({}, 0, None, []),
    ({POOL: 1}, 1, 2, ["the lock is 2, the pools' shares are"]),
    ({POOL: 1}, 1, -1, ["the lock is -1"]),
    ({POOL: 1}, 1, None, ["the lock is missing"]),
    ({}, 0, 5, ["the lock is 5"]),
    ({POOL: 2}, 1, 2, ["has 1 jobs in progress, and a share of 2"]),
    ({}, 1, 0, ["has 1 jobs in progress, and a share of 0"]),
]


@pytest.mark.parametrize(("shares", "in_progress", "lock", "wrong"), BROKEN)
async def test_locks(
    bench: Bench, shares: dict[str, int], in_progress: int, lock: int | None, wrong: list[str]
) -> None:
    await live_pool(bench)
    if shares:
        await bench.redis.hset(bench.keys.lock_info("wat"), mapping=shares)
    for _ in range(in_progress):
        await bench.redis.lpush(bench.keys.in_progress("wat", POOL), PAYLOAD)
    if lock is not None:
        await bench.redis.set(bench.keys.lock("wat"), lock)
    lines = await audit(bench.url, bench.namespace, running=True)
    assert len(lines) == len(wrong)
    assert all(part in line for part, line in zip(wrong, lines, strict=True))
    await clean(bench)


async def test_a_lock_that_is_no_number(bench: Bench) -> None:
    await bench.redis.set(bench.keys.lock("wat"), "many")
    (line,) = await bench.audit()
    assert "the lock is many" in line
    await clean(bench)


@pytest.mark.parametrize("by_key", [False, True])
async def test_a_unique_key_whose_job_is_nowhere(bench: Bench, by_key: bool) -> None:
    if by_key:
        job = await bench.enqueuer.enqueue("wat", {"n": 1}, unique={"a": 1})
        await bench.enqueuer.enqueue("wat", {"n": 2}, unique={"a": 1})
    else:
        job = await bench.enqueuer.enqueue("wat", {"a": 1}, unique=True)
    assert not job.duplicate
    assert await bench.audit() == []
    await bench.redis.delete(bench.keys.queue("wat"))
    (line,) = await bench.audit()
    assert line.endswith(f"is held for job {job.id}, which does not exist")
    await clean(bench)


async def test_what_is_left_of_pools_that_are_gone(bench: Bench) -> None:
    await bench.redis.hset(bench.keys.lock_info("wat"), POOL, 0)
    assert await bench.audit(running=True) == [f"queue wat: pool {POOL} is gone, but left jobs or a share of the lock"]
    await clean(bench)
    await bench.redis.lpush(bench.keys.in_progress("wat", POOL), PAYLOAD)
    assert f"queue wat: pool {POOL} is gone, but left jobs or a share of the lock" in await bench.audit(running=True)
    await clean(bench)
    await bench.redis.sadd(bench.keys.worker_pools, POOL)
    assert await bench.audit(running=True) == [f"pool {POOL} is registered, but has no heartbeat"]
    await live_pool(bench)
    assert await bench.audit(running=True) == []
    assert await bench.audit() == [f"pool {POOL} is registered, but no pool should be running"]
    await clean(bench)
    await bench.redis.hset(f"{bench.namespace}:worker:w", "job_name", "wat")
    assert await bench.audit() == ["workers ['w'] have observations, but no pool should be running"]
    await clean(bench)


async def test_it_looks_at_its_namespace_only(bench: Bench) -> None:
    await bench.redis.set(f"{bench.namespace}2:jobs:wat:lock", 5)
    assert await bench.audit() == []
    await asyncio.gather(bench.redis.delete(f"{bench.namespace}2:jobs:wat:lock"))


async def test_a_request_to_a_pool_that_is_gone(bench: Bench) -> None:
    """It is a field of the heartbeat, and deleted with that."""
    await bench.redis.hset(bench.keys.heartbeat(POOL), "requested", '{"state":"quiet","by":"","at":1.5}')
    (line,) = await audit(bench.url, bench.namespace, running=True)
    assert line == f"pool {POOL} is gone, but left a request"
    await clean(bench)
