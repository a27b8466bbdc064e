"""Measures what idle pools cost, and how soon a dead one is noticed: ``python -m benchmarks.fleet``.

Some processes run idle pools, several in each, with the default options and ten job names. Redis counts the commands,
also those in scripts, and its CPU time; the processes count theirs. Then most of the processes are killed at once, and
the rest must find every dead pool.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import redis as redis_py

from asyncwork import WorkerPool
from asyncwork.embedded import EmbeddedRedis

from . import machine
from .table import table

NAMESPACE = "fleet"
FLEETS, QUICK_FLEETS = (1, 10, 50, 100), (1, 4)
NAMES = 10
# Pools in one process, and the seconds for which they run before anything is counted.
_TOGETHER, _SETTLE = 10, 10.0
_SECONDS, _QUICK_SECONDS = 20.0, 2.0
# Commands that a table names: those that a pool causes at least so often, per second.
_LEAST = 0.05
_LIMIT = 60.0


@dataclass(frozen=True, slots=True)
class FleetUse:
    """What a fleet of idle pools costs, per second.

    :ivar pools: how many pools there are.
    :ivar commands: how many of each command Redis ran, those in scripts included.
    :ivar redis_cpu: the share of a core that Redis used.
    :ivar pool_cpu: the share of a core that each pool used.
    :ivar bytes_out: what Redis sent.
    :ivar noticed: seconds until all dead pools were deregistered, after all but the pools of one process were killed;
        ``None`` if there was one process alone.
    """

    pools: int
    commands: Mapping[str, float]
    redis_cpu: float
    pool_cpu: float
    bytes_out: float
    noticed: float | None

    @property
    def total(self) -> float:
        """All commands."""
        return sum(self.commands.values())


async def serve(url: str, pools: int) -> None:
    """Run idle pools until standard input ends; write this process's CPU seconds for each line read."""
    async with AsyncExitStack() as stack:
        for _ in range(pools):
            pool = WorkerPool(url, namespace=NAMESPACE)
            for number in range(NAMES):
                pool.job(f"job{number}")(_nothing)
            await stack.enter_async_context(pool.running())
        print("ready", flush=True)
        while await asyncio.to_thread(sys.stdin.readline):
            print(json.dumps(time.process_time()), flush=True)


async def _nothing() -> None: ...


class _Process:
    """A process with some pools.

    :ivar pools: how many.
    """

    def __init__(self, url: str, pools: int) -> None:
        self.pools = pools
        command = [sys.executable, "-m", "benchmarks.fleet", "--serve", url, "--pools", str(pools)]
        root = Path(__file__).parent.parent
        self._process = subprocess.Popen(command, cwd=root, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def read(self) -> str:
        """Return its next line."""
        assert self._process.stdout is not None
        if not (line := self._process.stdout.readline()):
            raise SystemExit(f"a process with pools ended with exit code {self._process.wait()}")
        return line

    def cpu(self) -> float:
        """Return its CPU seconds."""
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        return float(self.read())

    def kill(self) -> None:
        """Kill it and wait for its end."""
        self._process.kill()
        self._process.communicate()

    def stop(self) -> None:
        """Stop its pools and wait for its end."""
        self._process.communicate()


@contextmanager
def _running(url: str, pools: int) -> Iterator[list[_Process]]:
    with ExitStack() as stack:
        processes = []
        # Of two processes at least, so that one can outlive the others.
        together = min(_TOGETHER, max(1, pools // 2))
        for start in range(0, pools, together):
            processes.append(_Process(url, min(together, pools - start)))
            stack.callback(processes[-1].stop)
        for each in processes:
            each.read()
        yield processes


def measure(url: str, pools: int, seconds: float, settle: float) -> FleetUse:
    """Run some pools, and count what they cost for some seconds."""
    with redis_py.Redis.from_url(url) as redis, _running(url, pools) as processes:
        time.sleep(settle)
        before, cpu_before, began = redis.info("all"), sum(each.cpu() for each in processes), time.monotonic()
        time.sleep(seconds)
        after, cpu_after, took = redis.info("all"), sum(each.cpu() for each in processes), time.monotonic() - began
        noticed = _kill_most(redis, processes)
    earlier = _calls(before)
    calls = {name: count - earlier.get(name, 0) for name, count in _calls(after).items()}
    return FleetUse(
        pools=pools,
        commands={name: count / took for name, count in calls.items() if count},
        redis_cpu=(_cpu(after) - _cpu(before)) / took,
        pool_cpu=(cpu_after - cpu_before) / took / pools,
        bytes_out=(after["total_net_output_bytes"] - before["total_net_output_bytes"]) / took,
        noticed=noticed,
    )


def _kill_most(redis: redis_py.Redis, processes: Sequence[_Process]) -> float | None:
    """Kill all processes except the last one; return the seconds until no dead pool was registered any more."""
    *doomed, last = processes
    if not doomed:
        return None
    for each in doomed:
        each.kill()
    killed = time.monotonic()
    while redis.scard(f"{NAMESPACE}:worker_pools") > last.pools:
        if time.monotonic() - killed > _LIMIT:
            raise SystemExit(f"the dead pools were not noticed within {_LIMIT:.0f} s")
        time.sleep(0.02)
    return time.monotonic() - killed


def _calls(info: dict[str, dict[str, int]]) -> dict[str, int]:
    found = {name.removeprefix("cmdstat_"): each["calls"] for name, each in info.items() if name.startswith("cmdstat_")}
    found.pop("info", None)
    return found


def _cpu(info: dict[str, float]) -> float:
    return info["used_cpu_user"] + info["used_cpu_sys"]


def _measured(pools: int, *, quick: bool) -> FleetUse:
    """Measure one fleet on a Redis of its own."""
    with (
        tempfile.TemporaryDirectory() as directory,
        EmbeddedRedis(Path(directory) / "data", appendonly=False) as redis,
    ):
        return measure(redis.url, pools, *((_QUICK_SECONDS, 0.0) if quick else (_SECONDS, _SETTLE)))


def report(found: Sequence[FleetUse]) -> str:
    """Return the tables."""
    head = [
        "pools",
        "commands/s",
        "for each pool",
        "Redis CPU",
        "CPU of a pool",
        "Redis sends, kB/s",
        "dead noticed, s",
    ]
    rows = [
        [
            f"{each.pools}",
            f"{each.total:,.0f}",
            f"{each.total / each.pools:.1f}",
            f"{each.redis_cpu:.1%}",
            f"{each.pool_cpu:.2%}",
            f"{each.bytes_out / 1000:,.0f}",
            "" if each.noticed is None else f"{each.noticed:.1f}",
        ]
        for each in found
    ]
    names = sorted({name for each in found for name in each.commands})
    by_pool = {name: [each.commands.get(name, 0) / each.pools for each in found] for name in names}
    return "\n\n".join(
        [
            table(head, rows),
            "Of each pool, per second:",
            table(
                ["command", *(f"{each.pools} pools" for each in found)],
                [
                    [name.upper(), *(f"{rate:.2f}" for rate in rates)]
                    for name, rates in by_pool.items()
                    if max(rates) >= _LEAST
                ],
            ),
        ]
    )


def main() -> None:
    """Measure, and print the tables."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fleet", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="only check that everything works")
    parser.add_argument("--fleets", help="the numbers of pools, joined by commas")
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    parser.add_argument("--pools", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        asyncio.run(serve(options.serve, options.pools))
        return
    fleets: tuple[int, ...] = QUICK_FLEETS if options.quick else FLEETS
    if options.fleets:
        fleets = tuple(map(int, options.fleets.split(",")))
    print(f"load of the machine: {machine.load():.2f}")
    print(report([_measured(each, quick=options.quick) for each in fleets]))
    print(f"load of the machine: {machine.load():.2f}")


if __name__ == "__main__":
    main()
