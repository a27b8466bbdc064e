"""Programs that enqueue while things go wrong, and know which of their jobs Redis has confirmed."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from asyncwork import EnqueuedJob, EnqueueManyError, Enqueuer, RedisUnavailable

from .app import HOSTILE

SLOTS = 5
_HOSTILE = [(name, kind) for name, kinds in HOSTILE.items() for kind in kinds]


@dataclass(slots=True)
class PoolMetrics:
    """What was enqueued, or may have been.

    :ivar confirmed: the name of each job of which a producer was told that it is enqueued, by its id.
    :ivar sent: the name of each job that a producer ever tried to enqueue, by the number that it was given.
    :ivar keyed: the newest number that was accepted for each slot, and when, in seconds of the monotonic clock.
    :ivar entries: how many unique jobs were put on a queue for each slot, or may have been: duplicates are not.
    :ivar replacing: the numbers that were accepted in the place of a job that waited.
    :ivar doubtful: the numbers whose enqueue had no answer, or was refused.
    """

    confirmed: dict[str, str] = field(default_factory=dict)
    sent: dict[int, str] = field(default_factory=dict)
    keyed: dict[str, tuple[int, float]] = field(default_factory=dict)
    entries: Counter[tuple[str, str]] = field(default_factory=Counter)
    replacing: set[int] = field(default_factory=set)
    doubtful: set[int] = field(default_factory=set)

    def number(self, name: str) -> int:
        """Return a number for a job that is going to be enqueued."""
        number = len(self.sent) + 1
        self.sent[number] = name
        return number


class Producer:
    """Enqueues jobs of all kinds, one after the other, until told to stop. Before that it gets one of each accepted.

    :param name: tells its slots from those of the other producers.
    :param pause: the longest time between two jobs, seconds.
    """

    def __init__(
        self,
        name: str,
        enqueuer: Enqueuer,
        ledger: PoolMetrics,
        rng: random.Random,
        pause: float,
    ) -> None:
        self._name = name
        self._enqueuer = enqueuer
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
            (1, lambda: self._one("doomed")),
            (1, lambda: self._one("snoozing")),
            (2, lambda: self._one("capped", seconds=self._rng.choice((0.02, 0.1)))),
            (2, self._later),
            (2, self._unique),
            (2, self._keyed),
            (1, self._many),
            (3, self._hostile),
        ]
        weights, acts = zip(*kinds, strict=True)
        once = [*acts, self._replace, *(partial(self._one, name, kind=kind) for name, kind in _HOSTILE)]
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

    async def _hostile(self) -> bool:
        name, kind = self._rng.choice(_HOSTILE)
        return await self._one(name, kind=kind)

    async def _one(self, name: str, **args: Any) -> bool:
        number = self._ledger.number(name)
        return await self._tell(number, self._enqueuer.enqueue(name, {"number": number, **args}))

    async def _later(self) -> bool:
        number, seconds = self._ledger.number("quick"), self._rng.choice((0, 1, 2))
        return await self._tell(number, self._enqueuer.enqueue("quick", {"number": number}, delay=seconds))

    async def _tell(self, number: int, enqueue: Awaitable[EnqueuedJob]) -> bool:
        try:
            job = await enqueue
        except RedisUnavailable:
            self._ledger.doubtful.add(number)
            return False
        self._ledger.confirmed[job.id] = job.name
        return True

    async def _unique(self) -> bool:
        number, slot = self._ledger.number("unique"), self._slot()
        try:
            job = await self._enqueuer.enqueue("unique", {"slot": slot}, unique=True)
        except RedisUnavailable:
            self._ledger.doubtful.add(number)
            self._ledger.entries["unique", slot] += 1
            return False
        if not job.duplicate:
            self._ledger.confirmed[job.id] = job.name
            self._ledger.entries["unique", slot] += 1
        return True

    async def _keyed(self) -> bool:
        return await self._key(self._slot(), self._rng.choice((0, 0, 1)))

    async def _replace(self) -> bool:
        """Enqueue a job by key that waits, and a newer one in its place; tell whether it came to that."""
        slot, before = self._slot(), len(self._ledger.replacing)
        await self._key(slot, 2)
        await self._key(slot, 0)
        return len(self._ledger.replacing) > before

    async def _key(self, slot: str, seconds: int) -> bool:
        ledger, number = self._ledger, self._ledger.number("keyed")
        args, key_map = {"number": number, "slot": slot}, {"slot": slot}
        try:
            if seconds:
                job = await self._enqueuer.enqueue("keyed", args, delay=seconds, unique=key_map)
            else:
                job = await self._enqueuer.enqueue("keyed", args, unique=key_map)
        except RedisUnavailable:
            ledger.doubtful.add(number)
            ledger.entries["keyed", slot] += 1
            return False
        if job.duplicate:
            ledger.replacing.add(number)
        else:
            ledger.entries["keyed", slot] += 1
        ledger.keyed[slot] = number, time.monotonic()
        return True

    async def _many(self) -> bool:
        numbers = [self._ledger.number("quick") for _ in range(20)]
        try:
            written = await self._enqueuer.enqueue_many(("quick", {"number": number}) for number in numbers)
        except EnqueueManyError as error:
            written = error.written
            # Which of them were written is told by their ids alone.
            self._ledger.doubtful.update(numbers)
        self._ledger.confirmed |= {job.id: job.name for job in written}
        return len(written) == len(numbers)

    def _slot(self) -> str:
        return f"{self._name}-{self._rng.randrange(SLOTS)}"
