"""Programs that enqueue while things go wrong, and know which of their jobs Redis has confirmed."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from asyncwork import EnqueuedJob, EnqueueManyError, Enqueuer, RedisUnusable

SLOTS = 5


@dataclass(slots=True)
class Ledger:
    """What was enqueued, or may have been.

    :ivar confirmed: the name of each job of which a producer was told that it is enqueued, by its id.
    :ivar sent: the name of each job that a producer ever tried to enqueue, by the number that it was given.
    :ivar keyed: the newest number that was accepted for each slot, and when, in seconds of the monotonic clock.
    :ivar unsure: how many enqueues had no answer, or were refused.
    """

    confirmed: dict[str, str] = field(default_factory=dict)
    sent: dict[int, str] = field(default_factory=dict)
    keyed: dict[str, tuple[int, float]] = field(default_factory=dict)
    unsure: int = 0

    def number(self, name: str) -> int:
        """Return a number for a job that is going to be enqueued."""
        number = len(self.sent) + 1
        self.sent[number] = name
        return number


class Producer:
    """Enqueues jobs of all kinds, one after the other, until told to stop.

    :param name: tells its slots from those of the other producers.
    :param pause: the longest time between two jobs, seconds.
    """

    def __init__(
        self,
        name: str,
        enqueuer: Enqueuer,
        ledger: Ledger,
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
        kinds: list[tuple[int, Callable[[], Awaitable[None]]]] = [
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
        ]
        weights, acts = zip(*kinds, strict=True)
        while not self.stopping:
            (act,) = self._rng.choices(acts, weights)
            await act()
            await asyncio.sleep(self._rng.random() * self._pause)

    async def _one(self, name: str, **args: Any) -> None:
        number = self._ledger.number(name)
        await self._tell(self._enqueuer.enqueue(name, {"number": number, **args}))

    async def _later(self) -> None:
        number, seconds = self._ledger.number("quick"), self._rng.choice((0, 1, 2))
        await self._tell(self._enqueuer.enqueue_in("quick", seconds, {"number": number}))

    async def _unique(self) -> None:
        await self._tell(self._enqueuer.enqueue_unique("unique", {"slot": self._slot()}))

    async def _tell(self, enqueue: Awaitable[EnqueuedJob | None]) -> None:
        try:
            job = await enqueue
        except RedisUnusable:
            self._ledger.unsure += 1
        else:
            if job is not None:
                self._ledger.confirmed[job.id] = job.name

    async def _keyed(self) -> None:
        number, slot = self._ledger.number("keyed"), self._slot()
        try:
            await self._enqueuer.enqueue_unique_by_key("keyed", {"number": number, "slot": slot}, {"slot": slot})
        except RedisUnusable:
            self._ledger.unsure += 1
        else:
            self._ledger.keyed[slot] = number, time.monotonic()

    async def _many(self) -> None:
        numbers = [self._ledger.number("quick") for _ in range(20)]
        try:
            written = await self._enqueuer.enqueue_many(("quick", {"number": number}) for number in numbers)
        except EnqueueManyError as error:
            written = error.written
            self._ledger.unsure += len(numbers) - len(written)
        self._ledger.confirmed |= {job.id: job.name for job in written}

    def _slot(self) -> str:
        return f"{self._name}-{self._rng.randrange(SLOTS)}"
