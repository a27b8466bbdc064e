"""Runs a producer or a worker in a process of its own."""

from __future__ import annotations

import json
import subprocess
import tempfile
import threading
from types import TracebackType
from typing import Any

from .environments import ROOT, Program
from .orders import Order, serialize

# Seconds after which a process is killed.
TIMEOUT = 300.0
# Number of lines of its standard error that an error shows.
_TAIL = 15


class BenchmarkError(Exception):
    """A run failed, so its figures mean nothing."""


class Process:
    """A process with a producer or a worker. Its log is only shown if it fails.

    :param program: the program of its side.
    :param order: is written to its standard input.
    """

    def __init__(self, program: Program, order: Order) -> None:
        self._what = f"{order.case.side} ({order.what})"
        self._log = tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace")  # noqa: SIM115 (closed on exit)
        self._process = subprocess.Popen(
            program.command,
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            encoding="utf-8",
        )
        self._hangs = False
        self._timer = threading.Timer(TIMEOUT, self._give_up)
        self._timer.daemon = True
        self._timer.start()
        self.write(serialize(order))

    def write(self, line: str) -> None:
        """Write a line to its standard input."""
        assert self._process.stdin is not None
        self._process.stdin.write(line)
        self._process.stdin.flush()

    def result(self) -> Any:
        """Return its next result.

        :raises BenchmarkError: when it ends without a result, or hangs.
        """
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            code = self._process.wait()
            self._log.seek(0)
            log = "".join(self._log.readlines()[-_TAIL:])
            if self._hangs:
                raise BenchmarkError(f"{log}\n{self._what} was killed because it did not end within {TIMEOUT:.0f} s")
            raise BenchmarkError(f"{self._what} ended with exit code {code}:\n{log}")
        return json.loads(line)

    def _give_up(self) -> None:
        self._hangs = True
        self._process.kill()

    def __enter__(self) -> Process:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._timer.cancel()
        if kind is not None:
            self._process.kill()
        self._process.communicate()
        self._log.close()
