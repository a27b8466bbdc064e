"""Exits a process even if its tasks or threads do not end.

The interpreter waits for every thread that is not a daemon, and a runner for every task, however long they take. The
pool has already returned their jobs to the queues when it stopped, so there is nothing to wait for.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import threading
import time
import traceback
from contextlib import suppress
from typing import NoReturn

logger: logging.Logger = logging.getLogger("asyncwork.cli")

# Seconds that threads and tasks have to end by themselves.
_TIMEOUT = 1.0


async def cancel_tasks() -> list[asyncio.Task[object]]:
    """Cancel all other tasks of this loop; return those that do not end."""
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    if not others:
        return []
    _, pending = await asyncio.wait(others, timeout=_TIMEOUT)
    return list(pending)


def stuck_threads() -> list[threading.Thread]:
    """Wait for the threads that the interpreter would wait for; return those that do not end."""
    deadline = time.monotonic() + _TIMEOUT
    awaited = [each for each in threading.enumerate() if not each.daemon and each is not threading.current_thread()]
    for thread in awaited:
        thread.join(max(0.0, deadline - time.monotonic()))
    return [thread for thread in awaited if thread.is_alive()]


def exit_now(code: int, tasks: list[asyncio.Task[object]], threads: list[threading.Thread]) -> NoReturn:
    """Exit the process without waiting for these tasks and threads, after logging where they are."""
    frames = sys._current_frames()
    for thread in threads:
        frame = frames.get(thread.ident or 0)
        stack = "" if frame is None else "".join(traceback.format_stack(frame))
        logger.warning("exiting although thread %s has not ended. Its stack:\n%s", thread.name, stack)
    for task in tasks:
        logger.warning("exiting although a cancelled task has not ended: %r", task)
    logging.shutdown()
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError):
            stream.flush()
    os._exit(code)
