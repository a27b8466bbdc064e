"""The workers of a pool: as many as it runs jobs at once, and more while jobs run beyond a reduced concurrency."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable

from .dispatcher import Dispatcher
from .worker import Worker

# Seconds between two searches for workers that have ended their last job: the first, and the longest.
_FIRST_DELAY, _LONGEST_DELAY = 0.05, 1.0


class WorkerSet:
    """Adds workers to a pool, and retires those that it does not need any more.

    :param make: makes a worker.
    :ivar workers: the list that it keeps up to date; other parts of the pool read it.
    :ivar on_changed: called with the number of workers when it has changed.
    :ivar on_resized: called when the concurrency has changed.
    """

    def __init__(self, workers: list[Worker], make: Callable[[], Worker], dispatcher: Dispatcher) -> None:
        self.workers = workers
        self._make = make
        self._dispatcher = dispatcher
        self._loop = asyncio.get_running_loop()
        self._is_started = False
        self._timer: asyncio.TimerHandle | None = None
        self._delay = _FIRST_DELAY
        self._announced: frozenset[str] = frozenset()
        self.on_changed: Callable[[int], None] = lambda _: None
        self.on_resized: Callable[[], None] = lambda: None
        self._add(self.concurrency)

    @property
    def concurrency(self) -> int:
        """How many jobs the pool runs at once. May be called from any thread."""
        return self._dispatcher.concurrency

    def start(self) -> None:
        """Start the workers; start those that are added from now on at once."""
        self._is_started = True
        for worker in self.workers:
            worker.start()

    def resize(self, concurrency: int) -> None:
        """Run another number of jobs at once. Running jobs go on, and none is taken beyond the new number."""
        self._add(concurrency - len(self.workers))
        self._dispatcher.resize(concurrency)
        self._delay = _FIRST_DELAY
        self._retire()
        self.on_resized()

    def close(self) -> None:
        """Leave the workers as they are."""
        if self._timer is not None:
            self._timer.cancel()

    def size(self, observed: Iterable[str]) -> tuple[int, set[str]]:
        """Return the concurrency and the ids for a heartbeat. Also called from the heartbeat's thread.

        :param observed: ids under which something may be written; their workers may have retired.
        """
        return self.concurrency, {*(worker.id for worker in list(self.workers)), *observed}

    def announce(self, ids: frozenset[str]) -> None:
        """Take note of the ids that the last heartbeat has. Also called from the heartbeat's thread."""
        self._announced = ids

    def is_announced(self, worker_id: str) -> bool:
        """Return whether the last heartbeat has the id of a worker. If so, what is written under it is deleted with the
        pool.
        """
        return worker_id in self._announced

    def _add(self, count: int) -> None:
        if count <= 0:
            return
        added = [self._make() for _ in range(count)]
        self.workers += added
        # First, because the new workers may need as many threads.
        self.on_changed(len(self.workers))
        if self._is_started:
            for worker in added:
                worker.start()

    def _retire(self) -> None:
        """Retire idle workers that are not needed. Check again later for those that still run jobs.

        Polled, because a worker would have to check after each job whether it is still needed.
        """
        self.close()
        surplus = len(self.workers) - self._dispatcher.workers_needed
        idle = [worker for worker in self.workers if worker.payload is None]
        if retired := set(idle[: max(0, surplus)]):
            self.workers[:] = [worker for worker in self.workers if worker not in retired]
            for worker in retired:
                if worker.task is not None:
                    worker.task.retire()
            self.on_changed(len(self.workers))
        self._dispatcher.note_workers(len(self.workers))
        if len(self.workers) > self.concurrency:
            self._timer = self._loop.call_later(self._delay, self._retire)
            self._delay = min(self._delay * 2, _LONGEST_DELAY)
