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
import re
import signal
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from asyncwork import Client, Enqueuer
from asyncwork.embedded import EmbeddedRedis
from asyncwork.testing import audit

from . import machine
from .table import table

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
    running: list[tuple[int, int]] = []
    for what, number, pid, at in map(_as_event, text.splitlines()):
        if what == "start":
            starts.setdefault(number, []).append(at)
            running.append((number, pid))
        else:
            ended.add((number, pid))
    for number, pid in running:
        later = [at for at in starts[number] if pid in kills and at > kills[pid]]
        # A job that has ended runs again if Redis had not got its acknowledgement.
        if pid in kills and (later or (number, pid) not in ended):
            found.interrupted += 1
            if later:
                found.recovery.append((min(later) - kills[pid]) / 1e9)
    found.lost = jobs - dead - len({number for number, _ in ended})
    found.repeated = sum(len(each) - 1 for each in starts.values())
    return found


def _as_event(line: str) -> tuple[str, int, int, int]:
    what, number, pid, at = line.split()
    return what, int(number), int(pid), int(at)


async def measure(url: str, directory: Path, jobs: int, count: int) -> Account:
    """Run all jobs while processes are killed.

    :param count: how many are killed.
    """
    events, log = directory / "events", directory / "log"
    async with Enqueuer(url, namespace=NAMESPACE) as enqueuer:
        for start in range(0, jobs, 1000):
            await enqueuer.enqueue_many([("step", {"number": start + each}) for each in range(min(1000, jobs - start))])
    arguments = ["run", "benchmarks.killed_app:pool", "--processes", str(PROCESSES), "--redis", url, "-n", NAMESPACE]
    with log.open("wb") as stderr:
        parent = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "asyncwork", *arguments),
            stderr=stderr,
            env={**os.environ, "KILLED_EVENTS": str(events)},
        )
    kills: dict[int, int] = {}
    try:
        async with asyncio.timeout(_LIMIT):
            while len(kills) < count:
                await asyncio.sleep(random.uniform(0.5, 1.5) * _EACH)
                # Without the parent, the ids of its children may by now be those of other programs.
                _check(parent, log)
                if victims := [pid for pid in _serving(log) if pid not in kills]:
                    victim = random.choice(victims)
                    at = time.monotonic_ns()
                    os.kill(victim, signal.SIGKILL)
                    kills[victim] = at
            while not await _are_done(url, events, jobs):
                await asyncio.sleep(0.5)
                _check(parent, log)
    finally:
        with suppress(ProcessLookupError):
            parent.terminate()
        await parent.wait()
    assert await audit(url, NAMESPACE) == []
    return account(events.read_text(), kills, jobs, await _dead(url))


def _check(parent: asyncio.subprocess.Process, log: Path) -> None:
    """Raise ChildProcessError with the end of the log if the parent has ended."""
    if parent.returncode is not None:
        raise ChildProcessError(f"the parent exited with {parent.returncode}: {log.read_text()[-2000:]}")


async def _are_done(url: str, events: Path, jobs: int) -> bool:
    """Return whether each job has ended, or is dead because it was running when three processes were killed."""
    return _ended(events) + await _dead(url) >= jobs


def _ended(events: Path) -> int:
    return len({line.split()[1] for line in events.read_bytes().splitlines() if line.startswith(b"end ")})


async def _dead(url: str) -> int:
    async with Client(url, namespace=NAMESPACE) as client:
        return (await client.jobs("dead")).total


def _serving(log: Path) -> list[int]:
    """Return the processes that run jobs, or have."""
    pids = re.findall(r"running up to .* child=\d+ pid=(\d+)", log.read_text())
    return [int(pid) for pid in pids]


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
