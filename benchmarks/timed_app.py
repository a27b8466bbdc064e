"""The pool of ``benchmarks.killing`` and ``benchmarks.rolling``. Its jobs write when they start and end."""

from __future__ import annotations

import asyncio
import os
import time

from asyncwork import WorkerPool

pool = WorkerPool(concurrency=int(os.environ["TIMED_CONCURRENCY"]))
_seconds = float(os.environ["TIMED_SECONDS"])
_file = os.open(os.environ["TIMED_EVENTS"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)


def _write(what: str, number: int) -> None:
    # One write, so that the lines of several processes do not mix.
    os.write(_file, f"{what} {number} {os.getpid()} {time.monotonic_ns()}\n".encode())


@pool.job
async def step(number: int) -> None:
    """Take some time."""
    _write("start", number)
    await asyncio.sleep(_seconds)
    _write("end", number)
