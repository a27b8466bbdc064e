"""Programs that enqueue while things go wrong, and know which of their jobs Redis has confirmed."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import product
from typing import Any

from asyncwork import (
    EnqueuedJob,
    EnqueueManyError,
    EnqueueOptions,
    Enqueuer,
    JobCall,
    RedisUnavailable,
    WorkerPool,
    sync,
)
from asyncwork._jobs.enqueue_options import AT_ONCE

from .app import EXCLUSIVE, HOSTILE, PLACED, WAYS, Order, tenant, typed
from .flows import PlannedFlow, plan_flow

SLOTS = 5
_HOSTILE = [(name, kind) for name, kinds in HOSTILE.items() for kind in kinds]
# Makes JSON of its arguments, and never runs.
_TYPED = WorkerPool().job(typed)


@dataclass(slots=True)
class PoolMetrics:
    """What was enqueued, or may have been.

    :ivar confirmed: the name of each job of which a producer was told that it is enqueued, by its id.
    :ivar sent: the name of each job that a producer ever tried to enqueue, by the number that it was given.
    :ivar keyed: the newest number that was accepted for each slot, and when, in seconds of the monotonic clock.
    :ivar entries: how many unique jobs were put on a queue for each slot, or may have been: duplicates are not.
    :ivar replacing: the numbers that were accepted in the place of a job that waited.
    :ivar flows: the flows of which a producer was told that they are started.
    :ivar doubtful: the numbers whose enqueue had no answer, or was refused.
    """

    confirmed: dict[str, str] = field(default_factory=dict)
    sent: dict[int, str] = field(default_factory=dict)
    keyed: dict[str, tuple[int, float]] = field(default_factory=dict)
    entries: Counter[tuple[str, str]] = field(default_factory=Counter)
    replacing: set[int] = field(default_factory=set)
    doubtful: set[int] = field(default_factory=set)
    flows: list[PlannedFlow] = field(default_factory=list)

    def number(self, name: str) -> int:
        """Return a number for a job that is going to be enqueued."""
        number = len(self.sent) + 1
        self.sent[number] = name
        return number


class Producer:
    """Enqueues jobs of all kinds, one after the other, until told to stop. Before that it gets one of each accepted.

    :param name: tells its slots and ids from those of the other producers.
    :param blocking: is called in threads.
    :param pause: the longest time between two jobs, seconds.
    """

    def __init__(
        self,
        name: str,
        enqueuer: Enqueuer,
        blocking: sync.Enqueuer,
        ledger: PoolMetrics,
        rng: random.Random,
        pause: float,
    ) -> None:
        self._name = name
        self._enqueuer = enqueuer
        self._blocking = blocking
        self._ledger = ledger
        self._rng = rng
        self._pause = pause
        self.stopping = False

    async def run(self) -> None:
        """Enqueue.

        :raises Exception: anything that an enqueue is not meant to raise, whatever is wrong with Redis.
        """
        kinds: list[tuple[int, Callable[[], Awaitable[bool]]]] = [
            (6, lambda: self._one("quick")),
            (2, lambda: self._one("slow", seconds=self._rng.choice((0.02, 0.2, 1.5)))),
            (1, lambda: self._one("threaded", seconds=self._rng.choice((0.01, 0.1)))),
            (2, lambda: self._one("flaky", until=self._rng.choice((1, 2)))),
            (4, lambda: self._one("chunked", until=self._rng.choice((0, 0, 1)))),
            (1, lambda: self._one("doomed")),
            (1, lambda: self._one("snoozing")),
            (2, lambda: self._one("rated")),
            (1, lambda: self._one("sharing")),
            (2, lambda: self._one("capped", seconds=self._rng.choice((0.02, 0.1)))),
            (2, self._fair),
            (3, lambda: self._place(self._rng.choice(PLACED), self._way())),
            (1, lambda: self._typed(self._way())),
            (2, self._unique),
            (2, self._keyed),
            (3, lambda: self._exclusive(self._rng.choice(list(EXCLUSIVE)))),
            (1, self._many),
            (2, self._batch),
            (3, self._flow),
            (3, self._hostile),
        ]
        weights, acts = zip(*kinds, strict=True)
        once = [
            *acts,
            self._replace,
            *(partial(self._one, name, kind=kind) for name, kind in _HOSTILE),
            *(partial(self._place, option, way) for option, way in product(PLACED, WAYS)),
            *(partial(self._typed, way) for way in WAYS),
            *(partial(self._exclusive, kind) for kind in EXCLUSIVE),
        ]
        self._rng.shuffle(once)
        while once or not self.stopping:
            # Those that are to be accepted once come between the others.
            if once and (self.stopping or self._rng.random() < 0.5):
                if await once[-1]():
                    once.pop()
            else:
                (act,) = self._rng.choices(acts, weights)
                await act()
            await asyncio.sleep(self._rng.random() * self._pause)

    async def _batch(self) -> bool:
        """Create a batch, whose callback runs when all of its members have."""
        numbers = [self._ledger.number("quick") for _ in range(self._rng.choice((2, 5)))]
        batch = self._enqueuer.batch(on_done=("quick", {"number": numbers[-1]}))
        try:
            async with batch:
                await batch.add_many("quick", [{"number": number} for number in numbers[:-1]])
        except RedisUnavailable:
            self._ledger.doubtful.update(numbers)
            return False
        ids = [f"{batch.id}-{number}" for number in range(len(numbers) - 1)]
        self._ledger.confirmed |= dict.fromkeys([*ids, f"{batch.id}-done"], "quick")
        return True

    async def _flow(self) -> bool:
        """Start a flow."""
        continues = self._rng.random() < 0.4
        flow = self._enqueuer.flow(on_failure="continue" if continues else "cancel")
        planned = plan_flow(flow, self._rng, self._ledger.number, continues=continues)
        try:
            await flow.start()
        except RedisUnavailable:
            self._ledger.doubtful.update(planned.numbers)
            return False
        self._ledger.flows.append(planned)
        return True

    async def _hostile(self) -> bool:
        name, kind = self._rng.choice(_HOSTILE)
        return await self._one(name, kind=kind)

    async def _one(self, name: str, **args: Any) -> bool:
        number = self._ledger.number(name)
        return await self._enqueue(number, JobCall(name, {"number": number, **args}), self._way())

    async def _fair(self) -> bool:
        number, seconds = self._ledger.number("fair"), self._rng.choice((0.02, 0.1))
        call = JobCall("fair", {"number": number, "seconds": seconds}, EnqueueOptions(partition=tenant(number)))
        return await self._enqueue(number, call, self._way())

    async def _place(self, option: str, way: str) -> bool:
        """Enqueue a job with one option, or several with several."""
        if option == "mixed":
            return await self._mixed(way)
        number, args = self._placed(option, way)
        return await self._enqueue(number, JobCall("placed", args, self._options(option, number)), way)

    def _placed(self, option: str, way: str) -> tuple[int, dict[str, Any]]:
        number = self._ledger.number("placed")
        return number, {"number": number, "kind": f"{option} {way}"}

    def _options(self, option: str, number: int) -> EnqueueOptions:
        later = timedelta(seconds=self._rng.choice((0, 0.5, 2)))
        match option:
            case "front":
                return EnqueueOptions(front=True)
            case "id":
                return EnqueueOptions(id=f"{self._name}-{number}", front=self._rng.random() < 0.5)
            case "delay":
                return EnqueueOptions(delay=later)
            case _:
                return EnqueueOptions(at=datetime.now(UTC) + later)

    async def _typed(self, way: str) -> bool:
        number = self._ledger.number("typed")
        return await self._enqueue(number, _TYPED.call(number, way, Order.of(number)), way)

    async def _unique(self) -> bool:
        number, slot = self._ledger.number("unique"), self._slot()
        return await self._enqueue(number, self._unique_call(slot), self._way(), slot)

    def _unique_call(self, slot: str) -> JobCall:
        return JobCall("unique", {"slot": slot}, EnqueueOptions(unique=True, front=self._rng.random() < 0.5))

    async def _exclusive(self, kind: str) -> bool:
        """Enqueue a job that runs alone of its slot and kind; tell whether it was accepted and is no duplicate."""
        number, slot, before = self._ledger.number("exclusive"), self._slot(), len(self._ledger.confirmed)
        slot = f"{slot} {kind}"
        args = {"number": number, "slot": slot, "kind": kind}
        call = JobCall("exclusive", args, EnqueueOptions(unique=EXCLUSIVE[kind]))
        accepted = await self._enqueue(number, call, self._way(), slot)
        return accepted and len(self._ledger.confirmed) > before

    async def _keyed(self) -> bool:
        return await self._key(self._slot(), self._rng.choice((0, 0, 1)))

    async def _replace(self) -> bool:
        """Enqueue a job by key that waits, and a newer one in its place; tell whether it came to that."""
        slot, before = self._slot(), len(self._ledger.replacing)
        await self._key(slot, 2)
        await self._key(slot, 0)
        return len(self._ledger.replacing) > before

    async def _key(self, slot: str, seconds: int) -> bool:
        number = self._ledger.number("keyed")
        return await self._enqueue(number, self._keyed_call(number, slot, seconds), self._way(), slot)

    def _keyed_call(self, number: int, slot: str, seconds: int) -> JobCall:
        return JobCall("keyed", {"number": number, "slot": slot}, EnqueueOptions(delay=seconds, unique={"slot": slot}))

    async def _many(self) -> bool:
        numbers = [self._ledger.number("quick") for _ in range(20)]
        return await self._enqueue_many(
            [(number, JobCall("quick", {"number": number}), "") for number in numbers], self._way()
        )

    async def _mixed(self, way: str) -> bool:
        """Enqueue jobs with all options in one call."""
        jobs: list[tuple[int, JobCall, str]] = []
        for option in ("", "front", "id", "delay", "at"):
            number, args = self._placed("mixed", way)
            options = self._options(option, number) if option else AT_ONCE
            jobs.append((number, JobCall("placed", args, options), ""))
        for _ in range(2):
            number, slot = self._ledger.number("unique"), self._slot()
            jobs.append((number, self._unique_call(slot), slot))
            number, slot = self._ledger.number("keyed"), self._slot()
            jobs.append((number, self._keyed_call(number, slot, self._rng.choice((0, 1))), slot))
        number = self._ledger.number("typed")
        jobs.append((number, _TYPED.call(number, way, Order.of(number)), ""))
        return await self._enqueue_many(jobs, way)

    async def _enqueue(self, number: int, call: JobCall, way: str, slot: str = "") -> bool:
        """Enqueue a job; tell whether that was accepted.

        :param slot: what keeps it unique; empty if it is not.
        """
        try:
            if way == "blocking":
                job = await asyncio.to_thread(self._blocking.enqueue_call, call)
            else:
                job = await self._enqueuer.enqueue_call(call)
        except RedisUnavailable:
            self._doubt(number, call.name, slot)
            return False
        self._accept(number, job, slot)
        return True

    async def _enqueue_many(self, jobs: list[tuple[int, JobCall, str]], way: str) -> bool:
        """Enqueue jobs, each with its number and its slot, in one call; tell whether all were accepted."""
        calls: list[JobCall | tuple[str, Any]] = [
            # A job without options may also be given as a pair.
            (call.name, call.args) if call.options is AT_ONCE else call
            for _, call, _ in jobs
        ]
        try:
            if way == "blocking":
                written = await asyncio.to_thread(self._blocking.enqueue_many, calls)
            else:
                written = await self._enqueuer.enqueue_many(calls)
        except EnqueueManyError as error:
            # Which of them were written is told by their ids alone.
            for number, call, slot in jobs:
                self._doubt(number, call.name, slot)
            for job in error.written:
                self._confirm(job)
            return False
        for (number, _, slot), job in zip(jobs, written, strict=True):
            self._accept(number, job, slot)
        return True

    def _accept(self, number: int, job: EnqueuedJob, slot: str) -> None:
        if job.name == "keyed":
            self._ledger.keyed[slot] = number, time.monotonic()
            if job.duplicate:
                self._ledger.replacing.add(number)
        if slot and not job.duplicate:
            self._ledger.entries[job.name, slot] += 1
        self._confirm(job)

    def _confirm(self, job: EnqueuedJob) -> None:
        # A newer job may take the place of one by key, whose id is then nowhere.
        if job.name != "keyed" and not job.duplicate:
            self._ledger.confirmed[job.id] = job.name

    def _doubt(self, number: int, name: str, slot: str) -> None:
        self._ledger.doubtful.add(number)
        if slot:
            self._ledger.entries[name, slot] += 1

    def _way(self) -> str:
        return self._rng.choice(WAYS)

    def _slot(self) -> str:
        return f"{self._name}-{self._rng.randrange(SLOTS)}"
