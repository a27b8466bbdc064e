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
NAMES = ("tracked", "tracked_threaded", "expiring", "emitting", "stepping", "waiting", *TIMING_OUT)
# The chunks of those that emit.
CHUNKS = 3
# The steps of those that take some.
STEPS = 4
# Seconds for which those sleep that wait, the name of their event, and seconds for which they wait for it.
PAUSE, EVENT, EVENT_TIMEOUT = 1.5, "go on", 300.0
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
    has_two = False
    for n in range(STEPS):
        has_two |= _differs(job, f"step {n}", await job.step(f"step {n}", draw))
        if n == 1 and not job.fails:
            raise ValueError("not yet")
    return "a step has two results" if has_two else answer(number)


async def waiting(job: Job, number: int) -> str:
    """Takes steps beside each other, sleeps, and waits for an event that brings what its number says."""
    names = ("first", "beside")
    results = await asyncio.gather(*(job.step(name, draw, retries=1) for name in names))
    seen = [_differs(job, name, result) for name, result in zip(names, results, strict=True)]
    await job.sleep("pause", PAUSE)
    sent = await job.event(EVENT, str, timeout=EVENT_TIMEOUT)
    seen.append(_differs(job, EVENT, sent))
    seen.append(_differs(job, "last", await job.step("last", draw)))
    if sent != answer(number):
        return f"the event of another job: {sent}"
    return "a step has two results" if any(seen) else answer(number)


def _differs(job: Job, name: str, result: str) -> bool:
    """Write down what an attempt sees of a step; return whether any has seen something else."""
    seen = Path(os.environ["CHAOS_RECORD"], "steps")
    seen.mkdir(exist_ok=True)
    file = seen / f"{job.id} {name}"
    with file.open("a") as notes:
        notes.write(f"{result}\n")
    return len(set(file.read_text().splitlines())) > 1


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
    pool.job(result=_KEPT)(waiting)
    for handler in (timing_out, timing_out_threaded):
        pool.job(result=_KEPT, timeout=TIMEOUT, max_fails=1)(handler)
