"""A child process, as the parent has it."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from .._environment import PROCESSES
from .messages import CHILD, CHILD_REDIS, SERVING, PoolAddress, ProcessReport, decode, report_interval

# Bytes of stacks that are kept, the first ones.
_MAX_STACKS = 65_536
# Environment variables that children do not get: only the parent answers systemd.
_OF_PARENT = ("NOTIFY_SOCKET", "WATCHDOG_PID", "WATCHDOG_USEC", PROCESSES)


@dataclass(frozen=True)
class ChildCommand:
    """How children are started.

    :ivar arguments: the arguments of ``asyncwork``.
    :ivar redis_url: a Redis that the parent has started; empty for none.
    :ivar directory: where they start. It may be a symbolic link to the newest release.
    :ivar program: what takes the arguments.
    """

    arguments: Sequence[str]
    redis_url: str = ""
    directory: Path = field(default_factory=lambda: _directory())
    program: Sequence[str] = ()

    def line(self) -> list[str]:
        """Return the command line."""
        # The options of the interpreter, as multiprocessing passes them on.
        options: list[str] = subprocess._args_from_interpreter_flags()  # type: ignore[attr-defined]
        return [*(self.program or (sys.executable, *options, "-m", "asyncwork")), *self.arguments]


def processes(count: int) -> str:
    """Return a number of child processes, for the log."""
    return "1 child process" if count == 1 else f"{count} child processes"


def _directory() -> Path:
    """Return the current directory by the name that the shell has for it, which keeps symbolic links."""
    logical = os.environ.get("PWD", "")
    with suppress(OSError):
        if os.path.isabs(logical) and os.path.samefile(logical, "."):
            return Path(logical)
    return Path.cwd()


class Child:
    """A child process. It is started when this is made, in a running event loop.

    It is in a session of its own, so the signals of a terminal reach it only through the parent.

    :raises OSError: when the process cannot be started.
    :ivar number: of its slot, from 1.
    :ivar address: where its pool is registered; ``None`` until it has sent that.
    :ivar report: its last report.
    :ivar reported_at: when that came, monotonic seconds.
    :ivar has_served: whether it has begun to serve.
    :ivar changed: set whenever it has begun to serve, or has ended.
    :ivar code: its exit code, negative for the number of a signal; ``None`` until it has ended and was reaped.
    :ivar warned_at: when the parent last logged that it does not serve yet, monotonic seconds; at first its start.
    :ivar silence: for how many seconds it has sent nothing, as :class:`Watch` counts.
    :ivar killed_for: why the parent has killed it; empty if it has not.
    """

    def __init__(self, number: int, command: ChildCommand, environment: Mapping[str, str]) -> None:
        self.number = number
        self.address: PoolAddress | None = None
        self.report: ProcessReport = {}
        self.has_served: bool = False
        self.changed: asyncio.Event = asyncio.Event()
        self.code: int | None = None
        self.silence: float = 0.0
        self.killed_for: str = ""
        self.started_at: float = time.monotonic()
        self.reported_at: float = self.started_at
        self.warned_at: float = self.started_at
        # It answers SIGTTIN before it sends anything, and handles the other signals when it is ready.
        self._has_sent = self._handles_signals = False
        self._waiting_signals: list[int] = []
        self._received = b""
        self._stacks = b""
        self._loop = asyncio.get_running_loop()
        self._channel, theirs = socket.socketpair()
        self._stacks_pipe, stacks = os.pipe()
        try:
            self._process = subprocess.Popen(
                command.line(),
                stdin=subprocess.DEVNULL,
                cwd=command.directory,
                env=_environment(environment, f"{number},{theirs.fileno()},{stacks}", command.redis_url),
                pass_fds=(theirs.fileno(), stacks),
                start_new_session=True,
            )
        except BaseException:
            self._channel.close()
            os.close(self._stacks_pipe)
            raise
        finally:
            theirs.close()
            os.close(stacks)
        self.pid: int = self._process.pid
        self._channel.setblocking(False)
        os.set_blocking(self._stacks_pipe, False)
        self._loop.add_reader(self._channel, self._receive)
        self._loop.add_reader(self._stacks_pipe, self._receive_stacks)
        self._pidfd = _open_pidfd(self.pid)
        if self._pidfd is not None:
            self._loop.add_reader(self._pidfd, self.poll)

    def __str__(self) -> str:
        return f"child {self.number} (process {self.pid})"

    @property
    def jobs(self) -> int:
        """How many attempts have ended."""
        jobs = self.report.get("jobs", 0)
        return jobs if isinstance(jobs, int) else 0

    @property
    def report_interval(self) -> float:
        """Seconds between two of its reports."""
        return report_interval(self.address.heartbeat if self.address is not None else 2.0)

    @property
    def start_step(self) -> str:
        """The step of its start that it has reached, for the log."""
        if self._handles_signals:
            return "it makes its pool, opens its resources or connects to Redis"
        return "it imports the application" if self._has_sent else "its interpreter starts"

    @property
    def stacks(self) -> str:
        """The stacks that it has written when it crashed or was aborted; empty if it has not."""
        return self._stacks.decode(errors="backslashreplace").rstrip()

    def send_signal(self, number: int) -> None:
        """Send a signal. One that is not to end the process waits until the process handles signals."""
        if self.code is not None:
            return
        is_heard = self._handles_signals or (number == signal.SIGTTIN and self._has_sent)
        if is_heard or number in (signal.SIGTERM, signal.SIGKILL, signal.SIGABRT):
            # It was not reaped yet, so the id is still its own.
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)
        else:
            self._waiting_signals.append(number)

    @property
    def ended_unready(self) -> bool:
        """Whether SIGTERM has ended it before it handled signals."""
        return self.code == -signal.SIGTERM and not self._handles_signals

    async def wait(self) -> int:
        """Wait until it has ended; return its exit code."""
        while self.code is None:
            self.changed.clear()
            await self.changed.wait()
        return self.code

    async def serves(self) -> bool:
        """Wait until it has begun to serve; return ``False`` if it has ended instead."""
        while self.code is None and not self.has_served:
            self.changed.clear()
            await self.changed.wait()
        return self.code is None

    def poll(self) -> None:
        """Reap the process if it has ended."""
        if self.code is not None or (code := self._process.poll()) is None:
            return
        # Read its last reports first: they say where its pool is registered, which is needed now.
        self._receive()
        self._receive_stacks()
        self.code = code
        self._close()
        self.changed.set()

    def _receive(self) -> None:
        with suppress(BlockingIOError):
            while True:
                try:
                    data = self._channel.recv(65_536)
                except ConnectionResetError:
                    data = b""
                if not data:
                    self._loop.remove_reader(self._channel)
                    return
                *lines, self._received = (self._received + data).split(b"\n")
                for line in lines:
                    self._handle(*decode(line))

    def _handle(self, kind: str, fields: ProcessReport) -> None:
        self.silence, self.reported_at, self._has_sent = 0.0, time.monotonic(), True
        if kind == "report":
            self.report = fields
            if not self.has_served and fields.get("state") in SERVING:
                self.has_served = True
                self.changed.set()
        elif kind == "pool":
            with suppress(TypeError):  # a child of another version
                self.address = PoolAddress(**fields)
        elif kind == "ready":
            self._handles_signals = True
            waiting, self._waiting_signals = self._waiting_signals, []
            for number in waiting:
                self.send_signal(number)

    def _receive_stacks(self) -> None:
        with suppress(BlockingIOError):
            while data := os.read(self._stacks_pipe, 65_536):
                self._stacks = (self._stacks + data)[:_MAX_STACKS]
            self._loop.remove_reader(self._stacks_pipe)

    def _close(self) -> None:
        for source in (self._channel, self._stacks_pipe):
            self._loop.remove_reader(source)
        self._channel.close()
        os.close(self._stacks_pipe)
        if self._pidfd is not None:
            self._loop.remove_reader(self._pidfd)
            os.close(self._pidfd)


def _environment(parent: Mapping[str, str], link: str, redis_url: str) -> dict[str, str]:
    own = {name: value for name, value in parent.items() if name not in _OF_PARENT}
    return {**own, CHILD: link, **({CHILD_REDIS: redis_url} if redis_url else {})}


def _open_pidfd(pid: int) -> int | None:
    """Return a descriptor that is readable when a process has ended; ``None`` where there are none."""
    try:
        return os.pidfd_open(pid)
    except (AttributeError, OSError):
        return None
