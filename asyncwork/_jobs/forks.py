"""Forked processes: a child that a handler has forked ends when its handler ends.

The child has the sockets, the event loop and the jobs of its parent's pool, and must not go on as a second pool.
"""

from __future__ import annotations

import os
import sys
import traceback
import weakref
from contextlib import suppress
from typing import NoReturn, Protocol


class Forked(Protocol):
    """An object of a pool that a forked child must not use."""

    def forked(self) -> None:
        """Drop what belongs to the parent. Called in the child."""


# The objects of all pools of this process.
owned: weakref.WeakSet[Forked] = weakref.WeakSet()
# The id of this process, updated at each fork. Reading a variable is cheaper than os.getpid().
pid = os.getpid()


def _after_fork() -> None:
    global pid
    pid = os.getpid()
    for each in list(owned):
        each.forked()


os.register_at_fork(after_in_child=_after_fork)


def end_process(error: BaseException | None = None) -> NoReturn:
    """End this process at once, with the exit code that Python would use for what the handler returned or raised."""
    code = 0
    with suppress(BaseException):
        if isinstance(error, SystemExit):
            code = error.code if isinstance(error.code, int) else int(error.code is not None)
            if code and not isinstance(error.code, int):
                print(error.code, file=sys.stderr)
        elif error is not None:
            code = 1
            traceback.print_exception(error)
    for stream in (sys.stdout, sys.stderr):
        with suppress(BaseException):
            stream.flush()
    os._exit(code & 0xFF)
