"""A parent of ``asyncwork run --processes`` that a benchmark starts, and what its log says."""

from __future__ import annotations

import asyncio
import os
import re
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

# The end of the line is matched too, because a line may be half written: half of a process id is that of another.
_SERVING = re.compile(r"running up to .* child=\d+ pid=(\d+)\n")


class Parent:
    """A running parent.

    :param log: what it and its children write to standard error.
    """

    def __init__(self, process: asyncio.subprocess.Process, log: Path) -> None:
        self._process = process
        self._log = log

    @property
    def log(self) -> str:
        """What it and its children have logged."""
        return self._log.read_text(errors="replace")

    def check(self) -> None:
        """Raise ChildProcessError with the end of the log if the parent has ended."""
        if self._process.returncode is not None:
            raise ChildProcessError(f"the parent exited with {self._process.returncode}: {self.log[-2000:]}")

    def children(self) -> list[int]:
        """Return the processes that run jobs, and are children of this parent now."""
        return [pid for pid in serving(self.log) if parent_of(pid) == self._process.pid]

    def send(self, number: int) -> None:
        """Send a signal to the parent."""
        self._process.send_signal(number)


@asynccontextmanager
async def running(
    app: str, processes: int, url: str, namespace: str, log: Path, environment: dict[str, str]
) -> AsyncIterator[Parent]:
    """Run a parent within the context, and stop it at the end.

    :param environment: what is added to that of this process.
    """
    arguments = ["run", app, "--processes", str(processes), "--redis", url, "--namespace", namespace]
    with log.open("wb") as stderr:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "asyncwork", *arguments), stderr=stderr, env={**os.environ, **environment}
        )
    try:
        yield Parent(process, log)
    finally:
        with suppress(ProcessLookupError):
            process.terminate()
        await process.wait()


def serving(log: str) -> list[int]:
    """Return the processes that run jobs, or have, from the log of their parent."""
    return [int(pid) for pid in _SERVING.findall(log)]


def parent_of(pid: int) -> int:
    """Return the process id of the parent of a process; 0 if there is no such process, or it has ended."""
    try:
        # The name of the program, in parentheses, may contain anything.
        state, parent, *_ = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
    except OSError:
        return 0
    return 0 if state in "ZX" else int(parent)
