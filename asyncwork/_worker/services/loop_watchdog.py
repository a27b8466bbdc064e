"""The loop watchdog: measures the lag of the event loop, and logs the job and the stack that block it.

It runs in the heartbeat's thread.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import threading
import time
import traceback

from ..._health.histogram import Histogram
from ...job import Job

logger = logging.getLogger("asyncwork")

# Checks within the time for which the loop may be blocked.
_CHECKS = 4


class LoopWatchdog:
    """Watches the event loop in which it is constructed.

    :param limit: how long the loop may be blocked before a warning, seconds.
    :ivar lag: how long the loop took to run a callback, each time that it was pinged.
    """

    name = "loop watchdog"

    def __init__(self, limit: float) -> None:
        self._limit = limit
        self._loop = asyncio.get_running_loop()
        self._thread_id = threading.get_ident()
        # When the callback was scheduled that the loop has not run yet, by the monotonic clock.
        self._pinged_at: float | None = None
        self._warned = False
        self.lag = Histogram()

    async def run_once(self) -> float:
        """Ping the loop; warn once if it has not replied for too long."""
        blocked = self.ping()
        if blocked > self._limit and not self._warned:
            self._warned = True
            self._warn(blocked)
        return self._limit / _CHECKS

    def ping(self) -> float:
        """Return for how long the loop has been blocked as far as known, seconds, and ping it again if it has replied.
        May be called from any thread.
        """
        if (pinged_at := self._pinged_at) is not None:
            return time.monotonic() - pinged_at
        self._pinged_at = time.monotonic()
        try:
            self._loop.call_soon_threadsafe(self._pong)
        except RuntimeError:  # the loop is closed
            self._pinged_at = None
        return 0.0

    def _pong(self) -> None:
        pinged_at, self._pinged_at = self._pinged_at, None
        if pinged_at is None:  # two threads have pinged at once
            return
        lag = time.monotonic() - pinged_at
        self.lag.add(lag)
        if self._warned:
            self._warned = False
            logger.warning("event loop resumed after %.1f s", lag)

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
