"""Notices an event loop that stands still, and tells in which job, with the stack. Runs in the heartbeat's thread."""

from __future__ import annotations

import asyncio
import logging
import sys
import threading
import time
import traceback
from contextlib import suppress

from ...job import Job

logger = logging.getLogger("asyncwork")

# How many looks there are within the time that the loop may stand still.
_LOOKS = 4


class LoopWatchdog:
    """Watches the event loop in which it is made."""

    name = "stall watch"

    def __init__(self, limit: float) -> None:
        self._limit = limit
        self._loop = asyncio.get_running_loop()
        self._thread_id = threading.get_ident()
        self._answered_at = time.monotonic()
        self._asked = False
        self._warned = False

    async def once(self) -> float:
        """Ask the loop for a sign of life; warn, once for each time, if the last was too long ago."""
        standing = time.monotonic() - self._answered_at
        if self._asked and standing > self._limit and not self._warned:
            self._warned = True
            self._warn(standing)
        elif not self._asked:
            self._asked = True
            self._answered_at = time.monotonic()
            with suppress(RuntimeError):  # the loop is closed, and this thread about to end
                self._loop.call_soon_threadsafe(self._answer)
        return self._limit / _LOOKS

    def _answer(self) -> None:
        if self._warned:
            logger.warning("the event loop goes on after %.1f s", time.monotonic() - self._answered_at)
        self._asked = self._warned = False
        self._answered_at = time.monotonic()

    def _warn(self, standing: float) -> None:
        frame = sys._current_frames().get(self._thread_id)
        stack = "".join(traceback.format_stack(frame)) if frame is not None else ""
        logger.warning(
            "the event loop has stood still for %.1f s, blocked by job %s: no other job makes progress. "
            "Await what blocks, or make the handler a plain `def`, which runs in a thread. It is here:\n%s",
            standing,
            _culprit(frame),
            stack,
        )


def _culprit(frame: object) -> str:
    """Find the job in whose handler the loop's thread is, by looking down its stack."""
    while frame is not None:
        for value in list(getattr(frame, "f_locals", {}).values()):
            # Not isinstance, which would ask a handler's objects of what class they are.
            if issubclass(type(value), Job):
                return f"{value.name} {value.id}"
        frame = getattr(frame, "f_back", None)
    return "(none: not in a handler)"
