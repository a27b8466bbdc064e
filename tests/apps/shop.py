"""A pool for ``test_cli.py``, which runs it in processes of its own and reads what it logs."""

from __future__ import annotations

import asyncio
import logging
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

from asyncwork import Job, WorkerPool

log = logging.getLogger("shop")

broken = False


def clock() -> float:
    if broken:
        raise ZeroDivisionError("the clock is broken")
    return time.time()


pool = WorkerPool("redis://made:with@127.0.0.1:1/0", namespace="as-made", concurrency=3, grace=7, clock=clock)


@pool.job
async def note(job: Job, text: str) -> None:
    log.info("noted %s", text)


@pool.job(priority=10, max_fails=1)
async def fail(text: str = "no price") -> None:
    raise ValueError(text)


@pool.job
async def hold(release: str) -> None:
    """Runs until a file is there."""
    log.info("holding")
    while not Path(release).exists():  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    log.info("released")


@pool.job("hold in thread")
def hold_in_thread() -> None:
    log.info("holding in a thread")
    threading.Event().wait()


@pool.job
async def hold_in_executor() -> None:
    def wait() -> None:
        log.info("holding in the executor")
        threading.Event().wait()

    await asyncio.to_thread(wait)


@pool.job
async def block() -> None:
    log.info("blocking")
    while True:
        time.sleep(0.01)  # noqa: ASYNC251


@pool.job
async def ignore_cancellation() -> None:
    log.info("holding on")
    while True:
        try:
            await asyncio.sleep(1000)
        except asyncio.CancelledError:
            log.info("going on")


@pool.job
async def break_the_pool() -> None:
    global broken
    broken = True
    raise ValueError


@pool.job
async def cancel_the_pool() -> None:
    for task in asyncio.all_tasks():
        if task is not asyncio.current_task():
            task.cancel()
    await asyncio.sleep(60)


@pool.job
async def tell_loop() -> None:
    log.info("the loop is of %s", type(asyncio.get_running_loop()).__module__)


@pool.job
async def log_variously() -> None:
    log.warning("two\nlines")
    log.info("lone surrogate \ud800")
    log.info("beyond 64 bits", extra={"rows": 2**70, "table": "my orders"})
    log.info("escape \x1b[31m", extra={"rows": 5})
    log.info("badly formatted: %d", "text")
    logging.getLogger("another").info("of another logger")
    try:
        raise KeyError("missing")
    except KeyError:
        log.exception("caught")
    await asyncio.to_thread(log.info, "in a thread")
    print("printed")


@pool.job
async def tell_streams(file: str) -> None:
    null = os.stat(os.devnull).st_rdev
    led_there = sum(os.fstat(stream.fileno()).st_rdev == null for stream in (sys.stdin, sys.stdout, sys.stderr))
    # A process that a job starts has them, too.
    done = subprocess.run(["sh", "-c", "cat && echo && echo >&2"], check=False)
    Path(file).write_text(f"on the null device: {led_there}, exit code of a child: {done.returncode}")


@pool.job
async def warn() -> None:
    import warnings

    warnings.warn("that is old", DeprecationWarning, stacklevel=1)


pool.periodically("0 0 0 1 1 *", "note", {"text": "a new year"})
pool.periodically("@yearly", "of another program", elsewhere=True)


def make_pool() -> WorkerPool[object]:
    return pool  # type: ignore[return-value]


class factory:  # noqa: N801
    class inner:  # noqa: N801
        pool = pool


async def make_pool_later() -> object:
    await asyncio.sleep(0)
    return pool


async def make_pool_never() -> None:
    log.info("making no pool")
    await asyncio.Event().wait()


async def make_nothing_later() -> None: ...


async def make_trouble_later() -> None:
    raise LookupError("no settings yet")


async def leave_later() -> None:
    sys.exit(5)


async def interrupt_later() -> None:
    raise KeyboardInterrupt


async def cancel_later() -> None:
    raise asyncio.CancelledError


async def cancel_itself() -> None:
    task = asyncio.current_task()
    assert task is not None
    task.cancel()
    await asyncio.sleep(0)


async def fail_as_a_group() -> None:
    raise BaseExceptionGroup("two at once", [SystemExit(2), LookupError()])


def make_coroutine() -> object:
    return make_pool_later()


def make_coroutine_that_fails() -> object:
    return make_trouble_later()


async def make_running() -> object:
    made = WorkerPool()
    await made.start()
    return made


async def stop_the_loop_first() -> object:
    async def interrupt() -> None:
        raise KeyboardInterrupt

    await asyncio.wait([asyncio.create_task(interrupt())])
    return pool


def make_badly() -> WorkerPool[Any]:
    return WorkerPool(concurrency=0)


def make_with(settings: str) -> None: ...


def make_nothing() -> None: ...


def make_trouble() -> None:
    raise LookupError("no settings")


def leave() -> None:
    sys.exit(4)
