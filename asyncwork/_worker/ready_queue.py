"""Hands the jobs that came over to the workers: no more of them are woken than it takes."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable

from .._jobs import forks
from .._redis.keys import Queue


class ReadyQueue:
    """The jobs that no worker has begun, and the workers that wait for one.

    :ivar jobs: payloads with their queues, the first to run first. Workers take them from there.
    """

    def __init__(self) -> None:
        self.jobs: deque[tuple[Queue, bytes]] = deque()
        self._waiting: deque[asyncio.Future[None]] = deque()
        # Workers that were told to look for a job and have not come to it yet.
        self._woken = 0
        forks.owned.add(self)

    def forked(self) -> None:
        """In a process that a job has forked: no job is to begin there."""
        self.jobs.clear()

    async def wait(self) -> None:
        """Wait until there may be a job."""
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            await turn
        except BaseException:
            # Cancelled, or its coroutine was closed.
            if turn.done() and not turn.cancelled():
                self._woken -= 1
                self.share_out()
            turn.cancel()
            raise
        self._woken -= 1

    def hand_over(self, jobs: Iterable[tuple[Queue, bytes]]) -> None:
        """Have jobs run."""
        self.jobs.extend(jobs)
        # One for all, until a job has to wait: to wake a worker costs as much as to run a short job.
        if not self._woken:
            self._wake(1)

    def share_out(self) -> None:
        """Have other workers take the jobs: the one that was to take them has to wait."""
        self._wake(len(self.jobs) - self._woken)

    def _wake(self, workers: int) -> None:
        while workers > 0 and self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                self._woken += 1
                workers -= 1
