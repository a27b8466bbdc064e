"""Durable steps: each runs once over all attempts of a job, and a wait frees the worker."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from asyncwork import (
    Job,
    Retry,
    UsageError,
)

from .conftest import LIMIT, Bench, until


async def ran(bench: Bench, pool: Any, limit: float = LIMIT) -> None:
    """Run a pool until everything has been run, retries and wake-ups included."""
    async with pool.running():
        await until(lambda: bench_is_empty(bench), limit)


async def bench_is_empty(bench: Bench) -> bool:
    names = [name.decode() for name in await bench.redis.smembers(bench.keys.known_jobs)]
    lists = [await bench.redis.llen(bench.keys.queue(name)) for name in names]
    locks = [int(await bench.redis.get(bench.keys.lock(name)) or 0) for name in names]
    sets = [await bench.redis.zcard(key) for key in (bench.keys.retry, bench.keys.scheduled)]
    return not any([*lists, *locks, *sets])


async def records(bench: Bench) -> list[str]:
    """The keys of the records of steps."""
    return [key.decode() async for key in bench.redis.scan_iter(f"{bench.namespace}:step:*", count=1000)]


def at_once(job: Job) -> float:
    return 0.0


async def test_a_step_runs_once_over_all_attempts(bench: Bench) -> None:
    pool, charged, shipped = bench.pool(), list[int](), list[str]()

    async def charge(user_id: int) -> dict[str, int]:
        charged.append(user_id)
        return {"receipt": 7}

    def ship(address: str, *, express: bool) -> str:
        shipped.append(threading.current_thread().name)
        if len(shipped) < 3:
            raise ValueError("the van is full")
        return f"{address} {express}"

    seen = []

    @pool.job(backoff=at_once)
    async def order(job: Job, user_id: int) -> None:
        receipt = await job.step("charge", charge, user_id)
        seen.append((receipt, await job.step("ship", ship, "Rome", express=True)))

    await order.enqueue(5)
    await ran(bench, pool)
    assert charged == [5]
    assert len(shipped) == 3
    assert threading.main_thread().name not in shipped
    assert seen == [({"receipt": 7}, "Rome True")]
    assert await records(bench) == []
