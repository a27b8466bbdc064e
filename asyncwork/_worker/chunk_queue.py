"""The jobs of one type that wait in memory until their chunk begins."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection

from .._redis.work_queue import HeldJob
from .ready_queue import ReadyQueue


class ChunkQueue(ReadyQueue):
    """Collects jobs until there are enough for a chunk, or the first of them has waited long enough.

    None of its jobs has begun. They go back to the front of their queue when the pool stops, or the queue is paused.

    :param size: the most jobs of a chunk.
    :param wait: seconds after the first job came until a chunk begins, however few jobs there are.
    :param may_begin: returns whether a call is free for the next chunk.
    :param begin: begins a chunk with some jobs, which are no longer here.
    :param watch: called when the first job of a chunk has come, and the chunk has not begun.
    """

    gathers = True

    def __init__(
        self,
        size: int,
        wait: float,
        may_begin: Callable[[], bool],
        begin: Callable[[list[HeldJob]], None],
        watch: Callable[[], None],
    ) -> None:
        super().__init__()
        self._size = size
        self._seconds = wait
        self._may_begin = may_begin
        self._begin = begin
        self._watch = watch
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        # When the timer is over, and there was no call free for the chunk.
        self._is_due = False

    def add(self, jobs: Collection[HeldJob]) -> None:
        """Collect jobs for a chunk."""
        is_first = not self.jobs
        self.jobs.extend(jobs)
        self.added += len(jobs)
        if is_first:
            # The jobs before it may have been taken away.
            self._stop_timer()
        self.begin_some()

    def room(self, free_calls: int) -> int:
        """Return how many jobs that have not begun the pool may hold.

        :param free_calls: how many calls may begin now.
        """
        return self._size if free_calls > 0 else 0

    def begin_some(self) -> None:
        """Begin the chunks that are full or due, if calls are free for them; wait for more jobs for the next."""
        while self.jobs and (self._is_due or len(self.jobs) >= self._size) and self._may_begin():
            self._stop_timer()
            self._begin([self.jobs.popleft() for _ in range(min(self._size, len(self.jobs)))])
        if self.jobs and self._timer is None and not self._is_due:
            self._timer = self._loop.call_later(self._seconds, self._on_due)
            self._watch()

    def close(self) -> None:
        """Begin nothing more."""
        self._stop_timer()
        self.jobs.clear()

    def _on_due(self) -> None:
        self._timer, self._is_due = None, True
        self.begin_some()
        if not self.jobs:
            self._is_due = False

    def _stop_timer(self) -> None:
        self._is_due = False
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
