"""Draws the order in which queues are fetched from, weighted by priority, and how many a fetch names."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import accumulate, islice

from .._redis.queue import Queue

# Queues that a step has at least, if there are so many.
_MIN_STEP = 4
# Queues drawn in advance.
_DRAWN_AT_ONCE = 256


def sample(queues: Iterable[Queue], rand: Callable[[], float] = random.random) -> list[Queue]:
    """Return the queues in a random order in which those of higher priority tend to come first.

    Each position is drawn among the remaining queues with a chance in proportion to their priority: the weighted
    sampling of Efraimidis and Spirakis (2006), sorting by ``u ** (1 / weight)`` for uniform ``u``.
    """
    return sorted(queues, key=lambda queue: rand() ** (1.0 / queue.priority), reverse=True)


class QueueSampler:
    """Goes through all queues in rounds of several steps, each round in a new random order.

    If jobs wait everywhere, the first few queues have enough of them, and naming the other queues would cost more than
    the jobs. A step is therefore about as wide as the previous ones needed to be, and the next step continues with the
    other queues only if it did not bring enough.
    """

    def __init__(self, queues: Sequence[Queue]) -> None:
        priorities = [queue.priority for queue in queues]
        self._queues = queues
        # Among queues of one priority, a draw without weights takes a third of the time.
        self._weights = list(accumulate(priorities)) if len(set(priorities)) > 1 else None
        self._width = _MIN_STEP
        self._started: list[Queue] = []
        self._rest: list[Queue] | None = None
        self._closed: set[Queue] = set()
        # Many are drawn at a time, because one by one takes more than twice as long.
        self._drawn: Iterator[Queue] = iter(())

    def step(self) -> list[Queue]:
        """Return the queues of the next step, in order."""
        if self._width >= len(self._queues):
            self.begin_anew()
            self._rest = []
            return sample(self._queues)
        if not self._started:
            self._started = self.draw(self._width)
            return self._started
        if self._rest is None:
            started = set(self._started)
            self._rest = sample(queue for queue in self._queues if queue not in started)
        step, self._rest = self._rest[: self._width], self._rest[self._width :]
        return step

    def draw(self, number: int) -> list[Queue]:
        """Return the first few of a :func:`sample`, at a cost that does not depend on how many queues there are."""
        drawn = dict.fromkeys(islice(self._drawn, number))
        for _ in range(3 * number):
            if len(drawn) == number:
                break
            if (queue := next(self._drawn, None)) is None:
                self._drawn = iter(random.choices(self._queues, cum_weights=self._weights, k=_DRAWN_AT_ONCE))
            else:
                drawn[queue] = None
        return list(drawn)

    def enough(self, needed: int) -> None:
        """Begin the next round, because the first ``needed`` queues of a step had all jobs that were requested."""
        self._width = max(_MIN_STEP, 2 * needed)
        self.begin_anew()

    def too_few(self, closed: Iterable[Queue]) -> set[Queue] | None:
        """Continue the round, because a step brought fewer jobs than were requested; if it was the last of its round,
        return the queues from which no jobs may be taken now.
        """
        self._width = min(2 * self._width, len(self._queues))
        self._closed.update(closed)
        if self._rest or (self._rest is None and len(self._started) < len(self._queues)):
            return None
        found = self._closed
        self.begin_anew()
        return found

    def begin_anew(self) -> None:
        """Begin another round with the next step."""
        self._started, self._rest, self._closed = [], None, set()
