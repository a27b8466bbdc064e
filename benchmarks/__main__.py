"""Measures asyncwork on this machine, beside a sketch of its hot path alone; README.md tells what and how.

It starts a Redis of its own. Everything is measured in rounds, in each of which every case has its turn.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections import defaultdict
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from asyncwork.embedded import EmbeddedRedis

from . import report
from .measure import Bench, BenchmarkError, Drain
from .orders import Case, Waited


@dataclass(frozen=True, slots=True)
class Plan:
    """How much to measure: numbers of rounds, and of jobs in each run."""

    rounds: int = 3
    drain: int = 100_000
    trickle: int = 10_000
    wait: int = 200


QUICK = Plan(rounds=1, drain=10_000, trickle=2_000, wait=40)

_HOW = {"trickle": "enqueue, one after the other", "fill": "enqueue_many, all in one call"}


def cases() -> list[Case]:
    """Return what to drain by, in the order of the table."""
    found = []
    for concurrency in (20, 100):
        found += [Case("floor", concurrency, exchanges=1), Case("floor", concurrency)]
        found += [Case("asyncwork", concurrency), Case("asyncwork", concurrency, middleware=1)]
        if find_spec("uvloop"):
            found += [Case("floor", concurrency, uvloop=True), Case("asyncwork", concurrency, uvloop=True)]
    return found


def measure(bench: Bench, plan: Plan) -> str:
    """Measure everything; return the tables."""
    drains: defaultdict[Case, list[Drain]] = defaultdict(list)
    enqueues: defaultdict[str, list[float]] = defaultdict(list)
    waits: defaultdict[Case, list[Waited]] = defaultdict(list)
    for number in range(1, plan.rounds + 1):
        for case in cases():
            drains[case].append(drain := bench.drain(case, plan.drain))
            _tell(f"round {number}: {case.label}, {case.concurrency} workers: {drain.rate:,.0f} jobs/s")
        for how, label in _HOW.items():
            enqueues[label].append(rate := bench.enqueue(how, getattr(plan, "drain" if how == "fill" else how)))
            _tell(f"round {number}: {label}: {rate:,.0f} jobs/s")
        case = Case("asyncwork", 20)
        _tell(f"round {number}: an idle pool gets a job each 50 ms")
        waits[case].append(bench.wait(case, plan.wait))
    return "\n\n".join(
        [
            f"## Draining {plan.drain:,} jobs\n\n{report.drains(drains)}",
            f"## Enqueueing\n\n{report.enqueues(enqueues)}",
            f"## From LPUSH to the handler's start, idle pool\n\n{report.waits(waits)}",
        ]
    )


def _tell(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def main() -> int:
    """Measure as the command line says; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one short round: shows that it works, not how fast it is")
    parser.add_argument("--rounds", type=int, default=Plan().rounds, help="how many rounds (default %(default)s)")
    options = parser.parse_args()
    plan = QUICK if options.quick else Plan(rounds=max(1, options.rounds))
    began, before = time.monotonic(), report.load()
    with (
        tempfile.TemporaryDirectory(prefix="asyncwork-bench-") as directory,
        EmbeddedRedis(Path(directory) / "redis", appendonly=False, port=0) as server,
    ):
        bench = Bench(server.url)
        version = bench.redis_version
        try:
            tables = measure(bench, plan)
        except BenchmarkError as error:
            _tell(f"benchmark failed: {error}")
            return 1
    method = [
        f"{time.strftime('%Y-%m-%d %H:%M')}, {before} before, {report.load().split()[-1]} after",
        "loopback TCP, nothing persisted, one worker process; the same Redis for both sides",
        f"rounds: {plan.rounds}; figures are medians (least-most); every run audited: each job ran once, nothing left",
    ]
    print(f"\n{report.settings(version, method)}\n\n{tables}\n\n{time.monotonic() - began:.0f} s in all")
    return 0


if __name__ == "__main__":
    sys.exit(main())
