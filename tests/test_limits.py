"""Limits that several job types and other code share: exact over all pools, whatever crashes."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from asyncwork import Client, Limit, LimitInfo, Rate, RateLimited, UsageError, WorkerPool
from asyncwork import limit as limit_module
from asyncwork._worker.services import shared_limits

from . import child
from .child import Child
from .conftest import Bench, until
from .tuned import QUICK, tuned

# A token that no test waits for.
ONCE = Rate(1, per=86_400, burst=10)


@pytest.fixture
async def client(bench: Bench) -> AsyncIterator[Client]:
    async with Client(bench.url, namespace=bench.namespace) as client:
        yield client


def add_jobs(pool: WorkerPool[Any], limit: Limit, cost: Any = 1) -> tuple[list[str], asyncio.Event, list[int]]:
    """Add two job types that share a limit; return what has started, what lets jobs end, and how many run."""
    ran, hold, running = list[str](), asyncio.Event(), [0]

    async def run(name: str) -> None:
        ran.append(name)
        running[0] += 1
        await hold.wait()
        running[0] -= 1

    @pool.job(limits=[limit], cost=cost)
    async def one(n: int = 0, tokens: int = 1) -> None:
        await run("one")

    @pool.job(limits=[limit])
    async def two() -> None:
        await run("two")

    return ran, hold, running


async def info(client: Client) -> LimitInfo:
    (found,) = await client.limits()
    return found


async def test_job_types_share_tokens_and_a_job_takes_what_it_costs(bench: Bench, client: Client) -> None:
    pool = bench.pool()
    ran, hold, _ = add_jobs(pool, pool.limit("llm", rate=ONCE), cost=lambda args: args["tokens"])
    hold.set()
    async with pool.running():
        await bench.enqueuer.enqueue("two")
        await until(lambda: ran == ["two"])
        await bench.enqueuer.enqueue("one", cost=6)
        await until(lambda: ran == ["two", "one"])
        # All or nothing: 3 are left.
        await bench.enqueuer.enqueue("one", cost=4)
        await bench.enqueuer.enqueue_many([("two", None)] * 5)
        await until(lambda: ran.count("two") == 4)
        assert ran.count("one") == 1
        assert await info(client) == LimitInfo("llm", str(ONCE), 0, False, 0, 0, 0, ("one", "two"))
        await client.set_limit("llm", rate=Rate(1000, burst=1000))
        await until(lambda: (ran.count("one"), ran.count("two")) == (2, 6))
