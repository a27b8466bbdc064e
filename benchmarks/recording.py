"""Recorders that the handlers of all sides call: they count runs, and measure times and memory."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import replace

from . import memory
from .orders import Drained, Order, Shared, Waited

# A handler calls this with its job's index, and when the job was sent (epoch nanoseconds; 0 if unknown).
Record = Callable[[int, int], None]


class RunRecorder:
    """Counts the runs of each job, and measures the time from the start of the first job to the end of the last.

    Create it when everything is ready to start, because it records the memory of the idle worker.

    :param done: called when as many jobs as ordered have run.
    """

    def __init__(self, order: Order, done: Callable[[], None]) -> None:
        self._done = done
        self._runs = bytearray(order.jobs + order.waiting)
        self._left = order.jobs
        self._whole = order.waiting == 0
        self._idle = memory.resident()
        # The first job that ends has started this many seconds earlier.
        self._sleep = order.case.sleep
        self._started = self._ended = 0.0
        self._cpu_before = self._cpu_after = 0.0

    def ran(self, index: int, sent: int = 0) -> None:
        """Count the run of a job."""
        if not self._started:
            self._start_clocks()
        self._runs[index] += 1
        self._left -= 1
        if self._left == 0:
            self._ended, self._cpu_after = time.perf_counter(), time.process_time()
            self._done()

    def _start_clocks(self) -> None:
        self._started, self._cpu_before = time.perf_counter() - self._sleep, time.process_time()

    def result(self) -> Drained:
        """Return the result of the drain."""
        once = self._runs.count(1)
        not_once = len(self._runs) - once - (0 if self._whole else self._runs.count(0))
        cpu = self._cpu_after - self._cpu_before
        seconds = self._ended - self._started
        return Drained(seconds, cpu, self._idle, memory.resident(), memory.peak(), not_once)


class FlowRecorder(RunRecorder):
    """Counts the runs of jobs that depend on each other, and those that ran before one that they wait for."""

    def __init__(self, order: Order, done: Callable[[], None]) -> None:
        super().__init__(order, done)
        self._early = 0
        self._is_chain = order.case.flow == "chain"

    def ran(self, index: int, sent: int = 0) -> None:
        """Count the run of a job."""
        has_run = len(self._runs) - self._left
        if has_run < index and (self._is_chain or index == len(self._runs) - 1):
            self._early += 1
        super().ran(index, sent)

    def result(self) -> Drained:
        """Return the result of the drain."""
        return replace(super().result(), early=self._early)


class SharedRunRecorder(RunRecorder):
    """Counts the runs in one of several processes. Such a process does not know which job is the last."""

    def ran(self, index: int, sent: int = 0) -> None:
        """Count the run of a job."""
        if not self._started:
            self._start_clocks()
        self._runs[index] += 1
        self._ended = time.perf_counter()

    def share(self) -> Shared:
        """Return the result of this process."""
        cpu = time.process_time() - self._cpu_before if self._started else 0.0
        sizes = (self._idle, memory.resident(), memory.peak())
        return Shared(self._started, self._ended, cpu, *sizes, self._runs.hex())


class LatencyRecorder:
    """Records the latencies of jobs.

    :param done: called when as many jobs as ordered have arrived.
    """

    def __init__(self, order: Order, done: Callable[[], None]) -> None:
        self._done = done
        self._jobs = order.jobs
        self._seconds: list[float] = []
        self._idle = 0

    def arrived(self, index: int, sent: int) -> None:
        """Record the latency of a job. Called in the first line of its handler."""
        self._seconds.append((time.time_ns() - sent) / 1e9)
        if len(self._seconds) == self._jobs:
            self._done()

    def record_idle_memory(self) -> None:
        """Record the memory of an idle worker."""
        self._idle = memory.resident()

    def result(self) -> Waited:
        """Return the latencies."""
        return Waited(self._seconds, self._idle)


def thread_safe(record: Record) -> Record:
    """Return a function that many threads may call at once."""
    lock = threading.Lock()

    def recorded(index: int, sent: int) -> None:
        with lock:
            record(index, sent)

    return recorded
