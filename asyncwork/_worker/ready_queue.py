"""Jobs that are ready to run, and the workers that wait for them."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Collection

from .._jobs import forks
from .._redis.work_queue import HeldJob


class ReadyQueue:
    """Jobs in memory that no worker has started. Wakes no more workers than are needed.

    :ivar jobs: the first one runs first. Workers take jobs from the left.
    :ivar added: number of jobs added so far.
    :cvar gathers: whether jobs wait here for others, so that they go back to their queue when the pool takes no more.
    """

    gathers = False

    def __init__(self) -> None:
        self.jobs: deque[HeldJob] = deque()
        self.added = 0
        self._waiting: deque[asyncio.Future[None]] = deque()
        # Workers that were woken and have not run yet.
        self._woken = 0
        forks.owned.add(self)

    def forked(self) -> None:
        """Drop all jobs, in a process that a handler has forked."""
        self.jobs.clear()

    async def wait(self) -> None:
        """Wait until there may be a job."""
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(waiter)
        try:
            await waiter
        except BaseException:
            # Cancelled, or the coroutine was closed.
            if waiter.done() and not waiter.cancelled():
                self._woken -= 1
                self.wake_others()
            waiter.cancel()
            raise
        self._woken -= 1

    @property
    def begun(self) -> int:
        """Number of jobs that workers have begun so far, or that were taken away."""
        return self.added - len(self.jobs)

    def add(self, jobs: Collection[HeldJob]) -> None:
        """Have jobs run."""
        self.jobs.extend(jobs)
        self.added += len(jobs)
        # One worker for all jobs, until one of them has to wait: to wake a worker costs as much as to run a short job.
        if not self._woken:
            self._wake(1)

    def wake_others(self) -> None:
        """Wake as many workers as there are jobs, because the worker that was to run them has to wait."""
        self._wake(len(self.jobs) - self._woken)

    def _wake(self, workers: int) -> None:
        while workers > 0 and self._waiting:
            waiter = self._waiting.popleft()
            if not waiter.done():
                waiter.set_result(None)
                self._woken += 1
                workers -= 1
