"""``python -m tests.chaos``: one run after the other, each with its seed; the exit code is 1 when one went wrong."""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
import tempfile
import time
from pathlib import Path

from . import trial
from .account import report, settle


def main() -> int:
    """Run as the command line says; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    add = parser.add_argument
    add(
        "--seed", type=int, help="of the first run; any other by default. A run that went wrong is repeated by its seed"
    )
    add("--seconds", type=float, default=60.0, help="for how long faults strike (default %(default)g)")
    add("--runs", type=int, default=1, help="how many runs, each with the next seed (default %(default)s)")
    add("--pace", type=float, default=0.7, help="seconds between two faults, on average (default %(default)g)")
    add("--workers", type=int, default=4, help="how many worker processes at a time (default %(default)s)")
    add("--producers", type=int, default=3, help="how many enqueue at a time (default %(default)s)")
    options = parser.parse_args()
    first = options.seed if options.seed is not None else random.randrange(1_000_000)
    failed = []
    for seed in range(first, first + options.runs):
        directory = Path(tempfile.mkdtemp(prefix=f"chaos-{seed}-"))
        print(f"seed {seed}: {options.seconds:g} s of faults; logs and records in {directory}", flush=True)
        began = time.monotonic()
        evidence = asyncio.run(
            trial.run(
                directory,
                seed=seed,
                seconds=options.seconds,
                pace=options.pace,
                workers=options.workers,
                producers=options.producers,
            )
        )
        account = settle(evidence)
        print(f"\n{report(evidence, account)}\n\n{time.monotonic() - began:.0f} s in all\n", flush=True)
        if account.wrong:
            failed.append(seed)
    if failed:
        print(f"seeds that went wrong: {', '.join(map(str, failed))}; each again by --seed", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
