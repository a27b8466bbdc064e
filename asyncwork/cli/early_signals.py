"""Signals that ``asyncwork run`` handles from its first moment on, because by default they end or suspend a process.

At the start, the pool or the parent cannot do yet what SIGTSTP and SIGTTIN ask for. SIGUSR2 is for parents alone, and
ends no other process either.
"""

from __future__ import annotations

import argparse
import logging
import os
import signal
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from types import FrameType

from .. import _environment
from .._environment import variable
from .._processes.messages import CHILD
from . import logs, signals

QUIETING, STACKS, REPLACING = signals.QUIETING, signal.SIGTTIN, signal.SIGUSR2


@dataclass
class _Start:
    """The start of this process.

    :ivar quiet_requested: whether SIGTSTP has come.
    :ivar is_over: whether other handlers were set. When they are removed, the process ends.
    """

    quiet_requested: bool = False
    is_over: bool = False


_start = _Start()


@contextmanager
def early_signals_handled(options: argparse.Namespace) -> Iterator[None]:
    """Handle the signals within the context, until other handlers take their place.

    :param options: of ``asyncwork run``, before they are checked.
    """
    is_child = CHILD in os.environ
    is_parent = not is_child and (options.processes or variable(_environment.PROCESSES)) is not None
    log_format = options.log_format or variable("ASYNCWORK_LOG_FORMAT") or "text"
    _start.quiet_requested = _start.is_over = False
    early = _EarlySignals(partial(logs.write_now, log_format, logging.WARNING), is_child=is_child, is_parent=is_parent)
    before = {}
    for number in (QUIETING, STACKS, REPLACING):
        before[number] = signal.signal(number, early.handle)
        signals.restore_in_forks(number, before[number])
    # An application may use it, and then its own handler is that of its forks, too.
    signals.leave_to_app(REPLACING)
    try:
        yield
    finally:
        # The process is about to exit, and its exit code is to say how.
        signals.end_restoring({**before, REPLACING: signal.SIG_IGN})


def end_start() -> bool:
    """Return whether SIGTSTP came before this call. Called when SIGTSTP and SIGTTIN have other handlers."""
    _start.is_over = True
    return _start.quiet_requested


class _EarlySignals:
    def __init__(self, log_now: Callable[[str], None], *, is_child: bool, is_parent: bool) -> None:
        self._log_now = log_now
        self._is_child = is_child
        self._is_parent = is_parent

    def handle(self, number: int, frame: FrameType | None) -> None:
        # This may run between any two lines of the main thread. It must not use logging, which may hold a lock.
        name = signal.Signals(number).name
        if number != REPLACING and _start.is_over:
            self._log_now(f"{name}: ignored: the process is about to exit")
        elif number == QUIETING:
            _start.quiet_requested = True
            self._log_now(f"{name}: the process is starting, and will be quiet")
        elif number == STACKS:
            self._log_now(f"{name}: {self._describe_start(frame)}")
        else:
            self._log_now(f"{name}: ignored: {self._why_ignored()}")

    def _describe_start(self, frame: FrameType | None) -> str:
        if self._is_parent:
            return "no child process has been started yet"
        # The frames of the import system are many, and say nothing.
        stack = [each for each in traceback.format_stack(frame) if not each.startswith('  File "<frozen ')]
        return "the process is starting, and is here:\n" + "".join(stack).rstrip()

    def _why_ignored(self) -> str:
        if self._is_child:
            return f"only the parent, process {os.getppid()}, replaces child processes"
        if self._is_parent:
            return "no child process has been started yet, and each starts with the newest code"
        return "it replaces processes only with --processes"
