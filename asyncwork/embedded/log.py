"""The log file of the server."""

from __future__ import annotations

import os
from pathlib import Path

from ..errors import EmbeddedRedisError

_MAX_LOG_SIZE = 1024 * 1024  # bytes; a longer log is renamed at the next start
_SHOWN_LINES = 15  # in an error


class ServerLog:
    """The server's log, open for the server to write to."""

    def __init__(self, path: Path) -> None:
        self.path = path
        if path.exists() and path.stat().st_size > _MAX_LOG_SIZE:
            path.replace(path.with_suffix(".log.old"))
        self.number: int = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._start = os.fstat(self.number).st_size

    def error_with_tail(self, message: str) -> EmbeddedRedisError:
        """Return an error with ``message`` and the last lines that the server has logged since this start."""
        with self.path.open("rb") as file:
            file.seek(self._start)
            lines = file.read().decode(errors="replace").splitlines()
        if any("'appenddirname" in line for line in lines):
            message += "; the data here are of Redis 7 or later, and this server is older"
        if any("Can't handle RDB format version" in line for line in lines):
            message += "; the data here are of another server: set ASYNCWORK_REDIS_SERVER to its path"
        return EmbeddedRedisError("\n".join([f"{message}. The end of {self.path}:", *lines[-_SHOWN_LINES:]]))

    def close(self) -> None:
        """Close this process's descriptor; the server keeps its own."""
        os.close(self.number)
