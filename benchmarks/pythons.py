"""Measure asyncwork with several Pythons, on asyncio and on uvloop: ``python -m benchmarks.pythons python3.13 …``.

All cases take turns, and the first Python on asyncio is what the others are compared with. Each Python gets an
environment of its own in ``build/pythons``. Starts its own Redis.
"""

from __future__ import annotations

import argparse
import sys
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace

from . import machine
from .catalogue import ASYNCWORK
from .environments import MissingError, make_with
from .measure import Bench, Drain, started_bench
from .orders import Case
from .process import BenchmarkError
from .results import paired
from .rounds import SLEEP
from .table import spread, table

# The workers, and the seconds that each job sleeps.
_KINDS = {"no-op, 10 workers": (10, 0.0), "no-op, 100 workers": (100, 0.0), "10 ms, 100 workers": (100, SLEEP)}


def measure(bench: Bench, pythons: Sequence[str], rounds: int, jobs: int) -> dict[str, dict[Case, list[Drain]]]:
    """Return the drains of each kind, by Python and event loop.

    :param jobs: no-op jobs in each drain; a tenth of jobs that sleep.
    :raises BenchmarkError: when a drain fails.
    """
    found: dict[str, dict[Case, list[Drain]]] = {kind: defaultdict(list) for kind in _KINDS}
    for number in range(rounds):
        for kind, (workers, sleep) in _KINDS.items():
            case = Case("", workers, sleep=sleep)
            cases = [replace(case, side=python, uvloop=uvloop) for python in pythons for uvloop in (False, True)]
            # The order changes from round to round, because the speed of the machine does.
            for each in reversed(cases) if number % 2 else cases:
                found[kind][each].append(bench.drain(each, jobs // 10 if sleep else jobs))
        print(f"round {number + 1}", file=sys.stderr, flush=True)
    return found


def report(found: dict[str, dict[Case, list[Drain]]]) -> str:
    """Return the table."""
    rows = []
    for kind, cases in found.items():
        first = next(iter(cases.values()))
        for case, drains in cases.items():
            row = [f"{kind}: {case.label}"]
            for figures, base, shown in (
                (_rates(drains), _rates(first), "{:,.0f}".format),
                (_costs(drains), _costs(first), "{:.1f}".format),
            ):
                row += [
                    spread(figures, shown),
                    "" if drains is first else spread(paired(figures, base), "{:.2f}".format),
                ]
            rows.append(row)
    return table(["", "jobs/s", "of the first (pairs)", "µs of CPU a job", "of the first (pairs)"], rows)


def _rates(drains: Sequence[Drain]) -> list[float]:
    return [drain.rate for drain in drains]


def _costs(drains: Sequence[Drain]) -> list[float]:
    return [1e6 * drain.worker.cpu / drain.jobs for drain in drains]


def main() -> int:
    """Measure, print the table, and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.pythons", description=__doc__)
    parser.add_argument("python", nargs="*", default=[sys.executable], help="an interpreter (default: this one)")
    parser.add_argument("--rounds", type=int, default=5, help="number of rounds (default %(default)s)")
    parser.add_argument("--jobs", type=int, default=40_000, help="no-op jobs in each drain (default %(default)s)")
    options = parser.parse_args()
    try:
        made = [make_with(ASYNCWORK, python) for python in options.python]
    except MissingError as error:
        parser.error(str(error))
    programs = {f"CPython {program.versions}": program for program in made}
    before = machine.load()
    with started_bench(programs) as bench:
        redis = bench.redis_version
        try:
            found = measure(bench, list(programs), options.rounds, options.jobs)
        except BenchmarkError as error:
            print(f"benchmark failed: {error}", file=sys.stderr)
            return 1
    print(f"- {machine.versions(redis)}\n- {machine.machine()}")
    print(f"- load average {before:.2f} before, {machine.load():.2f} after\n- rounds: {options.rounds}\n")
    print(report(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
