"""The application whose worker processes the faults strike: ``asyncwork run tests.chaos.app:make_pool``."""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import time
from pathlib import Path

from asyncwork import CallNext, Job, Periods, Snooze, WorkerPool
from asyncwork.worker_pool import NoContext

from .record import Recorder

# Seconds by which the clock of this process is wrong, one after the other at each SIGUSR1.
JUMPS = (3600.0, 0.0, -3600.0, 0.0)

CAP = 2
DOOMED_FAILS = 2

_jumps = 0


def _jump(*_: object) -> None:
    global _jumps
    _jumps += 1


def clock() -> float:
    """The time as this process has it."""
    return time.time() + (JUMPS[(_jumps - 1) % len(JUMPS)] if _jumps else 0.0)


async def quick(job: Job) -> None:
    """Ends at once."""


async def slow(job: Job) -> None:
    """Takes as long as it is told to."""
    job.checkin("on its way")
    await asyncio.sleep(job.arg("seconds", float))


def threaded(seconds: float) -> None:
    """Sleeps in a thread."""
    time.sleep(seconds)


async def flaky(job: Job) -> None:
    """Fails as often as it is told to, then ends well."""
    if job.fails < job.arg("until", int):
        raise ValueError("not yet")


async def doomed(job: Job) -> None:
    """Never ends well."""
    raise ValueError("never")


async def snoozing(job: Job) -> None:
    """Is put off, now and then."""
    if random.random() < 0.5:
        raise Snooze(1)


async def capped(job: Job) -> None:
    """Runs beside few of its kind."""
    await asyncio.sleep(job.arg("seconds", float))


async def unique(job: Job) -> None:
    """Waits but once for each slot."""
    await asyncio.sleep(0.01)


async def keyed(job: Job) -> None:
    """Waits but once for each slot, with the newest number."""
    await asyncio.sleep(0.01)


async def tick(job: Job) -> None:
    """Is enqueued each second."""


def make_pool() -> WorkerPool[NoContext]:
    """Return the pool, made as the environment says."""
    signal.signal(signal.SIGUSR1, _jump)
    recorder = Recorder(Path(os.environ["CHAOS_RECORD"]))
    periods = Periods(**json.loads(os.environ["CHAOS_PERIODS"]))
    pool = WorkerPool(concurrency=8, grace=1.0, clock=clock, periods=periods)

    @pool.middleware
    async def record(job: Job, call_next: CallNext) -> object:
        with recorder.running(job):
            return await call_next()

    for handler in (quick, slow, threaded, snoozing, unique, keyed):
        pool.job(handler)
    pool.job(backoff=lambda job: 0)(flaky)
    pool.job(backoff=lambda job: 0, max_fails=DOOMED_FAILS)(doomed)
    pool.job(max_concurrency=CAP)(capped)
    pool.job(priority=10)(tick)
    pool.periodically("* * * * * *", "tick")
    return pool
