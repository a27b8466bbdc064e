"""Measure asyncwork, its bare hot path and other queues on this machine. README.md explains how.

Starts its own Redis. Writes tables to standard output, progress to standard error, and the speed of all sides to a
file, of which ``python -m benchmarks.picture`` makes the picture and the figures of the documents.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from . import machine
from .catalogue import ALONE, ASYNCWORK, BASELINE, PEERS, Side, named
from .environments import ROOT, MissingError, Program, make
from .measure import started_bench
from .process import BenchmarkError
from .report import sections
from .results import Results
from .rounds import MEASUREMENTS, QUICK, Plan, Rounds
from .speed import Speed


def main() -> int:
    """Run the measurements of the command line; return the exit code."""
    options = _options()
    plan = QUICK if options.quick else Plan()
    if options.rounds:
        plan = replace(plan, rounds=options.rounds)
    results = Results()
    programs = _programs([ASYNCWORK, BASELINE, ALONE, *options.peers], results)
    peers = [side for side in options.peers if side.name in programs]
    began, before = time.monotonic(), machine.load()
    with started_bench(programs) as bench:
        redis = bench.redis_version
        try:
            Rounds(bench, plan, peers, options.only, results).run()
        except BenchmarkError as error:
            print(f"benchmark failed: {error}", file=sys.stderr)
            return 1
    facts = [
        machine.versions(redis),
        *(program.versions for program in dict.fromkeys(programs.values()) if program.versions),
        machine.machine(),
        (
            f"{time.strftime('%Y-%m-%d %H:%M')}, {time.monotonic() - began:,.0f} s in all; "
            f"load average {before:.2f} before, {machine.load():.2f} after"
        ),
        f"rounds: {plan.rounds}; figures are medians (least-most), ratios are taken within the rounds",
        "Redis over loopback TCP, nothing persisted; every run audited: each job ran once",
    ]
    print("\n".join(f"- {fact}" for fact in facts))
    for section in sections(results):
        print(f"\n{section}")
    if results.drains:
        day, versions = time.strftime("%Y-%m-%d"), machine.versions(redis)
        load = (round(before, 2), round(machine.load(), 2))
        speed = Speed.of(results, day=day, machine=machine.machine(), versions=versions, load=load, rounds=plan.rounds)
        speed.write(options.record)
        print(f"wrote the speed of all sides to {options.record}", file=sys.stderr)
    return 0


def _programs(sides: Sequence[Side], results: Results) -> dict[str, Program]:
    """Return the program of each side; record sides that cannot be built as missing."""
    found = {}
    for side in sides:
        try:
            found[side.name] = make(side)
        except MissingError as error:
            results.missing[side.name] = str(error)
            print(f"{side.name} is missing: {error}", file=sys.stderr)
    return found


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one short round, to check that everything works")
    parser.add_argument("--rounds", type=_at_least_one, help=f"number of rounds (default {Plan().rounds})")
    parser.add_argument(
        "--only", type=_measurements, default=MEASUREMENTS, metavar="LIST", help=f"some of {','.join(MEASUREMENTS)}"
    )
    parser.add_argument(
        "--peers",
        type=_peers,
        default=PEERS,
        metavar="LIST",
        help=f"all, none, or some of {','.join(side.name for side in PEERS)} (default all)",
    )
    parser.add_argument(
        "--record",
        type=Path,
        default=ROOT / "build" / "speed.json",
        help="file for the speed of all sides (default %(default)s)",
    )
    return parser.parse_args()


def _at_least_one(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number of at least 1, not {text!r}")
    return int(text)


def _measurements(text: str) -> list[str]:
    if unknown := [name for name in text.split(",") if name not in MEASUREMENTS]:
        raise argparse.ArgumentTypeError(f"unknown measurement: {', '.join(unknown)}")
    return text.split(",")


def _peers(text: str) -> list[Side]:
    try:
        return named(text)
    except LookupError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


if __name__ == "__main__":
    sys.exit(main())
