"""Replace the processes of ``asyncwork run --processes`` under load: ``python -m benchmarks.rolling``, with ``--quick``
for a shorter run.

Four processes run jobs of 10 ms, four at once in each. A SIGUSR2 replaces them one by one. The report lists the
throughput of each half second, and counts the jobs that were cut off or started twice.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import statistics
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from asyncwork.embedded import EmbeddedRedis

from . import machine
from .parent import Parent, running
from .table import table
from .timed_jobs import enqueue, read_events

NAMESPACE, PROCESSES, CONCURRENCY, SECONDS = "rolling", 4, 4, 0.01
# Nanoseconds in which jobs are counted together.
_BIN = 500_000_000
_LIMIT = 300.0


@dataclass
class Rolled:
    """What has become of the jobs.

    :ivar before: jobs that ended in each half second before the restart.
    :ivar during: the same from its begin to its end.
    :ivar after: the same after it.
    :ivar cut_off: jobs that started and did not end in the same process.
    :ivar twice: jobs that were started more than once.
    :ivar jobs: jobs that were started.
    :ivar restart_seconds: how long the rolling restart took.
    """

    before: list[int]
    during: list[int]
    after: list[int]
    cut_off: int
    twice: int
    jobs: int
    restart_seconds: float

    @property
    def usual(self) -> float:
        """The median of the half seconds before the restart."""
        return statistics.median(self.before)


def account(text: str, began: int, ended: int, stopped: int) -> Rolled:
    """Account for the jobs that were started.

    :param text: the events, a line each.
    :param began: when the rolling restart began, monotonic nanoseconds.
    :param ended: when it ended.
    :param stopped: when the jobs were no longer watched. Jobs that ended later are in no half second.
    """
    starts: Counter[int] = Counter()
    started: set[tuple[int, int]] = set()
    done: set[tuple[int, int]] = set()
    bins: Counter[int] = Counter()
    first = 0
    for what, number, pid, at in read_events(text):
        if what == "start":
            starts[number] += 1
            started.add((number, pid))
        else:
            done.add((number, pid))
            first = first or at
            # Counted from the begin of the restart, so that no half second is partly before it.
            bins[(at - began) // _BIN] += 1
    last = (ended - began) // _BIN
    return Rolled(
        # The first half second may be partial, and the processes start in the one after it.
        before=[bins[each] for each in range((first - began) // _BIN + 2, 0)],
        during=[bins[each] for each in range(last + 1)],
        after=[bins[each] for each in range(last + 1, (stopped - began) // _BIN)],
        cut_off=len(started - done),
        twice=sum(count > 1 for count in starts.values()),
        jobs=len(starts),
        restart_seconds=(ended - began) / 1e9,
    )


async def measure(url: str, directory: Path, seconds: float) -> Rolled:
    """Run jobs, and replace the processes meanwhile.

    :param seconds: how long jobs run before and after the rolling restart.
    """
    events = directory / "events"
    # More than they can run until then: a rolling restart takes some seconds.
    await enqueue(url, NAMESPACE, int(PROCESSES * CONCURRENCY / SECONDS * (2 * seconds + 60)))
    environment = {
        "TIMED_EVENTS": str(events),
        "TIMED_SECONDS": str(SECONDS),
        "TIMED_CONCURRENCY": str(CONCURRENCY),
    }
    async with (
        asyncio.timeout(_LIMIT),
        running("benchmarks.timed_app:pool", PROCESSES, url, NAMESPACE, directory / "log", environment) as parent,
    ):
        await _logs(parent, f"serving in {PROCESSES} child processes")
        await asyncio.sleep(seconds)
        began = time.monotonic_ns()
        parent.send(signal.SIGUSR2)
        await _logs(parent, "rolling restart done")
        ended = time.monotonic_ns()
        await asyncio.sleep(seconds)
        stopped = time.monotonic_ns()
    return account(events.read_text(), began, ended, stopped)


async def _logs(parent: Parent, text: str) -> None:
    while text not in parent.log:
        parent.check()
        await asyncio.sleep(0.02)


def main() -> int:
    """Measure, print the report, and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.rolling", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="3 s before and after the restart instead of 10 s")
    seconds = 3.0 if parser.parse_args().quick else 10.0
    print(f"load of the machine: {machine.load():.2f}")
    with (
        tempfile.TemporaryDirectory() as directory,
        EmbeddedRedis(Path(directory) / "data", appendonly=False) as redis,
    ):
        found = asyncio.run(measure(redis.url, Path(directory), seconds))
    head = ["", "half seconds", "jobs in each: least", "median", "most", "least, of the median before"]
    rows = [
        [name, str(len(each)), str(min(each)), f"{statistics.median(each):.0f}", str(max(each)), _share(each, found)]
        for name, each in (("before", found.before), ("restart", found.during), ("after", found.after))
    ]
    print(table(head, rows))
    print(
        f"{found.jobs:,} jobs, {found.cut_off} cut off, {found.twice} started twice; "
        f"the restart took {found.restart_seconds:.1f} s"
    )
    print(f"load of the machine: {machine.load():.2f}")
    return 1 if found.cut_off or found.twice else 0


def _share(each: list[int], found: Rolled) -> str:
    return f"{min(each) / found.usual:.0%}"


if __name__ == "__main__":
    sys.exit(main())
