"""Run the server under a shell that ends it when this process ends.

The shell reads from a pipe. Only this process has the write end, so the pipe ends however this process ends, and the
shell then ends the server.
"""

from __future__ import annotations

import contextlib
import math
import os
import selectors
import signal
import subprocess
import time
from importlib.resources import files
from pathlib import Path

from ..errors import EmbeddedRedisError
from .config import Config
from .deadline import Deadline
from .descriptors import PrivateDescriptor
from .log import ServerLog
from .ping import ping

# Seconds from SIGTERM to SIGKILL. Redis only has to flush its append-only file, so only a hanging disk takes longer.
STOP_TIMEOUT = 10.0

_POLL_INTERVAL = 0.002  # seconds between two checks of a server that starts, which takes it about 15 ms


class Supervisor:
    """The shell between this process and a server.

    Both are in a session of their own, so the terminal's Ctrl-C does not reach them.

    :param scratch: a directory that the shell removes at the end, or an empty string.
    :param server_lock: inherited by the server, which holds it until it ends.
    :ivar server_pid: the process id of the server, 0 until the shell has reported it.
    """

    def __init__(
        self, program: Path, directory: Path, scratch: str, server_lock: PrivateDescriptor, log: ServerLog
    ) -> None:
        self.server_pid: int = 0
        self._program = program
        self._log = log
        self._reported = b""
        script = (files(__package__) / "supervisor.sh").read_text(encoding="utf-8")
        timeout = str(math.ceil(STOP_TIMEOUT))  # the sleep of POSIX takes no fractions
        with PrivateDescriptor.guard:
            stdin, pipe = os.pipe()
            self._pipe = PrivateDescriptor(pipe)
        try:
            # The guard also keeps a child that is forked meanwhile from keeping the standard output open.
            with PrivateDescriptor.guard:
                self._process = subprocess.Popen(
                    ["/bin/sh", "-c", script, "asyncwork-redis", timeout, scratch, program, "redis.conf"],
                    stdin=stdin,
                    stdout=subprocess.PIPE,
                    stderr=log.number,
                    cwd=directory,
                    # Redis 7 and later do not start in a locale that is not installed.
                    env={**os.environ, "LC_ALL": "C"},
                    pass_fds=(server_lock.number,),
                    start_new_session=True,
                )
        except BaseException:
            self._pipe.close()
            raise
        finally:
            os.close(stdin)
        assert self._process.stdout is not None
        self._reports = self._process.stdout

    def is_alive(self) -> bool:
        """Return whether the shell runs."""
        return self._process.poll() is None

    def wait_until_ready(self, config: Config, deadline: Deadline) -> None:
        """Wait until the server replies to PING.

        :raises EmbeddedRedisError: when it exits, replies with an error other than LOADING, or is not ready before
            the deadline.
        """
        with selectors.DefaultSelector() as selector:
            selector.register(self._reports, selectors.EVENT_READ)
            while not deadline.has_passed():
                if selector.select(_POLL_INTERVAL):
                    self._read_report()
                reply = ping(config.unix_socket, config.password) if self.server_pid else b""
                if reply.startswith(b"+PONG"):
                    return
                if reply.startswith(b"-") and not reply.startswith(b"-LOADING"):
                    raise self._log.error_with_tail(
                        f"{self._program} replies to PING with {reply.decode(errors='replace')!r}"
                    )
        raise self._log.error_with_tail(f"{self._program} was not ready after {deadline.seconds} s (start_timeout)")

    def _read_report(self) -> None:
        report = os.read(self._reports.fileno(), 64)
        self._reported += report
        pid, _, status = self._reported.partition(b"\n")
        if not report:
            raise self._log.error_with_tail(f"{self._program} did not start, because its supervisor has ended")
        if status.endswith(b"\n"):
            number = int(status)
            how = f"was ended by signal {number - 128}" if number > 128 else f"exited with status {number}"
            raise self._log.error_with_tail(f"{self._program} {how} instead of starting")
        if self._reported.endswith(b"\n"):
            self.server_pid = int(pid)

    def stop(self) -> None:
        """End the server and the shell, and wait until they have ended.

        :raises EmbeddedRedisError: when the server is still running 20 seconds after it was killed.
        """
        try:
            # The id cannot belong to another group yet, because its leader is reaped only below.
            group = -self._process.pid
            # Kill the server alone first: the supervisor then reaps it, and it does not become a zombie of init's.
            for target, signal_number in (
                (group, signal.SIGTERM),
                (self.server_pid or group, signal.SIGKILL),
                (group, signal.SIGKILL),
            ):
                if self.is_alive():
                    with contextlib.suppress(OSError):
                        os.kill(target, signal_number)
                else:
                    # The server may have outlived its supervisor. Its watcher then ends it.
                    self._pipe.close()
                if self._ends_within(STOP_TIMEOUT):
                    self._process.wait()
                    return
        finally:
            self._pipe.close()
            self._reports.close()
        raise EmbeddedRedisError(f"redis-server, process {self.server_pid}, was killed and has not ended")

    def _ends_within(self, seconds: float) -> bool:
        deadline = time.monotonic() + seconds
        with selectors.DefaultSelector() as selector:
            selector.register(self._reports, selectors.EVENT_READ)
            while selector.select(max(0.0, deadline - time.monotonic())):
                if not os.read(self._reports.fileno(), 64):
                    return True
        return False

    def disown(self) -> None:
        """Forget the shell in a forked process. It is not that process's child, and Popen would warn about it."""
        self._process.returncode = 0
        self._reports.close()
