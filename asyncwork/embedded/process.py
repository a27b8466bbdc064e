"""The process of the server, which ends when this process ends.

A watcher reads from a pipe beside it. Only this process has the write end, so the pipe ends however this process ends,
and the watcher then ends the server.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
from importlib.resources import files
from io import FileIO
from pathlib import Path

from ..errors import EmbeddedRedisError
from .directory import closed_in_forks, open_private
from .threads import Deadline

# Seconds from SIGTERM to SIGKILL. Redis only has to flush its append-only file, so only a hanging disk takes longer.
STOP_TIMEOUT = 10

_SHOWN_LINES = 15  # of the log, in an error


class ServerProcess:
    """A redis-server, started at once, in a session of its own: the terminal's Ctrl-C does not reach it.

    :param lock: inherited by the server, which holds it until it ends.
    :param url: at which clients find it.
    :ivar owner: the process that started it, whose child it is.
    """

    def __init__(self, program: Path, directory: Path, lock: FileIO, url: str) -> None:
        self.url: str = url
        self.owner: int = os.getpid()
        self._program = program
        self._log = directory / "redis.log"
        if self._log.exists():
            self._log.replace(directory / "redis.log.old")
        script = (files(__package__) / "run_server.sh").read_text(encoding="utf-8")
        with open_private(self._log, "ab") as log:
            self._process = subprocess.Popen(
                ["/bin/sh", "-c", script, "asyncwork-redis", str(STOP_TIMEOUT), program, "redis.conf"],
                bufsize=0,
                stdin=subprocess.PIPE,
                stdout=lock,
                stderr=log,
                cwd=directory,
                # Redis 7 and later do not start in a locale that is not installed.
                env={**os.environ, "LC_ALL": "C"},
                start_new_session=True,
            )
        assert self._process.stdin is not None
        self._pipe = self._process.stdin
        closed_in_forks.add(self._pipe)
        self.pid: int = self._process.pid

    def is_alive(self) -> bool:
        """Return whether the server runs."""
        return self._process.poll() is None

    def wait_until_ready(self, unix_socket: str, password: str | None, deadline: Deadline) -> None:
        """Wait until the server has read its data and replies.

        :param password: of the server, if it requires one.
        :raises EmbeddedRedisError: when it exits, or is not ready before the deadline.
        """
        for _ in deadline.attempts():
            if not self.is_alive():
                status = self._process.returncode
                how = f"was ended by signal {-status}" if status < 0 else f"exited with status {status}"
                raise self._error_with_log(f"{self._program} {how} instead of starting")
            reply = _ping(unix_socket, password)
            if reply and b"-LOADING" not in reply:  # the reply to AUTH comes first
                return
        raise self._error_with_log(f"{self._program} was not ready after {deadline.seconds} s (start_timeout)")

    def _error_with_log(self, message: str) -> EmbeddedRedisError:
        """Return an error with ``message`` and the last lines that the server has logged."""
        lines = self._log.read_text(errors="replace").splitlines()
        if any("'appenddirname" in line for line in lines):
            message += "; the data here are of Redis 7 or later, and this server is older"
        if any("Can't handle RDB format version" in line for line in lines):
            message += "; the data here are of another server: set ASYNCWORK_REDIS_SERVER to its path"
        return EmbeddedRedisError("\n".join([f"{message}. The end of {self._log}:", *lines[-_SHOWN_LINES:]]))

    def stop(self) -> None:
        """End the server and the watcher, and wait until the server has ended.

        :raises EmbeddedRedisError: when the server is still running 10 seconds after it was killed.
        """
        try:
            for end in (self._process.terminate, self._process.kill):
                end()
                with contextlib.suppress(subprocess.TimeoutExpired):
                    self._process.wait(STOP_TIMEOUT)
                    return
        finally:
            # The watcher, and the child of a killed server that rewrites its file. The watcher is in the group, so
            # no other process can have its id. macOS raises PermissionError for a group of zombies.
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, signal.SIGKILL)
            self._pipe.close()
        raise EmbeddedRedisError(f"redis-server, process {self.pid}, was killed and has not ended")

    def disown(self) -> None:
        """Forget the server in a forked process. It is not that process's child, and Popen would warn about it."""
        self._process.returncode = 0


def _ping(unix_socket: str, password: str | None) -> bytes:
    """Return what a server replies to PING, or nothing when it does not reply."""
    login = "" if password is None else f"AUTH {password}\r\n"
    with socket.socket(socket.AF_UNIX) as connection, contextlib.suppress(OSError):
        connection.settimeout(0.25)  # seconds; the server may be busy reading its data
        connection.connect(unix_socket)
        # The server closes the connection at QUIT, after it has replied to all.
        connection.sendall(f"{login}PING\r\nQUIT\r\n".encode())
        with connection.makefile("rb") as replies:
            return replies.read()
    return b""
