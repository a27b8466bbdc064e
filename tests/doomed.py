"""A process that a test kills: its jobs do what their argument says, and write down that they did. Its hooks write down
that they were called, and raise.
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from asyncwork import Discard, Job, Rate, RateLimited, Snooze, WorkerPool
from asyncwork.worker_pool import NoContext

from .looking_ahead import look_ahead
from .tuned import tuned

# The name of those that take steps. Others with the same name would end as those do.
STEPPED = "stepped"
# The name of those that take tokens, and for which pops wait.
LIMITED = "limited"
# By job name, how many may run at once.
QUEUES = {"task": 0, "single": 1, "held": 0, STEPPED: 0, LIMITED: 0}
# The name of those that run in chunks, and the number of queues on which a pool blocks.
CHUNKED = "chunked"
POPS = len(QUEUES) + 1
# The name of those that take tokens. One of them has its queue rest.
RATED = "rated"
# The name of those that take tokens and run in chunks. There are none if the queues are not fair.
RATED_CHUNKS = "rated_chunks"
# Seconds beyond which a sleep has not just been over.
_SLEPT_HERE = 0.1
# The name of those whose ends are kept, and for how many seconds.
KEPT, KEPT_FOR = "single", 1000
# So far away that no test sees it, seconds.
FAR = 1000
# An instance of it is planned, and none is due.
YEARLY = "0 0 0 1 1 *"

_TIMES = tuned(
    heartbeat=0.1,
    dead_after=0.2,
    reap=0.1,
    observe=0.03,
    poll=0.2,
    reconcile=0.2,
    count=0.2,
    horizon=366 * 86_400.0,
)


class Diary:
    """The jobs that ran: a file, so that it survives the process."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def write(self, event: str, job: str) -> None:
        """Write down, in one write of its own, that a job ``began`` or ``ended``, or that a hook for a ``failure`` or
        ``death`` was called for it.
        """
        file = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        try:
            os.write(file, f"{event} {job}\n".encode())
        finally:
            os.close(file)

    def read(self, event: str) -> Counter[str]:
        """Return how often that happened to each job."""
        lines = self._path.read_text().splitlines() if self._path.exists() else []
        return Counter(line.removeprefix(f"{event} ") for line in lines if line.startswith(f"{event} "))


def make_pool(url: str, namespace: str, diary: Diary, *, doomed: bool, fair: bool = False) -> WorkerPool[NoContext]:
    """The pool that is killed, and, not ``doomed``, the one that clears up after it.

    :param fair: whether each job belongs to a tenant, and the tenants take turns.
    """
    partition: dict[str, Any] = {"partition": "does"} if fair else {}
    tenants: dict[str, Any] = {**partition, "partition_concurrency": 2} if fair else {}
    slow: dict[str, Any] = {"partition_rate": Rate(20, burst=1)} if fair else {}
    blocked = len(QUEUES) if doomed else 0
    pool = WorkerPool(
        url,
        namespace=namespace,
        concurrency=len(QUEUES) + 1,
        grace=0.1,
        version_label="v1",
        **tuned(_TIMES, max_blocking_connections=blocked),
    )

    async def act(job: Job, does: str) -> None:
        diary.write("began", does)
        if does == "checks in":
            job.checkin("here")
            await asyncio.sleep(0.1)
        if job.name == KEPT:
            await job.emit(does)
        if does == "takes steps":
            await take_steps(job)
        if does == "lasts" and doomed:
            await asyncio.sleep(FAR)
        diary.write("ended", does)
        match does:
            case "fails" | "dies" | "member dies":
                raise ValueError(does)
            case "snoozes":
                raise Snooze(FAR)
            case "rests" if doomed:
                raise RateLimited(FAR)
            case "discards" | "member discards":
                raise Discard(does)

    async def take_steps(job: Job) -> None:
        await job.step("first", diary.write, "step", "first")
        async for n in job.cursor("rows", lambda last: [(row, row) for row in (1, 2, 3) if row > (last or 0)]):
            diary.write("row", str(n))
            if n == 3:
                break
        # Too long to wait for it here.
        began = time.monotonic()
        await job.sleep("pause", 3)
        if time.monotonic() - began > _SLEPT_HERE:
            # On a slow machine, it was recorded so late that the rest was waited for here.
            diary.write("row", "3")
        await job.step("second", diary.write, "step", "second")

    @pool.on_failure
    async def note_failure(job: Job, error: BaseException) -> None:
        diary.write("failure", job.arg("does", str))
        raise error

    @pool.on_dead
    def note_death(job: Job, error: BaseException) -> None:
        diary.write("death", job.arg("does", str))
        raise SystemExit(3)

    for name, cap in QUEUES.items():
        kept = KEPT_FOR if name == KEPT else None
        pool.job(
            name,
            max_fails=2,
            max_crashes=4,
            max_concurrency=cap,
            backoff=lambda job: FAR,
            result=kept,
            stream=kept,
            rate=Rate(1000) if name == LIMITED else None,
            **tenants,
        )(act)

    @pool.job(CHUNKED, chunk=3, wait=0.1, max_fails=2, max_crashes=4, backoff=lambda job: FAR, **partition)
    async def act_on_all(jobs: list[Job]) -> dict[str, Exception]:
        failed: dict[str, Exception] = {}
        for job in jobs:
            try:
                await act(job, job.arg("does", str))
            except ValueError as error:
                failed[job.id] = error
        return failed

    if fair:
        pool.job(RATED_CHUNKS, chunk=3, wait=0.1, max_crashes=4, rate=Rate(1000), **partition)(act_on_all)
    pool.job(RATED, rate=Rate(1000), backoff=lambda job: FAR, **tenants, **slow)(act)
    pool.periodically(YEARLY, "task", {"does": "happens yearly"})
    return pool


def live(url: str, namespace: str, diary: Path, fair: bool = False) -> None:
    """Be that process: run jobs until SIGTERM, or SIGKILL."""
    asyncio.run(_live(url, namespace, Diary(diary), fair=fair))


async def _live(url: str, namespace: str, diary: Diary, *, fair: bool) -> None:
    pool = make_pool(url, namespace, diary, doomed=True, fair=fair)
    look_ahead(pytest.MonkeyPatch(), 3)

    def stop() -> None:
        pool.stop_soon()
        diary.write("stopping", "pool")  # by now it takes nothing more

    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop)
    await pool.start()
    await pool.wait()
