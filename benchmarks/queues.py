"""Measure what idle queues cost: ``python -m benchmarks.queues``, with ``--quick`` for fewer names.

A pool with many job names is idle. The report lists how long it takes to start, and what it costs then: commands and
CPU of Redis, and CPU of the pool's process. Another process pushes jobs with a bare LPUSH, as Go programs do: some one
by one on queues at random, and then one on each of many queues at once.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

from redis.asyncio import Redis

from asyncwork._jobs.payload import write_payload
from asyncwork._redis.keys import Keys
from asyncwork.embedded import EmbeddedRedis

from . import machine
from .table import spread, table

NAMESPACE = "queues"
KEYS = Keys(NAMESPACE)
# Seconds for which the idle pool is watched, and before, until it has settled.
_WATCHED, _SETTLED = 10.0, 3.0
# Jobs pushed one by one, and the seconds between two.
_PROBES, _EACH = 60, 0.15

# Numbers of names and workers.
_POOLS, _QUICK = ((10, 4), (100, 10), (1000, 10), (5000, 10), (5000, 100)), ((10, 4), (200, 10))

# Prints the time when it begins to start, and when each job runs, by the clock that all processes share.
POOL = """
import asyncio, sys, time
from asyncwork import WorkerPool

url, namespace, names, workers = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])

def report():
    print(time.perf_counter(), flush=True)

async def runs():
    report()

async def main():
    report()
    pool = WorkerPool(url, namespace=namespace, concurrency=workers)
    for number in range(names):
        pool.job(f"job{number}")(runs)
    async with pool.running():
        await asyncio.sleep(3600)

asyncio.run(main())
"""


def payload(name: int) -> bytes:
    """Return a job without arguments."""
    return write_payload(f"job{name}", f"{random.getrandbits(96):024x}", 1, b"null")


class IdlePool:
    """A pool in a process of its own.

    :param names: number of job names.
    """

    def __init__(self, redis: Any, process: asyncio.subprocess.Process, names: int) -> None:
        self.names = names
        self._redis = redis
        self._process = process

    async def report(self) -> float:
        """Return when the pool started, or when the next job runs."""
        assert self._process.stdout is not None
        async with asyncio.timeout(120):
            return float(await self._process.stdout.readline())

    async def push(self, names: Sequence[int]) -> float:
        """Push one job of each name; return when."""
        async with self._redis.pipeline(transaction=False) as pipe:
            for name in names:
                pipe.lpush(KEYS.queue(f"job{name}"), payload(name))
            began = time.perf_counter()
            await pipe.execute()
        return began

    async def use(self) -> tuple[int, float, float, int]:
        """Return the commands, CPU seconds and bytes received of Redis, and the CPU seconds of the pool's process."""
        stats: dict[str, Any] = await self._redis.info("all")
        commands = sum(each["calls"] for name, each in stats.items() if name.startswith("cmdstat_"))
        redis_cpu = float(stats["used_cpu_user"]) + float(stats["used_cpu_sys"])
        return commands, redis_cpu, cpu_of(self._process.pid), int(stats["total_net_input_bytes"])

    async def idle(self, seconds: float) -> list[str]:
        """Watch the idle pool; return cells of the table."""
        before, began = await self.use(), time.perf_counter()
        await asyncio.sleep(seconds)
        after, took = await self.use(), time.perf_counter() - began
        commands, redis_cpu, cpu, received = ((b - a) / took for a, b in zip(before, after, strict=True))
        return [f"{commands:,.0f}", f"{received / 1000:,.0f}", f"{redis_cpu:.1%}", f"{cpu:.1%}"]

    async def latencies(self, jobs: int) -> str:
        """Push jobs one by one on queues at random; return the cell of the table."""
        waited = []
        for _ in range(jobs):
            await asyncio.sleep(_EACH * random.uniform(0.5, 1.5))
            pushed = await self.push([random.randrange(self.names)])
            waited.append((await self.report() - pushed) * 1000)
        return spread(waited, "{:.1f}".format)

    async def drain(self, jobs: int) -> str:
        """Push jobs on as many queues at once; return the cell of the table."""
        if jobs > self.names:
            return ""
        pushed = await self.push(random.sample(range(self.names), jobs))
        return f"{max([await self.report() for _ in range(jobs)]) - pushed:.2f}"


def cpu_of(pid: int) -> float:
    """Return the CPU seconds of a process (Linux)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@asynccontextmanager
async def pool_of(url: str, names: int, workers: int) -> AsyncIterator[IdlePool]:
    """Start a pool, and kill it."""
    redis: Any = Redis.from_url(url, protocol=2)
    arguments = (sys.executable, "-c", POOL, url, NAMESPACE, str(names), str(workers))
    process = await asyncio.create_subprocess_exec(*arguments, stdout=asyncio.subprocess.PIPE)
    try:
        yield IdlePool(redis, process, names)
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()
        await redis.flushall()
        await redis.aclose()


async def measure(url: str, names: int, workers: int, *, quick: bool) -> list[str]:
    """Measure one pool; return a row of the table."""
    async with pool_of(url, names, workers) as pool:
        await pool.push([names - 1])
        began = await pool.report()
        started = await pool.report() - began
        await asyncio.sleep(_SETTLED)
        idle = await pool.idle(_WATCHED / 10 if quick else _WATCHED)
        latencies = await pool.latencies(5 if quick else _PROBES)
        drains = [await pool.drain(jobs) for jobs in (1000, 5000)]
    return [f"{names:,}", f"{workers}", f"{started:.2f}", *idle, latencies, *drains]


def main() -> int:
    """Measure, print the report, and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.queues", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="10 and 200 names, a second each")
    quick = parser.parse_args().quick
    print(f"load of the machine: {machine.load():.2f}", flush=True)
    rows = []
    with tempfile.TemporaryDirectory() as directory, EmbeddedRedis(Path(directory), appendonly=False, port=0) as redis:
        for names, workers in (
            ((10, 4), (200, 10)) if quick else ((10, 4), (100, 10), (1000, 10), (5000, 10), (5000, 100))
        ):
            rows.append(asyncio.run(measure(redis.url, names, workers, quick=quick)))
            print(rows[-1], file=sys.stderr)
    idle = ["commands/s", "kB/s", "CPU of Redis", "CPU of the pool"]
    jobs = ["ms until a job runs, median (least-most)", "1,000 jobs, s", "5,000 jobs, s"]
    print(table(["names", "workers", "first job, s", *idle, *jobs], rows))
    print(f"load of the machine: {machine.load():.2f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
