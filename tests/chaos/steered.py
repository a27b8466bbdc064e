"""The jobs whose results are kept, and that are cancelled, expire or time out while they wait or run."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from secrets import token_hex
from typing import Any

from asyncwork import Job, WorkerPool

# Seconds for which results and streams are kept: longer than any run.
_KEPT = 36_000
# Seconds after which those that time out do.
TIMEOUT = 0.3
# Seconds: to end what nothing else has ended.
_LONG = 60.0

# What those do that are tracked: end at once, last, are due later, or fail at first and wait for their retry.
TRACKED = ("at once", "lasting", "scheduled", "retried")
TIMING_OUT = ("timing_out", "timing_out_threaded")
NAMES = ("tracked", "tracked_threaded", "expiring", "emitting", "stepping", *TIMING_OUT)
# The chunks of those that emit.
CHUNKS = 3
# The steps of those that take some.
STEPS = 4
# As the account names them.
STEERED_KINDS = frozenset({*(f"tracked {kind}" for kind in TRACKED), *NAMES} - {"tracked"})


def is_steered(name: str) -> bool:
    """Tell whether the results of a type are kept."""
    return name in NAMES


def answer(number: int) -> str:
    """Return what the job with a number returns."""
    return f"{number} was here"


async def tracked(job: Job, number: int, kind: str, seconds: float = 0.0) -> str:
    """Returns what its number says; fails at first if it is to be retried."""
    if kind == "retried" and not job.fails:
        raise ValueError("not yet")
    if seconds:
        await asyncio.sleep(seconds)
    return answer(number)


def tracked_threaded(job: Job, number: int, seconds: float) -> str:
    """Does the same in a thread, and ends itself when it is to."""
    if job.cancelled.wait(seconds):
        raise RuntimeError("was told to end")
    return answer(number)


async def expiring(number: int) -> str:
    """Returns what its number says, unless it has come too late."""
    return answer(number)


async def emitting(job: Job, number: int) -> str:
    """Emits chunks while it runs."""
    for chunk in range(CHUNKS):
        await job.emit(chunk)
        await asyncio.sleep(0.02)
    return answer(number)


async def stepping(job: Job, number: int) -> str:
    """Takes steps, and fails between them at first. No attempt may see another result of a step than any before."""
    seen = Path(os.environ["CHAOS_RECORD"], "steps")
    seen.mkdir(exist_ok=True)
    has_two = False
    for n in range(STEPS):
        result = await job.step(f"step {n}", draw)
        file = seen / f"{job.id} {n}"
        with file.open("a") as notes:
            notes.write(f"{result}\n")
        has_two |= len(set(file.read_text().split())) > 1
        if n == 1 and not job.fails:
            raise ValueError("not yet")
    return "a step has two results" if has_two else answer(number)


async def draw() -> str:
    """Returns what no other call does."""
    await asyncio.sleep(0.02)
    return token_hex(8)


async def timing_out(number: int) -> str:
    """Takes too long."""
    await asyncio.sleep(_LONG)
    return answer(number)


def timing_out_threaded(job: Job, number: int) -> str:
    """Takes too long in a thread, and ends itself when it is to."""
    job.cancelled.wait(_LONG)
    raise RuntimeError("was told to end")


def register(pool: WorkerPool[Any]) -> None:
    """Register all of them with a pool."""
    pool.job(result=_KEPT, backoff=lambda job: 2)(tracked)
    pool.job(result=_KEPT)(tracked_threaded)
    pool.job(result=_KEPT)(expiring)
    pool.job(result=_KEPT, stream=_KEPT)(emitting)
    pool.job(result=_KEPT, backoff=lambda job: 1)(stepping)
    for handler in (timing_out, timing_out_threaded):
        pool.job(result=_KEPT, timeout=TIMEOUT, max_fails=1)(handler)
