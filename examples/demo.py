"""A tour of asyncwork in ten seconds: ``make demo``, or ``python -m examples.demo``.

It starts its own Redis in a temporary directory, and a pool that reads Python's standard library with one job for each
file. Other jobs fail, die, are scheduled, periodic, unique or long, or come from another program.
"""

from __future__ import annotations

import argparse
import ast
import asyncio
import hashlib
import itertools
import json
import logging
import lzma
import shutil
import signal
import sys
import sysconfig
import tempfile
import time
import warnings
from collections import defaultdict, deque
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from redis.asyncio import Redis

from asyncwork import AsyncworkError, CallNext, Job, WorkerPool
from asyncwork.embedded import EmbeddedRedis
from asyncwork.testing import audit

# --- The pool, as an application has one ------------------------------------------------------------------------------

pool = WorkerPool(namespace="demo", concurrency=10, grace=1)


@dataclass
class Runs:
    """The runs of the jobs of one name; times in seconds."""

    times: list[float] = field(default_factory=list)
    failed: int = 0


@dataclass
class Module:
    lines: int
    functions: int
    digest: str


runs: defaultdict[str, Runs] = defaultdict(Runs)
modules: list[Module] = []


@pool.middleware
async def measure(job: Job, call_next: CallNext) -> None:
    own, start = runs[job.name], time.perf_counter()
    try:
        await call_next()
    except Exception as error:
        own.failed += 1
        say(f"{job.name} failed, attempt {job.fails + 1}: {error}")
        raise
    finally:
        own.times.append(time.perf_counter() - start)


@pool.job(max_concurrency=4)
def inspect_module(path: str) -> None:
    """A plain function runs in a thread. At most four of these jobs run at once over all processes."""
    source = Path(path).read_bytes()
    functions = sum(isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) for node in ast.walk(ast.parse(source)))
    modules.append(Module(source.count(b"\n"), functions, hashlib.sha256(source).hexdigest()))


@pool.job(priority=10)
async def pack_library(job: Job, paths: list[str]) -> None:
    """A long job reports its progress by check-ins."""
    packer = lzma.LZMACompressor()

    def pack(path: str) -> None:
        packer.compress(Path(path).read_bytes())

    for number, path in enumerate(paths):
        job.checkin(f"file {number} of {len(paths)}")
        await asyncio.to_thread(pack, path)


@pool.job(max_fails=3, backoff=lambda job: 1)  # seconds until the next attempt
async def call_service(job: Job) -> None:
    if job.fails < 2:
        raise ConnectionError("the line is busy")
    say("call_service got through")


@pool.job(max_fails=1)
async def import_order(number: int) -> None:
    raise ValueError(f"order {number}: no price")


@pool.job
async def remind(text: str) -> None:
    say(f"remind: {text}")


@pool.job
async def rebuild_index() -> None:
    say(f"rebuild_index: {len({module.digest for module in modules})} modules so far")


@pool.job
async def greet(language: str) -> None:
    say(f"greet: a program in {language} says hello")


@pool.job
async def tick() -> None: ...


pool.periodically("* * * * * *", "tick")  # seconds come first; every second


@pool.job
async def nothing() -> None: ...


# --- The tour ---------------------------------------------------------------------------------------------------------


async def tour(url: str, paths: list[str], no_ops: int) -> None:
    stop_on_signals()
    pool.reconfigure(url=url)
    # No timeout: under Python 3.11, redis-py would lose a Ctrl-C to it.
    async with Redis.from_url(url, decode_responses=True, socket_timeout=None) as redis:
        async with pool.running():
            await enqueue_all(redis, paths)
            try:
                once = dict.fromkeys(("pack_library", "remind", "rebuild_index", "import_order", "greet", "tick"), 1)
                await watch(redis, {"inspect_module": len(paths), "call_service": 3, **once})
            except asyncio.CancelledError:
                say("stopping: running jobs have a second to finish")
                raise

        await nothing.enqueue_many(nothing.call() for _ in range(no_ops))
        say(f"{no_ops:,} no-op jobs are waiting")
        start = time.perf_counter()
        async with pool.running():
            await pool.drain()
        speed = no_ops / (time.perf_counter() - start)
        say(f"they have run: {speed:,.0f} jobs/s")

        (dead,) = await redis.zrange("demo:dead", 0, -1)
    show_table(json.loads(str(dead))["err"], speed)
    print("\nAn audit of Redis:", await audit(url, "demo") or "every job is done, or in exactly one place")


def stop_on_signals() -> None:
    """Make SIGTERM and SIGHUP stop the tour, as Ctrl-C does."""
    task = asyncio.current_task()
    assert task is not None
    for number in (signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)


async def enqueue_all(redis: Redis, paths: list[str]) -> None:
    say(f"{len(paths)} modules of {sysconfig.get_path('stdlib')}, one job each")
    await inspect_module.enqueue_many(inspect_module.call(path) for path in paths)
    await pack_library.enqueue(paths)
    await call_service.enqueue()
    await import_order.enqueue(17)
    await remind.options(delay=2).enqueue("two seconds have passed")
    await rebuild_index.enqueue_many(rebuild_index.options(delay=1, unique=True).call() for _ in range(2))
    # As another program does, such as one in Go with gocraft/work.
    job = {"name": "greet", "id": "65a1b2c3d4e5f60718293a4b", "t": int(time.time()), "args": {"language": "Go"}}
    await redis.lpush("demo:jobs:greet", json.dumps(job))
    await redis.sadd("demo:known_jobs", "greet")


def library(files: int) -> list[str]:
    """Return the first ``files`` modules of the standard library."""
    root = Path(sysconfig.get_path("stdlib"))
    found: list[Path] = []
    for name in sorted(sys.stdlib_module_names):
        found += [root / f"{name}.py", *(root / name).rglob("*.py")]
    # Some tests hold files that are broken on purpose.
    return [str(path) for path in found if path.is_file() and "tests" not in path.relative_to(root).parts][:files]


# --- Output -----------------------------------------------------------------------------------------------------------

STARTED = time.perf_counter()


def say(text: str, *, passing: bool = False) -> None:
    """Print a line. In a terminal, the next line replaces a ``passing`` one."""
    line = f"{time.perf_counter() - STARTED:5.1f} s  {text}"
    if sys.stdout.isatty():
        width = shutil.get_terminal_size().columns - 1
        print("\r" + line[:width].ljust(width), end="" if passing else "\n", flush=True)
    else:
        print(line, flush=True)


async def watch(redis: Redis, until: dict[str, int]) -> None:
    """Print the progress, as Redis has it, until the jobs of each name have run the given number of times."""
    readings = deque([(time.perf_counter(), 0)], maxlen=10)
    for number in itertools.count():
        await asyncio.sleep(0.1)
        if all(len(runs[name].times) >= times for name, times in until.items()):
            return
        readings.append((time.perf_counter(), sum(len(each.times) - each.failed for each in runs.values())))
        (then, before), (now, done) = readings[0], readings[-1]
        waiting, to_retry = await redis.llen("demo:jobs:inspect_module"), await redis.zcard("demo:retry")
        checkins = [await redis.hget(worker, "checkin") async for worker in redis.scan_iter("demo:worker:*")]
        packing = "".join(f"   packing {checkin!s}" for checkin in checkins if checkin)
        if sys.stdout.isatty() or number % 10 == 9:
            speed = (done - before) / (now - then)
            say(f"{done} done, {waiting} waiting, {to_retry} to retry, {speed:.0f} jobs/s{packing}", passing=True)


def show_table(err: str, speed: float) -> None:
    lines, functions = sum(m.lines for m in modules), sum(m.functions for m in modules)
    notes = {
        "inspect_module": f"{lines:,} lines, {functions:,} functions",
        "pack_library": "a check-in for each file",
        "call_service": "retried a second after each failure",
        "import_order": f"dead: {err}",
        "remind": "scheduled two seconds ahead",
        "rebuild_index": "unique: enqueued twice, ran once",
        "greet": "written to Redis by hand",
        "tick": "periodic, every second",
        "nothing": f"{speed:,.0f} jobs/s",
    }
    print(f"\n{'job':<14} {'runs':>7} {'failed':>7} {'median':>8}")
    for name, note in notes.items():
        own = runs[name]
        print(f"{name:<14} {len(own.times):>7,} {own.failed:>7} {short(median(own.times or [0])):>8}   {note}")


def short(seconds: float) -> str:
    """Return a duration as a short text."""
    for unit, size in ("s", 1.0), ("ms", 1e-3):
        if seconds >= size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds * 1e6:.1f} µs"


NEXT = """
Now try
  . .venv/bin/activate
  asyncwork run examples.app:pool --embedded    # Ctrl-C stops it
and, while it runs, in another terminal
  . .venv/bin/activate
  export ASYNCWORK_REDIS=unix://$PWD/.asyncwork/redis.sock
  python -m examples.enqueue
  asyncwork enqueue -h
or
  make test     # all tests
  make bench    # how fast it is on this machine"""


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m examples.demo", description="A tour of asyncwork in ten seconds.")
    parser.add_argument("--files", type=int, default=600, help="how many modules to inspect (%(default)s)")
    parser.add_argument("--no-ops", type=int, default=20_000, help="how many no-op jobs to run (%(default)s)")
    options = parser.parse_args()
    warnings.simplefilter("ignore")  # about the standard library's sources
    logging.getLogger("asyncwork.job").setLevel(logging.CRITICAL)  # the demo's middleware prints failures
    try:
        with tempfile.TemporaryDirectory(prefix="asyncwork-demo-") as directory, EmbeddedRedis(directory) as server:
            say(f"redis-server is ready, process {server.pid} in {directory}")
            asyncio.run(tour(server.url, library(options.files), options.no_ops))
    except (KeyboardInterrupt, asyncio.CancelledError):
        sys.exit(130)
    except AsyncworkError as error:
        sys.exit(f"demo: {error}")
    print(NEXT)


if __name__ == "__main__":
    main()
