"""Long computations in slices, between which the event loop goes on."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterable
from typing import TypeVar

T = TypeVar("T")

# Seconds that a slice lasts, and a little more. The application that reads a large flow may serve other requests.
_SLICE = 0.004


class TimeSlices:
    """The slices of one computation, which may consist of several loops."""

    def __init__(self) -> None:
        self._ends = time.perf_counter() + _SLICE

    async def of(self, items: Iterable[T]) -> AsyncIterator[T]:
        """Yield items, and let the event loop go on whenever a slice is over."""
        for each in items:
            yield each
            if time.perf_counter() >= self._ends:
                await asyncio.sleep(0)
                self._ends = time.perf_counter() + _SLICE
