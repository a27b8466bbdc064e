"""A command on a pseudo terminal."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import pty
import re
import select
import signal
import struct
import sys
import termios
from asyncio.subprocess import Process
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from .conftest import LIMIT
from .forked import ForkedProcess, can_fork, fork

# Opening a terminal in a new session makes it the one that controls the process, so that Ctrl-C works.
_ON_TERMINAL = ("sh", "-c", 'tty=$1; shift; exec "$@" <"$tty" >"$tty" 2>"$tty"', "sh")
_STYLES = re.compile(r"\x1b\[[0-9;]*m")


class Terminal:
    """A pseudo terminal, on which a command runs.

    :ivar text: everything that was written to it.
    """

    def __init__(self, process: Process | ForkedProcess, master: int, slave: int, settings: list[Any]) -> None:
        self.process = process
        self.text = ""
        self._master = master
        self._slave = slave
        self._settings = settings
        self._settings_at_end: list[Any] = []
        self._more = asyncio.Event()
        self._raw = b""
        asyncio.get_running_loop().add_reader(master, self._read)

    def _read(self) -> None:
        with contextlib.suppress(OSError):
            self._raw += os.read(self._master, 65536)
        self.text = self._raw.decode(errors="replace").replace("\r\n", "\n")
        self._more.set()

    @property
    def plain(self) -> str:
        """The text without colors."""
        return _STYLES.sub("", self.text)

    @property
    def screen(self) -> list[str]:
        """The lines of the last screen that was drawn from the top, without colors."""
        last = self.plain.rpartition("\x1b[H")[2]
        return [line.replace("\x1b[K", "").replace("\x1b[J", "") for line in last.split("\n")]

    def type(self, keys: str) -> None:
        """Press keys."""
        os.write(self._master, keys.encode())

    def resize(self, columns: int, lines: int = 24) -> None:
        """Change the size, which sends SIGWINCH."""
        fcntl.ioctl(self._master, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))

    async def says(self, pattern: str, *, last: bool = False) -> re.Match[str]:
        """Wait until a pattern is in what was written, or in the last screen; return the match."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LIMIT):
                while True:
                    self._more.clear()
                    text = "\n".join(self.screen) if last else self.plain
                    if found := re.search(pattern, text, re.MULTILINE):
                        return found
                    await self._more.wait()
        raise AssertionError(f"{pattern!r} is not on the terminal:\n{self.plain}")

    async def ends(self) -> int:
        """Wait for the end; return the exit code."""
        async with asyncio.timeout(LIMIT):
            code = await end_of(self.process)
        # What it wrote last is there already, because this end has the slave open too.
        self._more.clear()
        while select.select([self._master], [], [], 0)[0]:
            self._read()
        return code

    def is_restored(self) -> bool:
        """Return whether the settings are as before, the cursor is shown, and the first screen too."""
        shown = self.text.rfind("\x1b[?25h") > self.text.rfind("\x1b[?25l")
        first = self.text.rfind("\x1b[?1049l") > self.text.rfind("\x1b[?1049h")
        settings = self._settings_at_end or termios.tcgetattr(self._slave)
        return settings == self._settings and shown and first

    def close(self) -> None:
        self._settings_at_end = termios.tcgetattr(self._slave)
        asyncio.get_running_loop().remove_reader(self._master)
        os.close(self._master)
        os.close(self._slave)


async def end_of(process: Process | ForkedProcess) -> int:
    """Wait for the end of a process; return its exit code."""
    return await (process.ended() if isinstance(process, ForkedProcess) else process.wait())


@asynccontextmanager
async def terminal(
    *arguments: str, columns: int = 80, lines: int = 24, env: Mapping[str, str] | None = None
) -> AsyncIterator[Terminal]:
    """Start a command on a pseudo terminal; it is killed on exit if it has not ended."""
    master, slave = pty.openpty()
    fcntl.ioctl(master, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
    unset = ("NO_COLOR", "COLUMNS", "LINES")
    usual = {name: text for name, text in os.environ.items() if name not in unset and not name.startswith("ASYNCWORK_")}
    settings, name = termios.tcgetattr(slave), os.ttyname(slave)
    environment = {**usual, "TERM": "xterm", **(env or {})}
    process: Process | ForkedProcess
    if can_fork(environment):
        process = fork("asyncwork", *arguments, cwd=Path.cwd(), env=environment, terminal=name)
    else:
        process = await asyncio.create_subprocess_exec(
            *(*_ON_TERMINAL, name, sys.executable, "-m", "asyncwork", *arguments),
            env={"PYTHONIOENCODING": "utf-8", **environment},
            start_new_session=True,
        )
    shown = Terminal(process, master, slave, settings)
    try:
        yield shown
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(signal.SIGKILL)
            await end_of(process)
        shown.close()
