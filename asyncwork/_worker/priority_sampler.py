"""In which order queues are looked at, and how many at a time."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Sequence
from itertools import accumulate

from .._redis.keys import Queue

# Queues that are looked at at least, where there are so many.
_LEAST = 4
# Draws made in advance.
_DRAWN_AT_ONCE = 256


def sample(queues: Iterable[Queue], rand: Callable[[], float] = random.random) -> list[Queue]:
    """Return the queues in a random order in which those of higher priority tend to come first.

    Each place is drawn among the remaining queues with a chance in proportion to their priority: the weighted sampling
    of Efraimidis and Spirakis (2006), sorting by ``u ** (1 / weight)`` for uniform ``u``.
    """
    return sorted(queues, key=lambda queue: rand() ** (1.0 / queue.priority), reverse=True)


class QueueSampler:
    """One way through all queues after the other, some steps each.

    Where jobs wait everywhere, the first few queues have enough of them, and to name the others would cost more than
    the jobs. So a step is about as wide as the last ones needed to be, and only where it did not bring enough the next
    goes on with the other queues.
    """

    def __init__(self, queues: Sequence[Queue]) -> None:
        self._queues = queues
        self._weights = list(accumulate(queue.priority for queue in queues))
        self._width = _LEAST
        self._begun: list[Queue] = []
        self._left: list[Queue] | None = None
        self._closed: set[Queue] = set()
        # Many are drawn at a time: one by one takes more than twice as long.
        self._drawn: list[Queue] = []

    def step(self) -> list[Queue]:
        """Return which queues to look at next, in this order."""
        if self._width >= len(self._queues):
            self.begin_anew()
            self._left = []
            return sample(self._queues)
        if not self._begun:
            self._begun = self._draw(self._width)
            return self._begun
        if self._left is None:
            begun = set(self._begun)
            self._left = sample(queue for queue in self._queues if queue not in begun)
        step, self._left = self._left[: self._width], self._left[self._width :]
        return step

    def _draw(self, number: int) -> list[Queue]:
        """Return the first few of a :func:`sample`, at a cost that does not depend on how many queues there are."""
        drawn: dict[Queue, None] = {}
        for _ in range(4 * number):
            if not self._drawn:
                self._drawn = random.choices(self._queues, cum_weights=self._weights, k=_DRAWN_AT_ONCE)
            drawn[self._drawn.pop()] = None
            if len(drawn) == number:
                break
        return list(drawn)

    def enough(self, needed: int) -> None:
        """Take note that the first so many queues of a step had all that was wanted: the next way begins."""
        self._width = max(_LEAST, 2 * needed)
        self.begin_anew()

    def too_few(self, closed: Iterable[Queue]) -> set[Queue] | None:
        """Take note that a step brought less than was wanted; when it was the last of its way, return the queues from
        which none may be taken now.
        """
        self._width = min(2 * self._width, len(self._queues))
        self._closed.update(closed)
        if self._left or (self._left is None and len(self._begun) < len(self._queues)):
            return None
        found = self._closed
        self.begin_anew()
        return found

    def begin_anew(self) -> None:
        """Have the next step begin another way."""
        self._begun, self._left, self._closed = [], None, set()
