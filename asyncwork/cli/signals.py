"""Signal handlers of a process that runs jobs."""

from __future__ import annotations

import asyncio
import math
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any

from .errors import FAILED

STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
QUIETING = signal.SIGTSTP

# A parent process may ask to ignore these: nohup ignores SIGHUP, and a shell ignores SIGINT for background jobs.
_LEFT_IGNORED = (signal.SIGHUP, signal.SIGINT)
# Closing a terminal may send SIGHUP twice, by the kernel and by the shell. Within so many seconds they count as one.
HANGUP_SECONDS = 1.0
# An event loop that has not handled a signal after so many seconds is considered blocked.
_BLOCKED_SECONDS = 1.0

# The handlers that forked processes get, by signal, while this process has others.
_handlers_before: dict[signal.Signals, Any] = {}
# Handlers of this process, by signal, that an application may replace. Its own then remain in forked processes.
_left_to_app: dict[signal.Signals, Any] = {}
_mask = threading.local()


def handled_stop_signals() -> list[str]:
    """Return the names of the signals that stop this process: all but those that its parent ignores."""
    return [number.name for number in STOPPING if not is_left_ignored(number)]


def is_left_ignored(number: signal.Signals) -> bool:
    """Return whether the parent process ignores a signal, so that this process must, too."""
    return number in _LEFT_IGNORED and signal.getsignal(number) is signal.SIG_IGN


# A process that a job forks, for example by multiprocessing, gets the handlers that its parent had at the start. A
# signal to the child must end the child, and must not reach the event loop of the parent.


def _before_fork() -> None:
    # Signals are blocked until the handlers of the child are restored.
    if _handlers_before:
        _mask.before = signal.pthread_sigmask(signal.SIG_BLOCK, _handlers_before)


def _after_fork() -> None:
    if (mask := _mask.__dict__.pop("before", None)) is not None:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def _after_fork_in_child() -> None:
    if _handlers_before:
        # The wakeup descriptor belongs to the event loop of the parent.
        signal.set_wakeup_fd(-1)
        for number, ours in _left_to_app.items():
            if signal.getsignal(number) != ours:
                _handlers_before.pop(number, None)
        _restore(_handlers_before)
        _handlers_before.clear()
    _after_fork()


def restore_in_forks(number: signal.Signals, handler: Any) -> None:
    """Give processes that a job forks this handler of a signal, unless they get another already.

    :param handler: as :func:`signal.getsignal` returns it.
    """
    _handlers_before.setdefault(number, handler)


def leave_to_app(number: signal.Signals) -> None:
    """Leave a signal to the application: forked processes keep a handler that it sets after this call."""
    _left_to_app[number] = signal.getsignal(number)


def end_restoring(handlers: Mapping[signal.Signals, Any]) -> None:
    """Set these handlers in this process, and leave forked processes those of this process again.

    :param handlers: by signal, as :func:`signal.getsignal` returns them.
    """
    _restore(handlers)
    for number in handlers:
        _handlers_before.pop(number, None)
        _left_to_app.pop(number, None)


def _restore(handlers: Mapping[signal.Signals, Any]) -> None:
    for number, handler in handlers.items():
        # `None` stands for a handler that was not set by Python, and cannot be set again.
        signal.signal(number, signal.SIG_DFL if handler is None else handler)


os.register_at_fork(before=_before_fork, after_in_parent=_after_fork, after_in_child=_after_fork_in_child)


class Signals:
    """Passes signals to an event loop, and exits the process at the third signal to stop.

    It does not use the signal handlers of the event loop: the loop cannot call them while a job blocks it, and then
    only SIGKILL could end the process.

    :param on_stop: called in the loop with the signal's name, and whether it is the first.
    :param on_quiet: called in the loop with the signal's name.
    :param log_now: writes a log line; safe to call in a signal handler.
    :param ignored_after: whether to ignore the signals after that, instead of restoring their handlers, because the
        process is about to exit, and its exit code is to say how the pool has stopped.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        on_stop: Callable[[str, bool], None],
        on_quiet: Callable[[str], None],
        log_now: Callable[[str], None],
        *,
        ignored_after: bool = False,
    ) -> None:
        self._loop = loop
        self._on_stop = on_stop
        self._on_quiet = on_quiet
        self._log_now = log_now
        self._ignored_after = ignored_after
        self._first_at = 0.0
        self._hangup_at = -math.inf
        self._count = 0
        self._delivered = 0

    @contextmanager
    def handled(self) -> Iterator[None]:
        """Handle signals within the context. A process that is forked within it gets the handlers from before."""
        before = {}
        for number in (*STOPPING, QUIETING):
            if not is_left_ignored(number):
                before[number] = signal.signal(number, self._handle)
                restore_in_forks(number, before[number])
        try:
            yield
        finally:
            end_restoring(dict.fromkeys(before, signal.SIG_IGN) if self._ignored_after else before)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        # This may run between any two lines of the main thread. It must not use logging, which may hold a lock.
        name = signal.Signals(number).name
        if number == QUIETING:
            self._call_in_loop(self._on_quiet, name)
            return
        now = time.monotonic()
        if number == signal.SIGHUP:
            before, self._hangup_at = self._hangup_at, now
            if now - before < HANGUP_SECONDS:
                return
        self._count += 1
        if self._count > 2:
            self._log_now(f"{name}: exiting at once; another pool, or the next start, requeues running jobs")
            os._exit(FAILED)
        if self._count == 1:
            self._first_at = now
        elif not self._delivered and now - self._first_at > _BLOCKED_SECONDS:
            self._log_now(f"{name}: a job blocks the event loop, which cannot stop; a third signal exits at once")
        self._call_in_loop(self._stop, name)

    def _stop(self, name: str) -> None:
        self._delivered += 1
        self._on_stop(name, self._delivered == 1)

    def _call_in_loop(self, listener: Callable[[str], None], name: str) -> None:
        with suppress(RuntimeError):  # the loop is closed, and the process about to exit
            self._loop.call_soon_threadsafe(listener, name)
