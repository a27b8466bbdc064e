"""A command that a development server runs in a process of its own."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Mapping
from contextlib import suppress

from .terminal import DevTerminal

# Characters in a line that a process writes, at most.
_LONGEST_LINE = 1 << 20
# Seconds to wait for the rest of the output of a process that has ended.
_OUTPUT_TIMEOUT = 1.0
# Seconds between two checks whether a process has ended.
_INTERVAL = 0.05


class DevProcess:
    """A running command, whose output is written with the name of its part.

    :ivar ended: completes with the exit code.
    """

    def __init__(self, part: str, process: asyncio.subprocess.Process, terminal: DevTerminal) -> None:
        self._part = part
        self._process = process
        self._terminal = terminal
        self._requested = False
        self.ended: asyncio.Task[int] = asyncio.create_task(self._wait())
        self._copying = asyncio.create_task(self._copy_output())

    @classmethod
    async def start(
        cls, part: str, arguments: list[str], environment: Mapping[str, str], terminal: DevTerminal
    ) -> DevProcess:
        """Start a command of asyncwork."""
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "asyncwork.cli.dev.child", *arguments),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env=environment,
            # Ctrl-C would reach it too, and once more by the development server: the second one cancels jobs.
            process_group=0,
            limit=_LONGEST_LINE,
        )
        return cls(part, process, terminal)

    async def _wait(self) -> int:
        # `Process.wait` also waits for the end of the output. A program that a job has started may hold it open.
        while (code := self._process.returncode) is None:  # noqa: ASYNC110 - asyncio has no event for it
            await asyncio.sleep(_INTERVAL)
        return code

    async def _copy_output(self) -> None:
        assert self._process.stdout is not None
        while True:
            try:
                line = await self._process.stdout.readline()
            except ValueError:  # it is longer than the limit, and skipped
                continue
            if not line:
                return
            self._terminal.write(self._part, line.decode("utf-8", "backslashreplace"))

    def terminate(self) -> None:
        """Ask it to stop; a second time, to cancel running jobs."""
        self._requested = True
        with suppress(ProcessLookupError):
            self._process.send_signal(signal.SIGTERM)

    async def stop(self, timeout: float) -> None:
        """Ask it to stop, unless that was requested before, and wait for its end. Kill it after ``timeout`` seconds."""
        if not self._requested:
            self.terminate()
        done, _ = await asyncio.wait([self.ended], timeout=timeout)
        if not done:
            self._terminal.write(self._part, f"did not stop within {timeout:g} s, and is killed")
            with suppress(ProcessLookupError):
                self._process.kill()
            await asyncio.wait([self.ended], timeout=_OUTPUT_TIMEOUT)
        await asyncio.wait([self._copying], timeout=_OUTPUT_TIMEOUT)
        self._copying.cancel()
        self.ended.cancel()
