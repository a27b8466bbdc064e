"""Values that belong to one event loop, for objects that are shared by threads with an event loop each."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class PerLoop(Generic[T]):
    """One value for each event loop.

    :param make: makes the value of the running event loop.
    :param abandon: called with the value of a loop that was closed, in which nothing can be awaited any more.
    """

    def __init__(self, make: Callable[[], T], abandon: Callable[[T], None] = lambda _: None) -> None:
        self._make = make
        self._abandon = abandon
        self._values: dict[asyncio.AbstractEventLoop, T] = {}
        self._lock = threading.Lock()

    def get(self) -> T:
        """Return the value of the running event loop; the first call makes it."""
        loop = asyncio.get_running_loop()
        value = self._values.get(loop)
        if value is None:
            self._abandon_closed()
            value = self._values[loop] = self._make()
        return value

    def pop(self) -> T | None:
        """Remove the value of the running event loop and return it; ``None`` when there is none."""
        self._abandon_closed()
        return self._values.pop(asyncio.get_running_loop(), None)

    def _abandon_closed(self) -> None:
        with self._lock:
            for loop in [loop for loop in list(self._values) if loop.is_closed()]:
                self._abandon(self._values.pop(loop))
