"""Drains of many cases in turn, for a limited time. The limits and the flows are measured so."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from . import machine
from .catalogue import ASYNCWORK, Side, named
from .environments import MissingError, Program, make
from .measure import Bench, Drain, started_bench
from .orders import Case
from .process import BenchmarkError
from .results import paired
from .table import spread, table
from .targets import Target


@dataclass
class Turns:
    """What was measured.

    :ivar drains: of each case, one for each round.
    :ivar missing: the sides that could not be measured, with the reasons.
    """

    drains: dict[Case, list[Drain]] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)

    def rates(self, case: Case, *, filling: bool = False) -> list[float]:
        """Return the jobs per second of each round; none if the case was not measured.

        :param filling: whether the time counts in which the jobs were enqueued.
        """
        return [
            each.jobs / (each.worker.seconds + (each.filling if filling else 0.0)) for each in self.drains.get(case, [])
        ]


class Measuring(Protocol):
    """Measures asyncwork and peers."""

    def __call__(self, bench: Bench, peers: Sequence[Side], *, quick: bool) -> Turns: ...


def times(ours: Sequence[float], theirs: Sequence[float]) -> list[float]:
    """Return the ratio of each round; none if one of them was not measured."""
    return paired(ours, theirs) if ours and theirs else []


def take_turns(bench: Bench, cases: Mapping[Case, int], rounds: int, seconds: float) -> Turns:
    """Measure each case once in each round, in the opposite order every second round.

    :param cases: the number of jobs of each.
    :param seconds: no round begins that would probably end later.
    :raises BenchmarkError: when asyncwork fails. A peer that fails is dropped.
    """
    found = Turns({case: [] for case in cases})
    began, longest = time.monotonic(), 0.0
    for number in range(rounds):
        start = time.monotonic()
        if number and start - began + longest > seconds:
            break
        for case in reversed(list(found.drains)) if number % 2 else list(found.drains):
            if case in found.drains:
                _measure(bench, case, cases[case], found)
        longest = max(longest, time.monotonic() - start)
        print(f"round {number + 1}: {time.monotonic() - start:.0f} s", file=sys.stderr, flush=True)
    return found


def _measure(bench: Bench, case: Case, jobs: int, found: Turns) -> None:
    try:
        found.drains[case].append(bench.drain(case, jobs))
    except BenchmarkError as error:
        if case.side == ASYNCWORK.name:
            raise
        reason = str(error).strip().splitlines()[-1]
        print(f"{case.label} is missing: {reason}", file=sys.stderr, flush=True)
        found.missing[case.label] = reason
        del found.drains[case]


def run(
    name: str,
    about: str | None,
    peers: Sequence[Side],
    measure: Measuring,
    report: Callable[[Turns], Iterable[str]],
) -> int:
    """Run a benchmark with the command line of this process, print its report, and return the exit code.

    :param measure: measures the sides, and is given whether it is only to check that everything works.
    """
    parser = argparse.ArgumentParser(prog=f"python -m benchmarks.{name}", description=about)
    parser.add_argument("--quick", action="store_true", help="one short round, to check that everything works")
    parser.add_argument(
        "--peers", default="all", help=f"all, none, or some of {','.join(side.name for side in peers)} (default all)"
    )
    options = parser.parse_args()
    try:
        chosen = named(options.peers, peers)
    except LookupError as error:
        parser.error(f"--peers: {error}")
    before = machine.load()
    programs, missing = _programs([ASYNCWORK, *chosen])
    with started_bench(programs) as bench:
        redis = bench.redis_version
        try:
            found = measure(bench, [side for side in chosen if side.name in programs], quick=options.quick)
        except BenchmarkError as error:
            print(f"benchmark failed: {error}", file=sys.stderr)
            return 1
    found.missing.update(missing)
    rounds = len(next(iter(found.drains.values())))
    for fact in (
        machine.versions(redis),
        *(each.versions for each in programs.values() if each.versions),
        machine.machine(),
        f"load average {before:.2f} before, {machine.load():.2f} after",
        f"rounds: {rounds}; figures are medians (least-most), ratios are taken within the rounds",
        *(f"missing: {what}: {why}" for what, why in found.missing.items()),
    ):
        print(f"- {fact}")
    for section in report(found):
        print(f"\n{section}")
    return 0


def aims(targets: Sequence[Target]) -> str:
    """Return the table of the targets."""
    rows = [[each.what, spread(each.found, each.shown), each.verdict] for each in targets]
    return table(["aim", "found", ""], rows)


def _programs(sides: Sequence[Side]) -> tuple[dict[str, Program], dict[str, str]]:
    """Return the programs of the sides that can be built, and why the others cannot."""
    found, missing = {}, {}
    for side in sides:
        try:
            found[side.name] = make(side)
        except MissingError as error:
            missing[side.name] = str(error)
    return found, missing
