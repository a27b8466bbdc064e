"""The application whose worker processes the faults strike: ``asyncwork run tests.chaos.app:make_pool``."""

from __future__ import annotations

import asyncio
import atexit
import json
import os
import random
import signal
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from asyncwork import CallNext, Job, Rate, RateLimited, Snooze, Unique, WorkerPool
from asyncwork._redis import recovery
from asyncwork.worker_pool import NoContext

from ..hostile import BACKOFFS, LEAVING, RAISED, give_backoff
from ..hostile import CANCELLED as CANCELLING
from ..looking_ahead import look_ahead
from ..tuned import tuned
from .changing import ADDED, BEATING, EACH_SECOND
from .flows import passing
from .record import ON_DEAD, ON_FAILURE, Recorder
from .steered import STEERED_KINDS, register

# Seconds by which the clock of this process is wrong, one after the other at each SIGUSR1.
JUMPS = (3600.0, 0.0, -3600.0, 0.0)

CONCURRENCY = 8
CAP = 2
# The jobs of one call of those that run in chunks.
CHUNK = 5
# The tenants of fair jobs; of each, as many may run at once.
TENANTS = 3
RATE = Rate(20, per=1, burst=3)
DOOMED_FAILS = 2
# The jobs that never end well.
DOOMED = frozenset({"doomed", "raising", "raising_threaded", "cancelling", "backing_off"})
_CANCELLING = {act.__name__: act for act in CANCELLING}
_LEAVING = {act.__name__: act for act in LEAVING}
# What the hostile jobs do, by name: each kind is an argument.
HOSTILE: dict[str, tuple[str, ...]] = {
    "raising": tuple(RAISED),
    "raising_threaded": tuple(RAISED),
    "cancelling": tuple(_CANCELLING),
    "leaving": tuple(_LEAVING),
    "backing_off": tuple(BACKOFFS),
    "speaking": ("surrogate",),
}

# What becomes of a job whose slot another one holds until it has ended, by kind.
EXCLUSIVE = {
    "drop": Unique(by=("slot", "kind"), until="done"),
    "replace": Unique(by=("slot", "kind"), until="success", conflict="replace"),
    "after": Unique(by=("slot", "kind"), until="done", conflict="after"),
}

# How a job is enqueued: by a coroutine, or by a thread that waits.
WAYS = ("awaiting", "blocking")
# The options with which jobs are enqueued that do nothing else; and several in one call of `enqueue_many`.
PLACED = ("front", "id", "delay", "at", "mixed")

# Every kind of job, as the account names them.
KINDS = frozenset(
    {
        "sharing", *(f"typed {way}" for way in WAYS), *(f"placed {option} {way}" for option in PLACED for way in WAYS),
        "chunked", "quick", "slow", "threaded", "flaky", "doomed", "snoozing", "rated", "capped", "fair", "unique",
        "keyed", "passing", "tick", "holding_on", "mustering", BEATING, ADDED, *STEERED_KINDS,
        *(f"exclusive {kind}" for kind in EXCLUSIVE),
        *(f"{name} {kind}" for name, kinds in HOSTILE.items() for kind in kinds),
    }
)  # fmt: skip
# Directories of notes: a file for each job, with the pid of the process that runs it.
HOLDING, SWALLOWED, MUSTERED = "holding", "swallowed", "mustered"

_jumps = 0


def leave_note(kind: str, job: Job) -> Path:
    """Leave a note that a job is here; return the directory of all of that kind."""
    directory = Path(os.environ["CHAOS_RECORD"]) / kind
    directory.mkdir(exist_ok=True)
    (directory / job.id).write_text(str(os.getpid()))
    return directory


def _jump(*_: object) -> None:
    global _jumps
    _jumps += 1


def clock() -> float:
    """The time as this process has it."""
    return time.time() + (JUMPS[(_jumps - 1) % len(JUMPS)] if _jumps else 0.0)


def tenant_of(args: Mapping[str, Any]) -> str:
    """Return the tenant of a fair job."""
    return tenant(args["number"])


def tenant(number: int) -> str:
    """Return the tenant of the fair job with a number."""
    return f"tenant {number % TENANTS}"


async def quick(job: Job) -> None:
    """Ends at once."""


async def placed(job: Job) -> None:
    """Ends at once, wherever it was enqueued."""


@dataclass
class Order:
    """An argument that JSON cannot hold as it is."""

    id: UUID
    due: datetime
    totals: list[Decimal]

    @classmethod
    def of(cls, number: int) -> Order:
        """Return the order with a number: the same in each process."""
        due = datetime(2030, 1, 1, tzinfo=UTC) + timedelta(seconds=number)
        return cls(UUID(int=number), due, [Decimal(number) / 100, Decimal("0.10")])


async def typed(number: int, kind: str, order: Order) -> None:
    """Takes an argument that is made of JSON, and dies if it is not what it was."""
    if order != Order.of(number):
        raise ValueError(f"{order} is not order {number}")


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


async def chunked(jobs: list[Job]) -> dict[str, ValueError]:
    """Ends each of its jobs by itself: some fail as often as they are told to."""
    await asyncio.sleep(0.02)
    return {job.id: ValueError("not yet") for job in jobs if job.fails < job.arg("until", int)}


async def doomed(job: Job) -> None:
    """Never ends well."""
    raise ValueError("never")


async def snoozing(job: Job) -> None:
    """Is put off, now and then."""
    if random.random() < 0.5:
        raise Snooze(1)


async def rated(job: Job) -> None:
    """Starts as its rate allows, and has its queue rest, now and then."""
    if random.random() < 0.2:
        raise RateLimited(1)


async def capped(job: Job) -> None:
    """Runs beside few of its kind."""
    await asyncio.sleep(job.arg("seconds", float))


async def fair(job: Job) -> None:
    """Runs beside few of its tenant."""
    await asyncio.sleep(job.arg("seconds", float))


async def unique(job: Job) -> None:
    """Waits but once for each slot."""
    await asyncio.sleep(0.01)


async def keyed(job: Job) -> None:
    """Waits but once for each slot, with the newest number."""
    await asyncio.sleep(0.01)


async def exclusive(job: Job) -> None:
    """Runs alone of its slot and kind, and fails now and then."""
    await asyncio.sleep(0.03)
    if not job.fails and random.random() < 0.2:
        raise ValueError("once more")


async def tick(job: Job) -> None:
    """Is enqueued each second."""


async def raising(job: Job) -> None:
    """Raises what cannot be told, or what is to end a process."""
    raise RAISED[job.arg("kind", str)]()


def raising_threaded(kind: str) -> None:
    """The same, in a thread."""
    raise RAISED[kind]()


async def cancelling(job: Job) -> None:
    """Is cancelled although nobody stops its pool."""
    await _CANCELLING[job.arg("kind", str)]()


async def leaving(job: Job) -> None:
    """Ends well, and leaves behind what cancels its task, then or later."""
    await _LEAVING[job.arg("kind", str)]()


async def backing_off(job: Job) -> None:
    """Fails, and its backoff too."""
    raise ValueError("sorry")


async def speaking(job: Job) -> None:
    """Tells what cannot be written as UTF-8, and is there long enough to be observed."""
    job.checkin("half an emoji \ud83d")
    await asyncio.sleep(0.3)


async def holding_on(job: Job) -> None:
    """Does not heed a cancellation, and ends well."""
    leave_note(HOLDING, job)
    try:
        await asyncio.sleep(job.arg("seconds", float))
    except asyncio.CancelledError:
        leave_note(SWALLOWED, job)


async def mustering(job: Job) -> None:
    """Waits until all of its kind run at once."""
    present = leave_note(MUSTERED, job)
    # Other processes leave theirs.
    while len(os.listdir(present)) < job.arg("of", int):  # noqa: ASYNC110
        await asyncio.sleep(0.1)


def make_pool() -> WorkerPool[NoContext]:
    """Return the pool, made as the environment says."""
    signal.signal(signal.SIGUSR1, _jump)
    # Python gives its handlers up before its process ends.
    atexit.register(signal.signal, signal.SIGUSR1, signal.SIG_IGN)
    recorder = Recorder(Path(os.environ["CHAOS_RECORD"]))
    times = tuned(**json.loads(os.environ["CHAOS_TIMES"]))
    # Processes end all the time, after which no pool would look ahead.
    recovery._LOOK_AHEAD_PAUSE = 1
    look_ahead(pytest.MonkeyPatch(), CONCURRENCY)

    @asynccontextmanager
    async def resources() -> AsyncIterator[list[str]]:
        shared = ["open"]
        recorder.resources(opened=True)
        try:
            yield shared
        finally:
            shared.clear()
            recorder.resources(opened=False)

    pool = WorkerPool(concurrency=CONCURRENCY, grace=1.0, clock=clock, resources=resources, **times)

    @pool.middleware
    async def record(job: Job, call_next: CallNext) -> object:
        return await recorder.run(job, call_next)

    @pool.on_failure
    async def note_failure(job: Job, error: BaseException) -> None:
        recorder.hook(ON_FAILURE, job, error)
        raise error

    @pool.on_dead
    def note_death(job: Job, error: BaseException) -> None:
        recorder.hook(ON_DEAD, job, error)
        raise random.choice(list(RAISED.values()))()

    @pool.job(max_fails=1)
    async def sharing(job: Job) -> None:
        """Uses the resources, and dies if they are closed."""
        shared = pool.resources
        await asyncio.sleep(0.1)
        if shared != ["open"]:
            raise ValueError("the resources are closed")

    pool.job(max_fails=1)(typed)
    pool.job(max_fails=1)(passing)
    for handler in (quick, placed, slow, threaded, snoozing, unique, keyed, leaving, speaking, holding_on, mustering):
        pool.job(handler)
    for hostile in (raising, raising_threaded, cancelling):
        pool.job(backoff=lambda job: 0, max_fails=DOOMED_FAILS)(hostile)
    pool.job(backoff=lambda job: give_backoff(job.arg("kind", str)), max_fails=DOOMED_FAILS)(backing_off)
    pool.job(backoff=lambda job: 0)(flaky)
    pool.job(backoff=lambda job: 0)(exclusive)
    pool.job(backoff=lambda job: 0, max_fails=DOOMED_FAILS)(doomed)
    pool.job(chunk=CHUNK, wait=0.1, backoff=lambda job: 0)(chunked)
    pool.job(max_concurrency=CAP)(capped)
    pool.job(partition=tenant_of, partition_concurrency=CAP)(fair)
    pool.job(rate=RATE)(rated)
    register(pool)
    pool.job(priority=10)(tick)
    pool.periodically("* * * * * *", "tick")
    for name in (BEATING, ADDED):
        pool.job(name, priority=10)(tick)
    pool.periodically(EACH_SECOND, BEATING)
    return pool
