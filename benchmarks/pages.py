"""Measure the web UI on a large namespace: ``python -m benchmarks.pages``, with ``--quick`` for a tenth of the size.

The namespace has 1,000,000 dead jobs and 200 queues. Each page is requested repeatedly. Then all dead jobs are retried
in slices, as the page does it. The report lists the response times, the longest command of Redis, and the memory of the
server.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
from redis.asyncio import Redis

from asyncwork._redis.keys import Keys
from asyncwork.embedded import EmbeddedRedis

from . import memory
from .table import table

NAMESPACE = "large"
QUEUES = 200
ROUNDS = 20
# Redis logs commands that take at least this many microseconds.
_SLOW = 1_000
_DIED = 1_700_000_000


def _dead(number: int) -> str:
    kind = f"ValueError: bad row {number}" if number % 7 else "KeyError: 'customer'"
    job = {
        "name": f"job_{number % QUEUES}",
        "id": f"{number:024x}",
        "t": _DIED,
        "args": {"row": number, "text": "some words to search among"},
        "fails": 4,
        "err": kind,
        "failed_at": _DIED,
        "traceback": f'Traceback (most recent call last):\n  File "app.py", line 7, in job\n{kind}\n',
    }
    return json.dumps(job, separators=(",", ":"))


async def fill(redis: Any, keys: Keys, jobs: int) -> None:
    """Fill the namespace with dead jobs and queues."""
    for start in range(0, jobs, 1000):
        await redis.zadd(keys.dead, {_dead(number): _DIED + number // 10 for number in range(start, start + 1000)})
    names = [f"job_{number}" for number in range(QUEUES)]
    await redis.sadd(keys.known_jobs, *names)
    for name in names:
        waiting = [json.dumps({"name": name, "id": f"{name}-{n}", "t": _DIED, "args": None}) for n in range(100)]
        await redis.lpush(keys.queue(name), *waiting)


async def measure(url: str, base: str, jobs: int, pid: int) -> Iterator[str]:
    """Request the pages and retry the dead jobs; return the lines of the report."""
    redis: Any = Redis.from_url(url, protocol=2)
    keys = Keys(NAMESPACE)
    await fill(redis, keys, jobs)
    await redis.config_set("slowlog-log-slower-than", _SLOW)
    async with httpx.AsyncClient(base_url=base, timeout=60, headers={"accept": "text/html"}) as browser:
        member = (await browser.get("/api/jobs?location=dead", headers={"accept": "application/json"})).json()
        ref = quote(member["jobs"][0]["ref"])
        paths = {
            "overview": "/",
            "busy": "/busy",
            "queues": "/queues",
            "one queue": "/queue?name=job_7",
            "dead": "/dead",
            "dead, page 40,000": f"/dead?page={jobs // 25}",
            "dead of a name": "/dead?name=job_7",
            "dead of a kind of error": "/dead?error=" + quote("KeyError: …"),
            "dead, searched for words": "/dead?text=" + quote("no such words"),
            "retries": "/retries",
            "scheduled": "/scheduled",
            "find": "/find?text=nowhere",
            "one job": f"/job?location=dead&ref={ref}",
        }
        await redis.slowlog_reset()
        rows = []
        for label, path in paths.items():
            took = [await _get(browser, path) for _ in range(ROUNDS)]
            rows.append([label, f"{statistics.median(took):.0f}", f"{max(took):.0f}"])
        browsing = await _slowest(redis)
        await redis.slowlog_reset()
        began, cursor, done = time.perf_counter(), None, 0
        while cursor != "":
            body = {"location": "dead", "all": True, "cursor": cursor}
            answer = (await browser.post("/api/jobs/retry", json=body, headers={"accept": "*/*"})).json()
            cursor, done = answer["cursor"], done + answer["done"]
        retried = time.perf_counter() - began
        retrying = await _slowest(redis)
    await redis.aclose()
    return iter(
        [
            table(["page", "ms, median", "ms, max"], rows),
            "",
            f"{done:,} dead jobs retried in {retried:.1f} s, {done / retried:,.0f} a second.",
            f"The longest command of Redis: {browsing:.1f} ms while browsing, {retrying:.1f} ms while retrying.",
            f"The server's memory: {memory.peak_of(pid) / 1e6:.0f} MB at its peak.",
        ]
    )


async def _get(browser: httpx.AsyncClient, path: str) -> float:
    began = time.perf_counter()
    answer = await browser.get(path)
    answer.raise_for_status()
    return (time.perf_counter() - began) * 1000


async def _slowest(redis: Any) -> float:
    entries = await redis.slowlog_get(128)
    return max((entry["duration"] for entry in entries), default=0) / 1000


def main() -> int:
    """Measure, print the report, and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.pages", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="100,000 dead jobs")
    jobs = 100_000 if parser.parse_args().quick else 1_000_000
    with tempfile.TemporaryDirectory() as directory, EmbeddedRedis(Path(directory), appendonly=False) as redis:
        command = [sys.executable, "-m", "asyncwork", "web", "-n", NAMESPACE, "--redis", redis.url]
        with subprocess.Popen([*command, "--listen", "127.0.0.1:0"], stdout=subprocess.PIPE, text=True) as server:
            assert server.stdout is not None
            base = server.stdout.readline().split()[0]
            try:
                print(f"{jobs:,} dead jobs, {QUEUES} queues; {ROUNDS} requests of each page\n")
                for line in asyncio.run(measure(redis.url, base, jobs, server.pid)):
                    print(line)
            finally:
                server.terminate()
    return 0


if __name__ == "__main__":
    sys.exit(main())
