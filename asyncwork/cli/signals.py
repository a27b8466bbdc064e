"""What becomes of the signals that a process gets while it runs jobs."""

from __future__ import annotations

import asyncio
import math
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType

STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
QUIETING = signal.SIGTSTP

# A parent asks for these to be ignored on purpose: nohup the one, a shell for what it runs in the background the other.
_LEFT_IGNORED = (signal.SIGHUP, signal.SIGINT)
# A terminal that is closed may send SIGHUP twice, by the kernel and by the shell: within so many seconds it is one.
_HANGING_UP = 1.0
# Seconds after which an event loop that has not heard of a signal is taken to be blocked.
_BLOCKED = 1.0


class Signals:
    """Tells an event loop of signals, and ends the process when it is asked to for the third time.

    Not by the loop's own signal handlers: a job that blocks the loop would keep them from being called, and the process
    could not be ended but by SIGKILL.

    :param on_stop: called in the loop with the signal's name and whether it is the first.
    :param on_quiet: called in the loop with the signal's name.
    :param say: writes a line, at any time.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        on_stop: Callable[[str, bool], None],
        on_quiet: Callable[[str], None],
        say: Callable[[str], None],
    ) -> None:
        self._loop = loop
        self._on_stop = on_stop
        self._on_quiet = on_quiet
        self._say = say
        self._first_at = 0.0
        self._hung_up_at = -math.inf
        self._count = 0
        self._heard = 0

    @contextmanager
    def caught(self) -> Iterator[None]:
        """Catch them meanwhile."""
        before = {}
        for number in (*STOPPING, QUIETING):
            if number in _LEFT_IGNORED and signal.getsignal(number) is signal.SIG_IGN:
                continue
            before[number] = signal.signal(number, self._caught)
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _caught(self, number: int, frame: FrameType | None) -> None:
        # This may come between any two lines of the main thread: no logging here, which may hold a lock.
        name = signal.Signals(number).name
        if number == QUIETING:
            self._tell(self._on_quiet, name)
            return
        now = time.monotonic()
        if number == signal.SIGHUP:
            before, self._hung_up_at = self._hung_up_at, now
            if now - before < _HANGING_UP:
                return
        self._count += 1
        if self._count > 2:
            self._say(f"{name}: leaving at once; what was running is put back by another pool, or by the next start")
            os._exit(1)
        if self._count == 1:
            self._first_at = now
        elif not self._heard and now - self._first_at > _BLOCKED:
            self._say(f"{name}: the event loop is blocked by a job and cannot stop; a third signal leaves at once")
        self._tell(self._stop, name)

    def _stop(self, name: str) -> None:
        self._heard += 1
        self._on_stop(name, self._heard == 1)

    def _tell(self, listener: Callable[[str], None], name: str) -> None:
        with suppress(RuntimeError):  # the loop is closed: the process is about to end
            self._loop.call_soon_threadsafe(listener, name)
