"""A pool for ``test_processes.py``, which runs it in several processes and reads the file that its jobs write."""

from __future__ import annotations

import asyncio
import ctypes
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

from asyncwork import Job, WorkerPool
from tests.tuned import QUICK, tuned

# A reaper would take a minute, so that what is quick is what the parent does.
SLOW = tuned(QUICK, dead_after=60.0)
if "FLEET_BLOCKED" in os.environ:
    SLOW = tuned(SLOW, stall=0.2, blocked=float(os.environ["FLEET_BLOCKED"]))

version = Path(os.environ["FLEET_VERSION"]).read_text() if "FLEET_VERSION" in os.environ else ""
if version == "broken":
    raise ImportError("this version is broken")
pool = WorkerPool(concurrency=4, version_label=version or None, **(QUICK if "FLEET_QUICK" in os.environ else SLOW))


def write(event: str) -> None:
    with Path(os.environ["FLEET_EVENTS"]).open("a") as file:
        file.write(f"{event} {os.getpid()} {version}\n")


if "FLEET_OWN_SIGUSR2" in os.environ:
    signal.signal(signal.SIGUSR2, lambda number, frame: write("own SIGUSR2"))


@pool.job
async def sends_to_itself(number: int) -> None:
    """Start a program and fork a process; each sends itself a signal."""
    code = f"import os; os.kill(os.getpid(), {number})"
    write(f"ended by {subprocess.run([sys.executable, '-c', code]).returncode}")
    forked = multiprocessing.get_context("fork").Process(target=lambda: os.kill(os.getpid(), number))
    forked.start()
    forked.join()
    write(f"ended by {forked.exitcode}")


@pool.job
async def note(text: str) -> None:
    write(f"note {text}")


@pool.job
async def hold(text: str, release: str) -> None:
    write(f"start {text}")
    while not Path(release).exists():  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    write(f"end {text}")


@pool.job
async def work(number: int) -> None:
    write(f"start {number}")
    await asyncio.sleep(0.02)
    write(f"end {number}")


@pool.job
async def fulfil(job: Job, number: int) -> None:
    await job.step("charge", write, f"charge {number}")
    await job.sleep("time to object", 3)
    answer = await job.event("approved", str, timeout=600)
    await job.step("ship", write, f"ship {number} {answer}")


@pool.job
async def hold_gil(seconds: int) -> None:
    write("start gil")
    # Unlike CDLL, PyDLL keeps the GIL.
    ctypes.PyDLL(None).sleep(seconds)
    write("end gil")


@pool.job
async def block(release: str) -> None:
    write("start block")
    while not Path(release).exists():
        time.sleep(0.01)  # noqa: ASYNC251
    write("end block")


@pool.job
def hold_in_thread(release: str) -> None:
    write("start thread")
    while not Path(release).exists():
        threading.Event().wait(0.01)


@pool.job
async def grow(megabytes: int) -> None:
    held.append(b"x" * megabytes * 1_048_576)
    write("grown")


@pool.job
async def crash() -> None:
    write("crash")
    os.kill(os.getpid(), signal.SIGSEGV)


held: list[bytes] = []
