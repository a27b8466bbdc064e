"""Measures what members of a batch cost beside plain jobs: ``python -m benchmarks.batch_cost``.

Both are enqueued and run by one pool, on a Redis of its own, in turn, because the speed of a machine changes from
moment to moment. The clock stops when the callback of the batch runs, or the last of the plain jobs.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import time
from pathlib import Path
from statistics import median

from asyncwork import WorkerPool
from asyncwork.embedded import EmbeddedRedis

_ROUNDS, _QUICK_ROUNDS = 7, 1
_JOBS, _QUICK_JOBS = 100_000, 2_000


class Runs:
    """A pool that runs nothing but no-op jobs.

    :param jobs: how many of them each round has.
    """

    def __init__(self, url: str, jobs: int) -> None:
        self._pool = pool = WorkerPool(url, namespace="bench", concurrency=100)
        self._jobs = jobs
        self._over = asyncio.Event()
        self._left = 0

        @pool.job
        async def plain() -> None:
            self._left -= 1
            if not self._left:
                self._over.set()

        @pool.job
        async def member() -> None: ...

        @pool.job
        async def called() -> None:
            self._over.set()

        self._called = called

    async def measure(self, rounds: int) -> tuple[list[float], list[float]]:
        """Return the jobs per second of each round: of plain jobs, and of members."""
        plain, members = [], []
        async with self._pool.running():
            for _ in range(rounds):
                plain.append(await self._plain())
                members.append(await self._members())
        return plain, members

    async def _plain(self) -> float:
        self._over.clear()
        self._left, started = self._jobs, time.perf_counter()
        await self._pool.enqueuer.enqueue_many([("plain", None)] * self._jobs)
        await self._over.wait()
        return self._jobs / (time.perf_counter() - started)

    async def _members(self) -> float:
        self._over.clear()
        started = time.perf_counter()
        async with self._pool.batch(on_success=self._called.call()) as batch:
            await batch.add_many("member", [None] * self._jobs)
        await self._over.wait()
        return self._jobs / (time.perf_counter() - started)


def main() -> None:
    """Measure, and print the medians."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.batch_cost", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one short round")
    options = parser.parse_args()
    rounds, jobs = (_QUICK_ROUNDS, _QUICK_JOBS) if options.quick else (_ROUNDS, _JOBS)
    with tempfile.TemporaryDirectory() as directory, EmbeddedRedis(Path(directory), appendonly=False) as server:
        plain, members = asyncio.run(Runs(server.url, jobs).measure(rounds))
    ratio = median(one / other for one, other in zip(plain, members, strict=True))
    print(f"plain jobs: {median(plain):,.0f} a second; members: {median(members):,.0f} a second")
    print(f"a member takes {ratio:.2f} times as long as a plain job (median of {rounds} pairs)")


if __name__ == "__main__":
    main()
