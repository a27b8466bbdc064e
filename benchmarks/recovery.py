"""Measure how fast a fleet recovers: ``python -m benchmarks.recovery``, with ``--quick`` for a tenth of the size.

A process is killed in the middle of 10,000 jobs. 1,000,000 scheduled jobs become due at once. Redis is stopped and
started again. All periods have their defaults. The report lists the recovery time, how long other jobs waited
meanwhile, and the longest command of Redis.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

from redis.asyncio import Redis

from asyncwork import Enqueuer, WorkerPool
from asyncwork._jobs.payload import write_payload
from asyncwork._redis.keys import Keys
from asyncwork.embedded import EmbeddedRedis

from . import machine
from .table import spread, table

NAMESPACE = "recovery"
KEYS = Keys(NAMESPACE)
RESTARTS = 10
# Redis logs commands that take at least this many microseconds.
_SLOW = 500
# Seconds between two probe jobs.
_EACH = 0.05

VICTIM = """
import asyncio, sys
from asyncwork import WorkerPool

pool = WorkerPool(sys.argv[1], namespace=sys.argv[2], concurrency=int(sys.argv[3]))

@pool.job
async def held():
    await asyncio.sleep(3600)

async def main():
    async with pool.running():
        await asyncio.sleep(3600)

asyncio.run(main())
"""


class Probe:
    """A running pool, and the waiting times of probe jobs that are enqueued one after the other."""

    def __init__(self, url: str) -> None:
        self.redis: Any = Redis.from_url(url, protocol=2)
        self.pool = WorkerPool(url, namespace=NAMESPACE, concurrency=20)
        self.waited: list[float] = []
        self._enqueuer = Enqueuer(url, namespace=NAMESPACE)
        self.pool.job("probe")(self._arrives)
        self.pool.job("due")(self._runs)

    async def _arrives(self, at: float) -> None:
        self.waited.append((time.perf_counter() - at) * 1000)

    async def _runs(self) -> None: ...

    async def _probe(self) -> None:
        while True:
            await self._enqueuer.enqueue("probe", {"at": time.perf_counter()})
            await asyncio.sleep(_EACH)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Run the pool and enqueue probe jobs. Redis's slow log starts here."""
        await self.redis.config_set("slowlog-log-slower-than", _SLOW)
        await self.redis.config_set("slowlog-max-len", 100_000)
        async with self.pool.running():
            await self.redis.slowlog_reset()
            probing = asyncio.create_task(self._probe())
            try:
                yield
            finally:
                probing.cancel()

    async def close(self) -> list[str]:
        """Close the connections; return the waiting times, and the longest command, as cells of the table."""
        entries = await self.redis.slowlog_get(100_000)
        slowest = max(entries, key=lambda entry: entry["duration"], default={"duration": 0, "command": b""})
        await self._enqueuer.close()
        await self.redis.aclose()
        waits = sorted(self.waited)
        return [
            f"{statistics.median(waits):.1f}",
            f"{waits[int(len(waits) * 0.99)]:.1f}",
            f"{slowest['duration'] / 1000:.1f} {slowest['command'].split()[0].decode()}".strip(),
        ]


async def until(condition: Callable[[], Any]) -> None:
    """Wait until a condition holds."""
    while True:
        answer = condition()
        if await answer if asyncio.iscoroutine(answer) else answer:
            return
        await asyncio.sleep(0.01)


async def crash(url: str, jobs: int) -> list[str]:
    """Kill a process while it runs this number of jobs; return a row of the table."""
    probe = Probe(url)
    await probe.redis.sadd(KEYS.known_jobs, "held")
    payloads = [write_payload("held", f"{number:024x}", 1, b"null") for number in range(jobs)]
    for start in range(0, jobs, 1000):
        await probe.redis.lpush(KEYS.queue("held"), *payloads[start : start + 1000])

    async def waiting(count: int) -> bool:
        return bool(await probe.redis.llen(KEYS.queue("held")) == count)

    victim = await asyncio.create_subprocess_exec(sys.executable, "-c", VICTIM, url, NAMESPACE, str(jobs))
    try:
        await until(lambda: waiting(0))
        await asyncio.sleep(1)
        async with probe.running():
            await asyncio.sleep(3)
            victim.kill()
            began = time.perf_counter()
            await until(lambda: waiting(jobs))
            took = time.perf_counter() - began
    finally:
        with suppress(ProcessLookupError):
            victim.kill()
        await victim.wait()
    assert list(reversed(await probe.redis.lrange(KEYS.queue("held"), 0, -1))) == payloads
    await probe.redis.unlink(KEYS.queue("held"), KEYS.crashes)
    return [f"{jobs:,} jobs of a killed process, back in order", f"{took:.1f}", *await probe.close()]


async def due(url: str, jobs: int) -> list[str]:
    """Make this number of scheduled jobs due at once; return a row of the table."""
    probe = Probe(url)
    for start in range(0, jobs, 1000):
        numbers = range(start, start + 1000)
        await probe.redis.zadd(KEYS.scheduled, {write_payload("due", f"{n:024x}", 1, b"null"): 1 for n in numbers})
    async with probe.running():
        began = time.perf_counter()
        await until(lambda: _is_empty(probe.redis))
        took = time.perf_counter() - began
    await probe.redis.unlink(KEYS.queue("due"))
    return [f"{jobs:,} jobs due at once, put on their queue", f"{took:.1f}", *await probe.close()]


async def _is_empty(redis: Any) -> bool:
    return not await redis.zcard(KEYS.scheduled)


async def restarts(server: EmbeddedRedis, *, busy: bool) -> list[str]:
    """Restart Redis repeatedly; return a row of the table."""
    ran: list[float] = []
    pool = WorkerPool(server.url, namespace=NAMESPACE, concurrency=20)

    @pool.job
    async def steady(seconds: float) -> None:
        ran.append(time.perf_counter())
        await asyncio.sleep(seconds)

    took = []
    async with pool.running():
        for _ in range(RESTARTS):
            redis: Any = Redis.from_url(server.url, protocol=2)
            jobs = [write_payload("steady", "1", 1, b'{"seconds":0.01}') for _ in range(20_000 if busy else 0)]
            if busy:
                await redis.lpush(KEYS.queue("steady"), *jobs)
            await asyncio.sleep(1)
            await redis.aclose()
            await asyncio.to_thread(server.stop)
            await asyncio.sleep(4)
            ran.clear()
            await asyncio.to_thread(server.start)
            back = time.perf_counter()
            redis = Redis.from_url(server.url, protocol=2)
            if not busy:
                await redis.lpush(KEYS.queue("steady"), write_payload("steady", "1", 1, b'{"seconds":0}'))
            await until(lambda: ran)
            took.append(ran[0] - back)
            await redis.delete(KEYS.queue("steady"))
            await redis.aclose()
    state = "busy" if busy else "idle"
    return [f"Redis back after 4 s, {state} pool", spread(took, "{:.2f}".format)]


def main() -> int:
    """Measure, print the report, and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.recovery", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="1,000 and 100,000 jobs")
    share = 10 if parser.parse_args().quick else 1
    # The outages of Redis are intended, and need no log lines.
    logging.getLogger("asyncwork").setLevel(logging.CRITICAL)
    rows = []
    with tempfile.TemporaryDirectory() as directory, EmbeddedRedis(Path(directory), appendonly=False) as redis:
        print(f"load of the machine: {machine.load():.2f}")
        rows.append(asyncio.run(crash(redis.url, 10_000 // share)))
        rows.append(asyncio.run(due(redis.url, 1_000_000 // share)))
    print(table(["", "s", "others waited, ms: median", "p99", "longest command, ms"], rows), end="\n\n")
    with tempfile.TemporaryDirectory() as directory, EmbeddedRedis(Path(directory)) as redis:
        pools = [asyncio.run(restarts(redis, busy=busy)) for busy in (True, False)]
    print(table(["", "s until a job ran, median (least-most)"], pools))
    print(f"load of the machine: {machine.load():.2f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
