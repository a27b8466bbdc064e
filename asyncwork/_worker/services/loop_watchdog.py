"""The loop watchdog: logs the job and the stack that block the event loop.

It runs in the heartbeat's thread.
"""

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

# Checks within the time for which the loop may be blocked.
_CHECKS = 4


class LoopWatchdog:
    """Watches the event loop in which it is constructed.

    :param limit: how long the loop may be blocked before a warning, seconds.
    """

    name = "loop watchdog"

    def __init__(self, limit: float) -> None:
        self._limit = limit
        self._loop = asyncio.get_running_loop()
        self._thread_id = threading.get_ident()
        self._waiting_since = time.monotonic()
        self._pinged = False
        self._warned = False

    async def run_once(self) -> float:
        """Ping the loop; warn once if it has not replied for too long."""
        blocked = time.monotonic() - self._waiting_since
        if self._pinged and blocked > self._limit and not self._warned:
            self._warned = True
            self._warn(blocked)
        elif not self._pinged:
            self._pinged = True
            self._waiting_since = time.monotonic()
            with suppress(RuntimeError):  # the loop is closed, and this thread is about to end
                self._loop.call_soon_threadsafe(self._pong)
        return self._limit / _CHECKS

    def _pong(self) -> None:
        if self._warned:
            logger.warning("event loop resumed after %.1f s", time.monotonic() - self._waiting_since)
        self._pinged = self._warned = False

    def _warn(self, blocked: float) -> None:
        frame = sys._current_frames().get(self._thread_id)
        stack = "".join(traceback.format_stack(frame)) if frame is not None else ""
        logger.warning(
            "event loop blocked for %.1f s by job %s: no other job makes progress. Await the blocking call, or make "
            "the handler a plain `def`, which runs in a thread. The loop is here:\n%s",
            blocked,
            _blocking_job(frame),
            stack,
        )


def _blocking_job(frame: object) -> str:
    """Return the name and id of the job whose handler is on the loop's stack."""
    while frame is not None:
        for value in list(getattr(frame, "f_locals", {}).values()):
            # Not isinstance, which would ask a handler's objects of what class they are.
            if issubclass(type(value), Job):
                return f"{value.name} {value.id}"
        frame = getattr(frame, "f_back", None)
    return "(none: not in a handler)"
