"""A worker in a process of its own, which writes to a file what its jobs do, and what tests do to it."""

from __future__ import annotations

import asyncio
import ctypes
import logging
import os
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from asyncwork import Job, Rate, WorkerPool

from .forked import fork
from .tuned import tuned

CAP = 2
RATE = Rate(100, per=1, burst=8)
# Seconds that a process may take to stop.
_TIMEOUT = 120


class Child:
    """A running process.

    :param log: what its jobs do; may be shared by several.
    :param times: what is not as it comes; see :func:`tests.tuned.tuned`.
    """

    def __init__(self, url: str, namespace: str, log: Path, concurrency: int = 10, **times: float) -> None:
        self._log = log
        self._errors = log.with_name(f"{log.name}-errors-{time.monotonic_ns()}")
        with self._errors.open("w") as stderr:
            given = [f"{name}={value}" for name, value in times.items()]
            self._process = fork(
                *("tests.child", url, namespace, str(log), str(concurrency), *given),
                cwd=Path(__file__).parents[1],
                env=os.environ,
                stderr=stderr.fileno(),
            )
        self.pid = self._process.pid

    @property
    def errors(self) -> str:
        """The lines that it has logged."""
        return self._errors.read_text()

    def events(self, what: str, *, by_itself: bool = False) -> Counter[str]:
        """Return how many times each job did something, ``start`` or ``end``, by name and number; in any process that
        shares the log unless it must be by this one.
        """
        lines = [line.split() for line in self._log.read_text().splitlines()] if self._log.exists() else []
        return Counter(job for did, job, pid in lines if did == what and (not by_itself or int(pid) == self.pid))

    def signal(self, number: int) -> None:
        """Send it a signal."""
        self._process.send_signal(number)

    def end(self) -> int:
        """Have it stop, and wait for that; return its exit code."""
        self.signal(signal.SIGCONT)
        self.signal(signal.SIGTERM)
        return self._process.wait(_TIMEOUT)

    def kill(self) -> None:
        """End it at once."""
        self._process.kill()
        self._process.wait()


@contextmanager
def running(*children: Child) -> Iterator[None]:
    """Leave none of these behind."""
    try:
        yield
    finally:
        for child in children:
            child.kill()


async def serve(
    url: str, namespace: str, log: Path, concurrency: int, times: dict[str, Any], *, has_limit: bool = False
) -> None:
    """Run jobs until SIGTERM.

    :param has_limit: whether there are two job types that share a limit.
    """
    pool = WorkerPool(url, namespace=namespace, concurrency=concurrency, **times)

    def record(what: str, job: Job) -> None:
        with log.open("a") as file:
            file.write(f"{what} {job.name}-{job.arg('n', int)} {os.getpid()}\n")

    async def sleeps(job: Job) -> None:
        record("start", job)
        await asyncio.sleep(job.arg("seconds", float, 0.0))
        record("end", job)

    for name in ("held", "other"):
        pool.job(name)(sleeps)
    pool.job("capped", max_concurrency=CAP)(sleeps)
    pool.job("rated", rate=RATE)(sleeps)
    if has_limit:
        limit = pool.limit("shared", rate=RATE, concurrency=CAP)
        pool.job("shared_a", limits=[limit])(sleeps)
        pool.job("shared_b", limits=[limit])(sleeps)

    @pool.job
    async def blocks(job: Job) -> None:
        record("start", job)
        if job.arg("holding_gil", bool, False):
            # As C code does that does not let go of it: no other thread runs meanwhile.
            ctypes.PyDLL(None).usleep(int(job.arg("seconds", float) * 1e6))
        else:
            time.sleep(job.arg("seconds", float))  # noqa: ASYNC251 - that is the point
        record("end", job)
        if job.arg("failing", bool, False):
            raise ValueError("sorry")

    @pool.job
    async def fails(job: Job) -> None:
        await sleeps(job)
        raise ValueError("sorry")

    stopped = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
    async with pool.running():
        with log.open("a") as file:
            file.write(f"ready pool {os.getpid()}\n")
        await stopped.wait()


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s")
    given = {name: float(value) for name, value in (each.split("=") for each in sys.argv[5:])}
    has_limit = bool(given.pop("has_limit", 0))
    log = Path(sys.argv[3])
    asyncio.run(serve(sys.argv[1], sys.argv[2], log, int(sys.argv[4]), tuned(**given), has_limit=has_limit))
