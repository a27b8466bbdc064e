"""Kill processes of ``asyncwork run --processes`` under load: ``python -m benchmarks.killing``, with ``--quick`` for a
tenth of the size.

Four processes run 50,000 jobs of 50 ms. Fifty times, one of them is killed with SIGKILL. All periods have their
defaults. The report lists how long it took until each job that was running then was started by another process, how
many jobs were lost, and how many ran more than once.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import signal
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

from asyncwork import Client
from asyncwork.embedded import EmbeddedRedis
from asyncwork.testing import audit

from . import machine
from .parent import running
from .table import table
from .timed_jobs import enqueue, read_events

NAMESPACE, PROCESSES = "killing", 4
# Seconds between two kills, on average.
_EACH = 1.0
_LIMIT = 900.0


@dataclass
class Account:
    """What has become of the jobs.

    :ivar recovery: for each job that a killed process was running, seconds from the kill to its next start.
    :ivar interrupted: how many these were.
    :ivar dead: jobs that are dead, because they were running when three processes were killed.
    :ivar lost: jobs that have not ended, and are not dead.
    :ivar repeated: how many starts there were beyond the first of each job.
    """

    recovery: list[float] = field(default_factory=list)
    interrupted: int = 0
    dead: int = 0
    lost: int = 0
    repeated: int = 0


def account(text: str, kills: dict[int, int], jobs: int, dead: int) -> Account:
    """Account for all jobs.

    :param text: the events, a line each.
    :param kills: when each process was killed, monotonic nanoseconds by process id.
    :param dead: how many jobs are dead.
    """
    found = Account(dead=dead)
    starts: dict[int, list[int]] = {}
    ended: set[tuple[int, int]] = set()
    started: list[tuple[int, int]] = []
    for what, number, pid, at in read_events(text):
        if what == "start":
            starts.setdefault(number, []).append(at)
            started.append((number, pid))
        else:
            ended.add((number, pid))
    for number, pid in started:
        later = [at for at in starts[number] if pid in kills and at > kills[pid]]
        # A job that has ended runs again if Redis had not got its acknowledgement.
        if pid in kills and (later or (number, pid) not in ended):
            found.interrupted += 1
            if later:
                found.recovery.append((min(later) - kills[pid]) / 1e9)
    found.lost = jobs - dead - len({number for number, _ in ended})
    found.repeated = sum(len(each) - 1 for each in starts.values())
    return found


async def measure(url: str, directory: Path, jobs: int, count: int) -> Account:
    """Run all jobs while processes are killed.

    :param count: how many are killed.
    """
    events = directory / "events"
    await enqueue(url, NAMESPACE, jobs)
    kills: dict[int, int] = {}
    environment = {"TIMED_EVENTS": str(events), "TIMED_SECONDS": "0.05", "TIMED_CONCURRENCY": "10"}
    async with (
        running("benchmarks.timed_app:pool", PROCESSES, url, NAMESPACE, directory / "log", environment) as parent,
        asyncio.timeout(_LIMIT),
    ):
        while len(kills) < count:
            await asyncio.sleep(random.uniform(0.5, 1.5) * _EACH)
            parent.check()
            if victims := [pid for pid in parent.children() if pid not in kills]:
                victim = random.choice(victims)
                at = time.monotonic_ns()
                os.kill(victim, signal.SIGKILL)
                kills[victim] = at
        while not await _are_done(url, events, jobs):
            await asyncio.sleep(0.5)
            parent.check()
    assert await audit(url, NAMESPACE) == []
    return account(events.read_text(), kills, jobs, await _dead(url))


async def _are_done(url: str, events: Path, jobs: int) -> bool:
    """Return whether each job has ended, or is dead because it was running when three processes were killed."""
    return _ended(events) + await _dead(url) >= jobs


def _ended(events: Path) -> int:
    return len({line.split()[1] for line in events.read_bytes().splitlines() if line.startswith(b"end ")})


async def _dead(url: str) -> int:
    async with Client(url, namespace=NAMESPACE) as client:
        return (await client.jobs("dead")).total


def main() -> int:
    """Measure, print the report, and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.killing", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="5,000 jobs and 5 kills")
    share = 10 if parser.parse_args().quick else 1
    jobs, count = 50_000 // share, 50 // share
    print(f"load of the machine: {machine.load():.2f}")
    with tempfile.TemporaryDirectory() as directory, EmbeddedRedis(Path(directory) / "data") as redis:
        found = asyncio.run(measure(redis.url, Path(directory), jobs, count))
    times = sorted(found.recovery)
    head = ["", "interrupted jobs", "started again after, s: median", "p99", "longest", "lost", "dead", "run again"]
    row = [
        f"{jobs:,} jobs, {count} kills",
        str(found.interrupted),
        *(f"{_share(times, each):.2f}" for each in (0.5, 0.99, 1)),
    ]
    print(table(head, [[*row, str(found.lost), str(found.dead), str(found.repeated)]]))
    print(f"load of the machine: {machine.load():.2f}")
    return 1 if found.lost or found.repeated > found.interrupted else 0


def _share(times: list[float], share: float) -> float:
    return times[min(len(times) - 1, int(len(times) * share))] if times else 0.0


if __name__ == "__main__":
    sys.exit(main())
