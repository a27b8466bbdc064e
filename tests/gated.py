"""Jobs that a test holds while something happens to Redis."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

from asyncwork import Enqueuer, RedisUnavailable, WorkerPool

from .conftest import LIMIT, Bench, until
from .tuned import QUICK, tuned

# One pool may find a Redis that has moved some seconds later than another.
PATIENT = tuned(QUICK, dead_after=4.0, reply_timeout=3.0)


class Gate:
    """A job that counts what runs, and ends when the gate is open."""

    def __init__(self, pool: WorkerPool[Any]) -> None:
        self.ran: Counter[int] = Counter()
        self.open = asyncio.Event()
        pool.job("wat")(self._run)

    async def _run(self, n: int) -> None:
        self.ran[n] += 1
        await self.open.wait()


async def accepted(enqueuer: Enqueuer, n: int) -> None:
    """Enqueue a job, again and again until it is accepted."""

    async def once() -> bool:
        try:
            await enqueuer.enqueue("wat", {"n": n})
        except RedisUnavailable:
            return False
        return True

    await until(once)


async def all_run_once(
    bench: Bench, confirm: Callable[[], None], fail: Callable[[WorkerPool[Any]], Awaitable[None]]
) -> None:
    """Run 60 jobs, with a failover while ten of them run: each runs once, and the workers go on within a minute of it.

    :param confirm: returns when a replica has everything.
    :param fail: has the failover begin.
    """
    pool = bench.pool(**PATIENT)
    gate = Gate(pool)
    async with pool.running():
        await bench.enqueuer.enqueue_many([("wat", {"n": n}) for n in range(60)])
        await until(lambda: len(gate.ran) == 10)
        confirm()
        failed_at = time.monotonic()
        await fail(pool)
        gate.open.set()
        await until(lambda: len(gate.ran) == 60)
        assert time.monotonic() - failed_at < LIMIT / 2
        await accepted(bench.enqueuer, 60)
        await pool.drain()
    assert gate.ran == Counter(range(61))
