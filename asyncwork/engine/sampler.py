"""In which order queues are looked at."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable

from ..store.keys import Queue


def sample(queues: Iterable[Queue], rand: Callable[[], float] = random.random) -> list[Queue]:
    """Return the queues in a random order in which those of higher priority tend to come first.

    Each place is drawn among the remaining queues with a chance in proportion to their priority: the weighted sampling
    of Efraimidis and Spirakis (2006), sorting by ``u ** (1 / weight)`` for uniform ``u``.
    """
    return sorted(queues, key=lambda queue: rand() ** (1.0 / queue.priority), reverse=True)
