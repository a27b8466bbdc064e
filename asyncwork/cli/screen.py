"""The whole terminal, for a command that shows something live, and its keys.

When the command ends, by an exception, Ctrl-C or a signal, the terminal is as it was before. Ctrl-Z restores it for as
long as the command is suspended.
"""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import signal
import sys
import termios
import tty
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any

# The other screen of the terminal, without a cursor, and back.
_ENTER, _LEAVE = "\x1b[?1049h\x1b[?25l\x1b[2J", "\x1b[?25h\x1b[?1049l"
_HOME, _TO_LINE_END, _TO_END = "\x1b[H", "\x1b[K", "\x1b[J"
# Signals that end the command by default, in the order of importance.
_ENDING = (signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)

_KEYS = {
    b"\x1b[A": "up",
    b"\x1bOA": "up",
    b"k": "up",
    b"\x1b[B": "down",
    b"\x1bOB": "down",
    b"j": "down",
    b"\x1b[C": "right",
    b"\x1bOC": "right",
    b"l": "right",
    b"\x1b[D": "left",
    b"\x1bOD": "left",
    b"h": "left",
    b"\r": "enter",
    b"\n": "enter",
    b"\x1b": "escape",
    b"\x7f": "escape",
    b"\x08": "escape",
}
# A sequence of a key, or one byte.
_SEQUENCE = re.compile(rb"\x1b\[[0-9;]*[A-Za-z~]|\x1bO[A-Za-z]|[\x00-\xff]", re.DOTALL)


# A possible beginning of the sequence of a key. The rest may come later, over a slow connection.
_INCOMPLETE = re.compile(rb"\x1b(?:\[[0-9;]*|O)?\Z")
_REST_SECONDS = 0.1


def keys_in(data: bytes) -> list[str]:
    """Return the names of the keys whose bytes a terminal has sent; other keys are the characters that they send."""
    return [_KEYS.get(part, part.decode("latin-1")) for part in _SEQUENCE.findall(data)]


class Screen:
    """The screen of the terminal that standard input and output are connected with.

    :param on_key: called with the name of each key: ``up``, ``down``, ``left``, ``right``, ``enter``, ``escape`` or
        a character.
    :param on_change: called when the screen must be drawn anew.
    :param on_signal: called with the number of a signal that is to end the command.
    """

    def __init__(
        self, on_key: Callable[[str], None], on_change: Callable[[], None], on_signal: Callable[[int], None]
    ) -> None:
        self._on_key = on_key
        self._on_change = on_change
        self._on_signal = on_signal
        self._before: list[Any] = []
        self._incomplete = b""
        self._timer: asyncio.TimerHandle | None = None

    @property
    def size(self) -> tuple[int, int]:
        """The columns and lines of the screen."""
        columns, lines = shutil.get_terminal_size()
        return max(20, columns), max(4, lines)

    def draw(self, lines: Sequence[str]) -> None:
        """Draw lines from the top. Each must fit into the screen."""
        shown = lines[: self.size[1]]
        text = f"{_TO_LINE_END}\n".join(shown)
        _write(f"{_HOME}{text}{_TO_LINE_END}{_TO_END}")

    @contextmanager
    def entered(self) -> Iterator[None]:
        """Take over the terminal within the context. It must be entered in a running event loop.

        :raises OSError: when the terminal is gone.
        """
        loop = asyncio.get_running_loop()
        fd = sys.stdin.fileno()
        self._before = termios.tcgetattr(fd)
        handlers: dict[signal.Signals, Callable[[], None]] = {
            signal.SIGTSTP: self._suspend,
            signal.SIGWINCH: self._on_change,
            **{number: partial(self._on_signal, number) for number in _ENDING},
        }
        try:
            self._take()
            for number, handler in handlers.items():
                loop.add_signal_handler(number, handler)
            loop.add_reader(fd, self._read)
            yield
        finally:
            loop.remove_reader(fd)
            if self._timer is not None:
                self._timer.cancel()
            for number in handlers:
                loop.remove_signal_handler(number)
            self._restore()

    def _take(self) -> None:
        tty.setcbreak(sys.stdin.fileno(), termios.TCSANOW)
        _write(_ENTER)

    def _restore(self) -> None:
        # A terminal that hung up cannot be restored.
        with suppress(OSError):
            _write(_LEAVE)
        with suppress(termios.error):
            termios.tcsetattr(sys.stdin.fileno(), termios.TCSANOW, self._before)

    def _suspend(self) -> None:
        self._restore()
        # This process stops here, until it is continued.
        os.kill(os.getpid(), signal.SIGSTOP)
        self._take()
        self._on_change()

    def _read(self) -> None:
        try:
            data = os.read(sys.stdin.fileno(), 1024)
        except OSError:
            data = b""
        if not data:
            # The terminal is gone.
            self._on_signal(signal.SIGHUP)
            return
        data, self._incomplete = self._incomplete + data, b""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if found := _INCOMPLETE.search(data):
            data, self._incomplete = data[: found.start()], found[0]
            self._timer = asyncio.get_running_loop().call_later(_REST_SECONDS, self._on_no_rest)
        self._report(data)

    def _on_no_rest(self) -> None:
        data, self._incomplete, self._timer = self._incomplete, b"", None
        self._report(data)

    def _report(self, data: bytes) -> None:
        for key in keys_in(data):
            self._on_key(key)


def _write(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()
