"""Ends a process that a handler has forked, where its handler ends.

It has the sockets, the event loop and the jobs of the pool that it was forked from, and must not go on as a second one.
"""

from __future__ import annotations

import os
import sys
import traceback
import weakref
from contextlib import suppress
from typing import NoReturn, Protocol


class Forked(Protocol):
    """What a pool has that a forked child must not take for its own."""

    def forked(self) -> None:
        """Forget it. Called in the child."""


# Of all pools of this process.
owned: weakref.WeakSet[Forked] = weakref.WeakSet()
# The id of this process: renewed by each fork, and read at the cost of a variable.
pid = os.getpid()


def _note() -> None:
    global pid
    pid = os.getpid()
    for each in list(owned):
        each.forked()


os.register_at_fork(after_in_child=_note)


def end_process(error: BaseException | None = None) -> NoReturn:
    """End this process at once, as Python would have ended it behind what the handler returned or raised."""
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
