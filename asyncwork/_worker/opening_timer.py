"""The timer of queues that wait for a token, or for the end of a rest."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from .open_queues import OpenQueues

# The resolution of the event loop's clock, seconds. The loop may call that much too early.
_CLOCK_RESOLUTION = time.get_clock_info("monotonic").resolution


class OpeningTimer:
    """Has a pool fetch from its queues when their next token comes.

    :param wake: called when there may be a batch to send.
    """

    def __init__(self, queues: OpenQueues, wake: Callable[[], None]) -> None:
        self._queues = queues
        self._wake = wake
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        # Not read from the timer, because the one of uvloop has no `when` if that was in the past.
        self._at: float | None = None

    def plan(self) -> None:
        """Set the timer for the next time at which one of the queues may be read again."""
        at = self._queues.limited.next_opening()
        if self._timer is not None:
            if self._at == at:
                return
            self._timer.cancel()
        self._at = at
        self._timer = None if at is None else self._loop.call_at(at, self._on_time)

    def _on_time(self) -> None:
        self._timer = None
        self._queues.on_opening(self._loop.time() + _CLOCK_RESOLUTION)
        self.plan()
        self._wake()

    def close(self) -> None:
        """Cancel the timer."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
