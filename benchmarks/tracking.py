"""Measure jobs whose results are kept, and timeouts: ``python -m benchmarks.tracking``, with ``--quick`` for less.

The report has four tables: the time from enqueueing a job to its result on an idle worker, beside arq, saq and taskiq;
jobs per second with results and without; the memory of a process that waits for many results; and what a timeout costs
a job that never waits. Starts its own Redis.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from asyncwork import Job, JobOptions
from asyncwork._jobs.payload import write_payload
from asyncwork._json import members
from asyncwork._worker.interruption import timeout_of
from asyncwork._worker.job_context import start

from . import machine
from .catalogue import ASYNCWORK, PEERS, Side
from .environments import MissingError, Program, make
from .latencies import percentile
from .measure import Bench, started_bench
from .orders import Case
from .process import BenchmarkError
from .table import spread, table

# The peers that can wait for a result without blocking an event loop.
_WAITING = ("arq", "saq", "taskiq-list", "taskiq-stream")
_CONCURRENCY = 20
# The names of all jobs.
_NAMES = 1


@dataclass(frozen=True, slots=True)
class Plan:
    """The size of each measurement.

    :ivar rounds: how often each is repeated; the sides take turns.
    :ivar trips: round trips of each side.
    :ivar jobs: jobs in each drain; peers get a twentieth.
    :ivar waiters: results that one process waits for.
    :ivar calls: calls of each microbenchmark.
    """

    rounds: int = 3
    trips: int = 1_000
    jobs: int = 100_000
    waiters: int = 10_000
    calls: int = 200_000


QUICK = Plan(rounds=1, trips=50, jobs=2_000, waiters=500, calls=5_000)


def _case(side: Side, *, tracked: bool = True) -> Case:
    return Case(side.name, min(_CONCURRENCY, side.most), names=_NAMES, tracked=tracked)


def round_trips(bench: Bench, sides: Sequence[Side], plan: Plan) -> str:
    """Return a table of the time from enqueueing to the result."""
    found: dict[str, list[list[float]]] = {side.name: [] for side in sides}
    for _ in range(plan.rounds):
        for side in sides:
            found[side.name].append(bench.trips(_case(side), plan.trips))
    rows = []
    for name, rounds in found.items():
        medians = [statistics.median(each) * 1000 for each in rounds]
        slow = [percentile(each, 99) * 1000 for each in rounds]
        rows.append([name, spread(medians, "{:.2f}".format), spread(slow, "{:.2f}".format)])
    return table(["enqueue to result, idle worker", "p50, ms", "p99, ms"], rows)


def throughput(bench: Bench, sides: Sequence[Side], plan: Plan) -> str:
    """Return a table of jobs per second, with results and without."""
    cases = [_case(side, tracked=tracked) for side in sides for tracked in (False, True)]
    rates: dict[Case, list[float]] = {case: [] for case in cases}
    for _ in range(plan.rounds):
        for case in cases:
            jobs = plan.jobs if case.side == ASYNCWORK.name else plan.jobs // 20
            rates[case].append(bench.drain(case, jobs).rate)
    rows = [[case.label, spread(found)] for case, found in rates.items()]
    return table(["drain", "jobs/s"], rows)


def waiters(bench: Bench, plan: Plan) -> str:
    """Return a table of the memory of one process that waits for many results."""
    runs = [bench.waiters(_case(ASYNCWORK), plan.waiters) for _ in range(plan.rounds)]
    more = [(each.after - each.before) / plan.waiters / 1024 for each in runs]
    whole = [each.after / 1e6 for each in runs]
    row = [f"{plan.waiters:,} waiters", spread(whole, "{:.0f}".format), spread(more, "{:.1f}".format)]
    return table(["one process", "MB in all", "KiB for each"], [row])


async def _handle(context: Any, job: Job) -> None: ...


def _run_one(payload: bytes, options: JobOptions) -> None:
    """Do what a worker does for a job that never waits, as far as a timeout may concern it."""
    job = Job.decode(payload)
    if start(_handle, None, job) is not None:
        timeout_of(job, options)


def timeouts(plan: Plan) -> str:
    """Return a table of what a timeout costs a job that never waits, beside what it costs one that waits."""
    plain = write_payload("job", f"{0:024x}", 1, b'{"index":1}')
    own = members.splice(plain, {"timeout": b"30"})
    kinds: dict[str, Callable[[], None]] = {
        "no timeout": lambda: _run_one(plain, _NO_TIMEOUT),
        "timeout of its type": lambda: _run_one(plain, _TIMEOUT),
        "timeout of its own": lambda: _run_one(own, _NO_TIMEOUT),
    }
    best = dict.fromkeys(kinds, float("inf"))
    for _ in range(max(3, plan.rounds)):
        for name, run in kinds.items():
            best[name] = min(best[name], _nanoseconds(run, plan.calls))
    base = best["no timeout"]
    rows = [[name, f"{found:,.0f}", f"{found - base:+,.0f}"] for name, found in best.items()]
    return table(["job that never waits", "ns", "more than without"], rows)


_NO_TIMEOUT, _TIMEOUT = JobOptions(), JobOptions(timeout=30)


def _nanoseconds(run: Callable[[], None], calls: int) -> float:
    began = time.perf_counter_ns()
    for _ in range(calls):
        run()
    return (time.perf_counter_ns() - began) / calls


def _sections(bench: Bench, sides: Sequence[Side], plan: Plan) -> Iterator[str]:
    yield round_trips(bench, sides, plan)
    yield throughput(bench, sides, plan)
    yield waiters(bench, plan)
    yield timeouts(plan)


def _programs(sides: Sequence[Side]) -> dict[str, Program]:
    """Return the programs of the sides that can be built."""
    found = {}
    for side in sides:
        try:
            found[side.name] = make(side)
        except MissingError as error:
            print(f"{side.name} is missing: {error}", file=sys.stderr)
    return found


def main() -> int:
    """Measure, print the report, and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.tracking", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one short round, to check that everything works")
    parser.add_argument(
        "--peers",
        choices=("all", "none", *_WAITING),
        default="all",
        help="which peers to measure beside asyncwork (default %(default)s)",
    )
    options = parser.parse_args()
    peers = [side for side in PEERS if side.name in _WAITING and options.peers in ("all", side.name)]
    plan = QUICK if options.quick else Plan()
    programs = _programs([ASYNCWORK, *peers])
    sides = [side for side in (ASYNCWORK, *peers) if side.name in programs]
    with started_bench(programs) as bench:
        for fact in (
            machine.versions(bench.redis_version),
            *(each.versions for each in dict.fromkeys(programs.values()) if each.versions),
            machine.machine(),
            f"load average {machine.load():.2f} before",
            f"rounds: {plan.rounds}; figures are medians (least-most)",
        ):
            print(f"- {fact}")
        try:
            for section in _sections(bench, sides, plan):
                print(f"\n{section}", flush=True)
        except BenchmarkError as error:
            print(f"benchmark failed: {error}", file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
