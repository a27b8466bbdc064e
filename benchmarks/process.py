"""A process that was given an order."""

from __future__ import annotations

import json
import subprocess
import tempfile
import threading
from types import TracebackType
from typing import Any

from .environments import ROOT, Program
from .orders import Order, written

# Seconds after which a process that should long have ended is killed.
PATIENCE = 300.0
# Lines of what it wrote to standard error that are shown when it fails.
_TAIL = 15


class BenchmarkError(Exception):
    """A run went wrong, so that its figures mean nothing."""


class Process:
    """A producer or a worker. What it logs is only shown when it fails.

    :param program: what runs it.
    :param order: what it is to do.
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
        self._patience = threading.Timer(PATIENCE, self._give_up)
        self._patience.daemon = True
        self._patience.start()
        self.say(written(order))

    def say(self, line: str) -> None:
        """Write to its standard input."""
        assert self._process.stdin is not None
        self._process.stdin.write(line)
        self._process.stdin.flush()

    def result(self) -> Any:
        """Return the next that it tells.

        :raises BenchmarkError: when it ends without.
        """
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            code = self._process.wait()
            self._log.seek(0)
            log = "".join(self._log.readlines()[-_TAIL:])
            if self._hangs:
                raise BenchmarkError(f"{log}\n{self._what} did not end within {PATIENCE:.0f} s")
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
        self._patience.cancel()
        if kind is not None:
            self._process.kill()
        self._process.communicate()
        self._log.close()
