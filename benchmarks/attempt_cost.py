"""Measures what the metrics cost for each job: ``python -m benchmarks.attempt_cost``.

Counting an attempt is timed with and without the histograms of run and wait times, in turn, because the speed of a
machine changes from moment to moment. Nothing else of the metrics runs for each job. It also times a scrape.
"""

from __future__ import annotations

import argparse
import gc
import time
from collections.abc import Callable
from statistics import median

from asyncwork._health.histogram import CHUNK_BOUNDS, WAIT_BOUNDS, histogram_of
from asyncwork._health.process_metrics import process_metrics
from asyncwork._health.report import MOST_NAMES, JobReport
from asyncwork._pool.process_source import ProcessSource
from asyncwork._worker.metrics import OUTCOMES, QueueMetrics

_ROUNDS, _QUICK_ROUNDS = 41, 3
_CALLS = 50_000

Record = Callable[[int, float, float], None]


class PlainMetrics:
    """Counts attempts without histograms."""

    __slots__ = ("processed", "run", "waited")

    def __init__(self) -> None:
        self.processed = self.waited = 0
        self.run = 0.0

    def record_attempt(self, enqueued_at: int, started_at: float, ended_at: float) -> None:
        """Count an attempt that has ended."""
        self.processed += 1
        self.run += ended_at - started_at
        waited = int(started_at) - enqueued_at
        if waited > 0 < enqueued_at:
            self.waited += waited


def nanoseconds(record: Record) -> float:
    """Return the CPU time of one call."""
    started = time.process_time_ns()
    for _ in range(_CALLS):
        record(1_900_000_000, 1_900_000_003.25, 1_900_000_003.251)
    return (time.process_time_ns() - started) / _CALLS


def scrape_of(names: int) -> tuple[float, int]:
    """Return the milliseconds that the text of a report with so many names takes, and its bytes."""
    metrics = QueueMetrics()
    metrics.record_attempt(1_900_000_000, 1_900_000_003.25, 1_900_000_003.251)
    job: JobReport = {
        "outcomes": dict.fromkeys(OUTCOMES, 1),
        "run": histogram_of([(metrics.run_counts, metrics.run)]),
        "wait": histogram_of([(metrics.wait_counts, float(metrics.waited))], WAIT_BOUNDS),
        "chunks": histogram_of([], CHUNK_BOUNDS),
        "steps": {},
    }
    report = {**ProcessSource().report(), "jobs": {f"job_{number}": job for number in range(names)}}
    started = time.process_time()
    text = process_metrics(report)  # type: ignore[arg-type]
    return (time.process_time() - started) * 1000, len(text)


def main() -> None:
    """Measure, and print the medians."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="only check that everything works")
    rounds = _QUICK_ROUNDS if parser.parse_args().quick else _ROUNDS
    gc.disable()
    counted: list[float] = []
    differences: list[float] = []
    for round_number in range(rounds):
        pair = [PlainMetrics().record_attempt, QueueMetrics().record_attempt]
        order = (0, 1) if round_number % 2 else (1, 0)
        took = {at: nanoseconds(pair[at]) for at in order}
        counted.append(took[1])
        differences.append(took[1] - took[0])
    print(f"counting an attempt: {median(counted):.0f} ns, {median(differences):.0f} ns of them for the histograms")
    milliseconds, size = scrape_of(MOST_NAMES)
    print(f"a scrape with {MOST_NAMES} names: {milliseconds:.1f} ms, {size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
