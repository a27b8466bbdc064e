"""Writes each attempt at the jobs of a type that has ``history=True`` to their records."""

from __future__ import annotations

import socket
from typing import Any

from .._jobs import forks
from .._json import codec, members
from .._redis.job_record import ATTEMPT

# Characters of an error, and bytes of arguments as JSON; longer arguments are left out.
_LONGEST_ERROR = 1_000
_LONGEST_ARGS = 10_000

# Seconds for which the record of a job is kept after its end, if its type keeps no results.
HISTORY_FOR = 86_400


class AttemptHistory:
    """Makes the fields of records of attempts."""

    def __init__(self) -> None:
        self._host = socket.gethostname()

    def attempt(
        self, outcome: str, started_at: float | None, ended_at: float, error: str, crashes: int = 0
    ) -> list[bytes]:
        """Return the fields of an attempt, and of those before it whose process died.

        The names of the fields are made of the time at which the attempt started, so that each is written once even if
        the command is sent again. When those started whose process died is not known. Their number starts anew after an
        attempt that has ended, so all of them came after the attempt before.

        :param started_at: epoch seconds, as is ``ended_at``; ``None`` if the job has ended before its handler was
            called, which is no attempt.
        :param crashes: number of times that the job's process has died while it was running.
        """
        found: list[bytes] = []
        for number in range(1, min(crashes, 100) + 1):
            crash = {"outcome": "crashed", "started_at": 0, "ended_at": 0}
            found += self._field(ended_at if started_at is None else started_at, number, crash)
        if started_at is None:
            return found
        entry = {"outcome": outcome, "started_at": round(started_at, 6), "ended_at": round(ended_at, 6)}
        error = error[:_LONGEST_ERROR].encode(errors="backslashreplace").decode()
        host = {"host": self._host, "pid": forks.pid, "error": error}
        return found + self._field(started_at, 999, {**entry, **host})

    def _field(self, started_at: float, number: int, entry: dict[str, Any]) -> list[bytes]:
        # Filled up, because the oldest attempts are those whose names come first.
        return [ATTEMPT + f"{started_at:020.6f}:{number:03}".encode(), codec.encode_value(entry)]

    def args(self, payload: bytes) -> list[bytes]:
        """Return the field of a job's arguments; none for arguments that are too long."""
        args = members.fields(payload).get("args", b"")
        return [b"args", args] if 0 < len(args) <= _LONGEST_ARGS else []
