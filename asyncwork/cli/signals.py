"""What becomes of the signals that a process gets while it runs jobs."""

from __future__ import annotations

import asyncio
import math
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any

STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
QUIETING = signal.SIGTSTP

# A parent asks for these to be ignored on purpose: nohup the one, a shell for what it runs in the background the other.
_LEFT_IGNORED = (signal.SIGHUP, signal.SIGINT)
# A terminal that is closed may send SIGHUP twice, by the kernel and by the shell: within so many seconds it is one.
_HANGING_UP = 1.0
# Seconds after which an event loop that has not heard of a signal is taken to be blocked.
_BLOCKED = 1.0

# While signals are caught: the handlers that the process had before, by signal.
_handlers_before: dict[signal.Signals, Any] = {}
_mask = threading.local()


def handled_stop_signals() -> list[str]:
    """Return the names of the signals that stop this process: all but those that its parent had ignored."""
    return [number.name for number in STOPPING if not _is_left_ignored(number)]


def _is_left_ignored(number: signal.Signals) -> bool:
    return number in _LEFT_IGNORED and signal.getsignal(number) is signal.SIG_IGN


# A process that a job forks, such as one of multiprocessing, gets the handlers that its parent had at the start: a
# signal that is sent to it must end it, and tell the parent's event loop nothing.


def _before_fork() -> None:
    # Blocked, so that a signal to the child waits until its handlers are restored.
    if _handlers_before:
        _mask.before = signal.pthread_sigmask(signal.SIG_BLOCK, _handlers_before)


def _after_fork() -> None:
    if (mask := _mask.__dict__.pop("before", None)) is not None:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def _after_fork_in_child() -> None:
    if _handlers_before:
        # The event loop's, which the parent reads.
        signal.set_wakeup_fd(-1)
        _restore(_handlers_before)
        _handlers_before.clear()
    _after_fork()


def _restore(handlers: dict[signal.Signals, Any]) -> None:
    for number, handler in handlers.items():
        # `None` stands for one that was not set by Python, which cannot be set again.
        signal.signal(number, signal.SIG_DFL if handler is None else handler)


os.register_at_fork(before=_before_fork, after_in_parent=_after_fork, after_in_child=_after_fork_in_child)


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
        """Catch them meanwhile. A process that is forked meanwhile gets the handlers that there were before."""
        for number in (*STOPPING, QUIETING):
            if not _is_left_ignored(number):
                _handlers_before[number] = signal.signal(number, self._caught)
        try:
            yield
        finally:
            _restore(_handlers_before)
            _handlers_before.clear()

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
