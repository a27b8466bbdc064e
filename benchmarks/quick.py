"""Compare this checkout with another one, in at most three minutes: ``make bench-quick BASE=/path/to/checkout``.

Both run the benchmark code of this checkout in alternation, each with its own package and interpreter. The other one
needs a ``.venv``, and may be an older commit. Without ``--base``, only this checkout is measured. Starts its own Redis.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from . import machine
from .catalogue import ASYNCWORK, BASE
from .environments import ROOT, MissingError, commit_of, make, make_elsewhere
from .latencies import percentile
from .measure import Bench, started_bench
from .orders import Case
from .process import BenchmarkError
from .results import paired
from .rounds import CONCURRENCIES, IDLE_RATE, SLEEP, SLEEPERS
from .table import spread, table


@dataclass(frozen=True, slots=True)
class Plan:
    """The size of the comparison.

    :ivar seconds: the time for all rounds. No round begins that would probably end later.
    :ivar rounds: the most rounds.
    :ivar jobs: no-op jobs in each drain, and jobs that are enqueued in bulk.
    :ivar sleepers: jobs that sleep 10 ms.
    :ivar waits: jobs for the latency of an idle worker.
    """

    seconds: float = 165.0
    rounds: int = 9
    jobs: int = 40_000
    sleepers: int = 4_000
    waits: int = 40


# For the tests.
TINY = Plan(rounds=1, jobs=1_000, sleepers=200, waits=5)

# The figures of one side, by name: one for each round.
Figures = dict[str, list[float]]


def compare(bench: Bench, sides: Sequence[str], plan: Plan) -> dict[str, Figures]:
    """Return the figures of each side. The sides take turns, and the order changes from round to round.

    :raises BenchmarkError: when a side fails.
    """
    found: dict[str, Figures] = {side: defaultdict(list) for side in sides}
    began, longest, rounds = time.monotonic(), 0.0, 0
    while rounds < plan.rounds and time.monotonic() - began + longest < plan.seconds:
        start = time.monotonic()
        measures = {side: _measure(bench, side, plan) for side in (reversed(sides) if rounds % 2 else sides)}
        # Each figure of one side right after that of the other, because the speed of the machine changes.
        for pairs in zip(*measures.values(), strict=True):
            for side, figures in zip(measures, pairs, strict=True):
                for name, figure in figures.items():
                    found[side][name].append(figure)
        rounds, longest = rounds + 1, max(longest, time.monotonic() - start)
        print(f"round {rounds}: {time.monotonic() - start:.0f} s", file=sys.stderr, flush=True)
    return found


def _measure(bench: Bench, side: str, plan: Plan) -> Iterator[dict[str, float]]:
    """Yield the figures of one round, a few at a time."""
    for concurrency in CONCURRENCIES:
        drain = bench.drain(Case(side, concurrency), plan.jobs)
        yield {
            f"no-op, {concurrency} workers: jobs/s": drain.rate,
            f"no-op, {concurrency} workers: µs of CPU a job": 1e6 * drain.worker.cpu / drain.jobs,
            f"no-op, {concurrency} workers: µs of Redis a job": 1e6 * drain.redis.cpu / drain.jobs,
        }
    drain = bench.drain(Case(side, SLEEPERS, sleep=SLEEP), plan.sleepers)
    yield {
        f"10 ms, {SLEEPERS} workers: jobs/s": drain.rate,
        f"10 ms, {SLEEPERS} workers: µs of CPU a job": 1e6 * drain.worker.cpu / drain.jobs,
    }
    yield {"bulk enqueue: jobs/s": bench.enqueue("fill", Case(side, 1), plan.jobs)}
    waited = bench.flow(Case(side, CONCURRENCIES[0]), plan.waits, IDLE_RATE).waited.seconds
    yield {
        "idle, enqueue to handler: p50, ms": 1000 * percentile(waited, 50),
        "idle, enqueue to handler: p95, ms": 1000 * percentile(waited, 95),
    }


def report(found: dict[str, Figures]) -> str:
    """Return the table: with two sides, their medians and the ratio; with one, its medians and their spread."""
    ours = found[ASYNCWORK.name]
    if BASE.name not in found:
        return table(["", "median (least-most)"], [[name, spread(each, _shown)] for name, each in ours.items()])
    rows = []
    for name, figures in ours.items():
        base = found[BASE.name][name]
        pairs = paired(figures, base)
        ratio = f"{median(figures) / median(base):.2f} ({min(pairs):.2f}-{max(pairs):.2f})"
        rows.append([name, _shown(median(base)), _shown(median(figures)), ratio])
    return table(["", "base", "this", "this / base (pairs)"], rows)


def _shown(figure: float) -> str:
    return f"{figure:,.0f}" if figure >= 1000 else f"{figure:,.2f}"


def main() -> int:
    """Measure, print the table, and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.quick", description=__doc__)
    parser.add_argument("--base", type=Path, metavar="DIR", help="the checkout to compare with (default none)")
    parser.add_argument("--tiny", action="store_true", help="one round with few jobs, to check that everything works")
    options = parser.parse_args()
    plan = TINY if options.tiny else Plan()
    checkouts = {ASYNCWORK.name: ROOT}
    try:
        programs = {ASYNCWORK.name: make(ASYNCWORK)}
        if options.base is not None:
            programs[BASE.name] = make_elsewhere(BASE, options.base)
            checkouts = {BASE.name: options.base.resolve(), **checkouts}
    except MissingError as error:
        parser.error(f"--base: {error}")
    before = machine.load()
    with started_bench(programs) as bench:
        redis = bench.redis_version
        try:
            found = compare(bench, list(checkouts), plan)
        except BenchmarkError as error:
            print(f"benchmark failed: {error}", file=sys.stderr)
            return 1
    for side, checkout in checkouts.items():
        print(f"- {'this' if side == ASYNCWORK.name else side}: {checkout} {commit_of(checkout)}".rstrip())
    print(f"- {machine.versions(redis)}\n- {machine.machine()}")
    rounds = len(next(iter(found[ASYNCWORK.name].values())))
    print(f"- load average {before:.2f} before, {machine.load():.2f} after\n- rounds: {rounds}\n")
    print(report(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
