"""Finds jobs that were taken ahead and do not begin in time, so that other pools can run them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from .ready_queue import ReadyQueue

# Seconds between two checks. Jobs that no worker has begun are requeued at the second check after they came if none
# has begun since the first, else at the third.
_PERIOD = 0.004


class UnbegunJobs:
    """Checks the jobs that no worker has begun, as long as there are any.

    :param requeue: requeues them.
    """

    def __init__(self, ready: ReadyQueue, requeue: Callable[[], None]) -> None:
        self._ready = ready
        self._requeue = requeue
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        # At the last check: how many jobs had begun, and how many will have when those that waited then have, too.
        self._begun = 0
        self._expected = 0
        self._was_late = False

    def watch(self) -> None:
        """Check from now on, until no job waits."""
        if self._timer is None:
            self._was_late = False
            self._begun, self._expected = self._ready.begun, self._ready.added
            self._timer = self._loop.call_later(_PERIOD, self._check)

    def close(self) -> None:
        """Check no more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _check(self) -> None:
        ready, self._timer = self._ready, None
        if not ready.jobs:
            return
        begun = ready.begun
        is_late = begun < self._expected
        if is_late and (self._was_late or begun == self._begun):
            self._requeue()
            return
        self._was_late = is_late
        self._begun, self._expected = begun, ready.added
        self._timer = self._loop.call_later(_PERIOD, self._check)
