"""The end of a process whose jobs may not have ended.

The interpreter waits for every thread that is no daemon, and a runner for every task, however long they take. But what
these were doing went back to its queue when the pool stopped: there is nothing to wait for.
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

logger = logging.getLogger("asyncwork.cli")

# Seconds that threads and tasks have to end by themselves.
_PATIENCE = 1.0


async def end_tasks() -> list[asyncio.Task[object]]:
    """Cancel the other tasks of this loop; return those that do not end."""
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    if not others:
        return []
    _, pending = await asyncio.wait(others, timeout=_PATIENCE)
    return list(pending)


def stuck_threads() -> list[threading.Thread]:
    """Return the threads that the interpreter would wait for, having waited a little."""
    deadline = time.monotonic() + _PATIENCE
    awaited = [each for each in threading.enumerate() if not each.daemon and each is not threading.current_thread()]
    for thread in awaited:
        thread.join(max(0.0, deadline - time.monotonic()))
    return [thread for thread in awaited if thread.is_alive()]


def leave(code: int, tasks: list[asyncio.Task[object]], threads: list[threading.Thread]) -> NoReturn:
    """End the process without waiting for these, having told which they are."""
    frames = sys._current_frames()
    for thread in threads:
        frame = frames.get(thread.ident or 0)
        stack = "" if frame is None else "".join(traceback.format_stack(frame))
        logger.warning("leaving although a thread has not ended: %s. It is here:\n%s", thread.name, stack)
    for task in tasks:
        logger.warning("leaving although a task has not ended that was cancelled: %r", task)
    logging.shutdown()
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError):
            stream.flush()
    os._exit(code)
