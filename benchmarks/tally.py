"""Counts jobs and reads the clocks as they run, alike on all sides."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from . import memory
from .orders import Drained, Order, Shared, Waited

# What a handler calls when its job has run: with its place, and when it was sent (nanoseconds; 0 if that is not told).
Record = Callable[[int, int], None]


class Tally:
    """Counts how often each job ran; reads the clocks from the start of the first job to the end of the last ordered.

    Made when everything is ready to start: the memory that is taken by then is what an idle worker takes.

    :param done: called then.
    """

    def __init__(self, order: Order, done: Callable[[], None]) -> None:
        self._done = done
        self._runs = bytearray(order.jobs + order.waiting)
        self._left = order.jobs
        self._whole = order.waiting == 0
        self._idle = memory.resident()
        # The first job that ended started so much earlier.
        self._sleep = order.case.sleep
        self._started = self._ended = 0.0
        self._cpu_before = self._cpu_after = 0.0

    def ran(self, place: int, sent: int = 0) -> None:
        """Count a run."""
        if not self._started:
            self._start_clocks()
        self._runs[place] += 1
        self._left -= 1
        if self._left == 0:
            self._ended, self._cpu_after = time.perf_counter(), time.process_time()
            self._done()

    def _start_clocks(self) -> None:
        self._started, self._cpu_before = time.perf_counter() - self._sleep, time.process_time()

    def result(self) -> Drained:
        """Tell how it went."""
        once = self._runs.count(1)
        astray = len(self._runs) - once - (0 if self._whole else self._runs.count(0))
        cpu = self._cpu_after - self._cpu_before
        seconds = self._ended - self._started
        return Drained(seconds, cpu, self._idle, memory.resident(), memory.peak(), astray)


class Share(Tally):
    """Counts what one of several processes ran; none of them knows which job is the last."""

    def ran(self, place: int, sent: int = 0) -> None:
        """Count a run."""
        if not self._started:
            self._start_clocks()
        self._runs[place] += 1
        self._ended = time.perf_counter()

    def share(self) -> Shared:
        """Tell what it did."""
        cpu = time.process_time() - self._cpu_before if self._started else 0.0
        sizes = (self._idle, memory.resident(), memory.peak())
        return Shared(self._started, self._ended, cpu, *sizes, self._runs.hex())


class Arrivals:
    """Notes how long jobs took from when they were sent to their handlers.

    :param done: called when as many as were ordered have come.
    """

    def __init__(self, order: Order, done: Callable[[], None]) -> None:
        self._done = done
        self._jobs = order.jobs
        self._seconds: list[float] = []
        self._idle = 0

    def came(self, place: int, sent: int) -> None:
        """Note a job, at the first line of its handler."""
        self._seconds.append((time.time_ns() - sent) / 1e9)
        if len(self._seconds) == self._jobs:
            self._done()

    def rest(self) -> None:
        """Note the memory of a worker that waits."""
        self._idle = memory.resident()

    def result(self) -> Waited:
        """Tell how it went."""
        return Waited(self._seconds, self._idle)


def one_by_one(record: Record) -> Record:
    """Return a record that many threads may call at once."""
    lock = threading.Lock()

    def recorded(place: int, sent: int) -> None:
        with lock:
            record(place, sent)

    return recorded
