"""Counts jobs as they run, alike on both sides."""

from __future__ import annotations

import asyncio
import time

from . import memory
from .orders import Drained


class Tally:
    """Counts how often each job ran; reads the clocks when as many runs as there are jobs have ended.

    Made when everything is ready to start: the memory that is taken by then is what an idle worker takes.
    """

    def __init__(self, jobs: int) -> None:
        self.done = asyncio.Event()
        self._runs = bytearray(jobs)
        self._left = jobs
        self._seconds = self._cpu = 0.0
        self._idle = memory.resident()
        self._started, self._cpu_before = time.perf_counter(), time.process_time()

    def ran(self, place: int) -> None:
        """Count a run."""
        self._runs[place] += 1
        self._left -= 1
        if self._left == 0:
            self._seconds = time.perf_counter() - self._started
            self._cpu = time.process_time() - self._cpu_before
            self.done.set()

    def result(self) -> Drained:
        """Tell how it went."""
        astray = len(self._runs) - self._runs.count(1)
        return Drained(self._seconds, self._cpu, self._idle, memory.peak(), astray)
