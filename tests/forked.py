"""Python programs in processes of their own, forked from one that has done their imports.

A program is what ``python -m MODULE`` is: it has its own directory, environment, arguments and streams, the usual
signal handlers, and an interpreter that ends as always. Only its imports differ, so tests of those, or of options of
the interpreter, start a real one.
"""

from __future__ import annotations

import asyncio
import atexit
import functools
import gc
import importlib
import json
import os
import runpy
import select
import selectors
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

# What most programs import. None of these modules has state that a program would inherit.
_PRELOADED = (
    *("asyncwork.cli.run", "asyncwork.cli.enqueue", "asyncwork.cli.web", "asyncwork.cli.doctor", "asyncwork.cli.logs"),
    *("asyncwork.client", "asyncwork.embedded", "asyncwork.testing", "asyncwork.worker_pool", "asyncwork.web.server"),
    *("asyncwork._worker.launcher", "redis.asyncio", "uvloop", "logging.config", "multiprocessing.pool", "croniter"),
    *("asyncwork.cli.jobs", "asyncwork.cli.job", "asyncwork.cli.periodic", "asyncwork.cli.queues", "asyncwork.cli.top"),
    *("asyncwork.cli.cancel", "asyncwork.cli.completion", "asyncwork.cli.deletions", "asyncwork.cli.pools"),
    *("asyncwork.cli.processes", "asyncwork.cli.stats", "asyncwork._processes.fleet", "asyncwork._health.server"),
)
# The interpreter reads them when it starts. The search path can also be changed later.
_OF_INTERPRETER, _PATH = ("PYTHON", "LC_", "LANG"), "PYTHONPATH"
# They may be ignored in whatever started the tests, such as nohup.
_SIGNALS = (signal.SIGHUP, signal.SIGTERM, signal.SIGTSTP, signal.SIGCHLD)


class ForkedProcess:
    """A running program, as :class:`asyncio.subprocess.Process` and :class:`subprocess.Popen` have it.

    :ivar returncode: ``None`` until a call of :meth:`poll` or one of the waiting methods has seen its end.
    """

    def __init__(self, channel: socket.socket) -> None:
        self._channel = channel
        with channel.makefile("rb", buffering=0) as replies:
            self.pid = int(replies.readline())
        self.returncode: int | None = None
        channel.setblocking(False)

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def poll(self) -> int | None:
        """Return the exit code, negative for a signal, or ``None`` while it runs."""
        if self.returncode is None:
            with suppress(BlockingIOError):
                self._ended(self._channel.recv(100))
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end; return the exit code.

        :raises TimeoutError: after so many seconds.
        """
        if self.poll() is None:
            select.select([self._channel], [], [], timeout)
        if self.poll() is None:
            raise TimeoutError(f"process {self.pid} still runs after {timeout} s")
        assert self.returncode is not None
        return self.returncode

    async def ended(self) -> int:
        """Wait for its end; return the exit code."""
        if self.poll() is None:
            self._ended(await asyncio.get_running_loop().sock_recv(self._channel, 100))
        assert self.returncode is not None
        return self.returncode

    def _ended(self, reply: bytes) -> None:
        self._channel.close()
        self.returncode = int(reply)


def can_fork(environment: Mapping[str, str]) -> bool:
    """Whether the interpreter of a program with this environment is like that of the tests."""
    if any(Path(each, "sitecustomize.py").exists() for each in environment.get(_PATH, "").split(os.pathsep) if each):
        return False  # the interpreter runs it when it starts
    names = {name for name in (*environment, *os.environ) if name.startswith(_OF_INTERPRETER)}
    return all(environment.get(name) == os.environ.get(name) for name in names - {_PATH})


@functools.cache
def _server() -> socket.socket:
    """Start the process that forks; return a socket to send it requests."""
    ours, theirs = socket.socketpair()
    with theirs:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.forked", str(theirs.fileno())],
            cwd=Path(__file__).parents[1],
            stdin=subprocess.DEVNULL,
            # The interpreter opens them otherwise than files, and the programs have pipes.
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            pass_fds=[theirs.fileno()],
        )

    def stop() -> None:
        ours.close()
        _, errors = process.communicate()
        sys.stderr.write(errors.decode())

    # It also ends when this process is killed.
    atexit.register(stop)
    return ours


def fork(
    module: str,
    *arguments: str,
    cwd: Path,
    env: Mapping[str, str],
    stdout: int = 1,
    stderr: int = 2,
    terminal: str = "",
) -> ForkedProcess:
    """Start a module as a program that reads from the null device and writes to these files.

    :param env: one for which :func:`can_fork` is true.
    :param terminal: the path of one that controls the program, which reads from it and writes to it instead, as UTF-8.
    """
    ours, theirs = socket.socketpair()
    with theirs:
        socket.send_fds(_server(), [b"."], [theirs.fileno(), stdout, stderr])
    ours.sendall(json.dumps([module, arguments, str(cwd), {**env}, terminal]).encode() + b"\n")
    return ForkedProcess(ours)


@asynccontextmanager
async def readable() -> AsyncIterator[tuple[asyncio.StreamReader, int]]:
    """A reader of what a program writes, and the file that it gets; this process closes its own on exit."""
    ours, theirs = os.pipe()
    reader = asyncio.StreamReader()
    file = open(ours, "rb", buffering=0)  # noqa: SIM115 - closed at the end of the stream
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), file)
    try:
        yield reader, theirs
    finally:
        os.close(theirs)


# The process that forks


def _next_program(requests: socket.socket) -> tuple[list[Any], list[int]] | None:
    """Fork a process for each request, and return in it what to run on which streams; return ``None`` at the end."""
    ended, wakeup = socket.socketpair()
    wakeup.setblocking(False)
    signal.set_wakeup_fd(wakeup.fileno(), warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda number, frame: None)
    programs: dict[int, socket.socket] = {}
    with selectors.DefaultSelector() as selector, ended, wakeup:
        selector.register(requests, selectors.EVENT_READ)
        selector.register(ended, selectors.EVENT_READ)
        while True:
            ready = {key.fileobj for key, _ in selector.select()}
            if ended in ready:
                ended.recv(1000)
                _report(programs)
            if requests not in ready:
                continue
            message, files, _, _ = socket.recv_fds(requests, 1, 3)
            if not message:
                return None
            channel, streams = socket.socket(fileno=files[0]), files[1:]
            with channel.makefile("rb") as lines:
                program = json.loads(lines.readline())
            pid = os.fork()
            if not pid:
                signal.set_wakeup_fd(-1)
                for each in (channel, requests, *programs.values()):
                    each.close()
                return program, streams
            for stream in streams:
                os.close(stream)
            programs[pid] = channel
            channel.sendall(b"%d\n" % pid)


def _report(programs: dict[int, socket.socket]) -> None:
    """Send the exit codes of the programs that have ended."""
    while programs:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if not pid:
            return
        with programs.pop(pid) as channel, suppress(OSError):  # nobody waits for it
            channel.sendall(b"%d\n" % os.waitstatus_to_exitcode(status))


def _be(program: list[Any], streams: list[int]) -> None:
    """Be a program in this process."""
    module, arguments, directory, environment, terminal = program
    for number, stream in enumerate(streams, 1):
        os.dup2(stream, number)
        os.close(stream)
    if terminal:
        _be_on(terminal)
    for number in _SIGNALS:
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.chdir(directory)
    os.environ.clear()
    os.environ.update(environment)
    time.tzset()
    sys.path[:1] = [directory, *filter(None, environment.get(_PATH, "").split(os.pathsep))]
    sys.argv = [module, *arguments]
    # The program may have a package of the same name.
    del sys.modules["tests"]
    gc.enable()
    runpy.run_module(module, run_name="__main__", alter_sys=True)


def _be_on(terminal: str) -> None:
    """Read from a terminal and write to it, which controls this process: a new session has the first that it opens."""
    os.setsid()
    file = os.open(terminal, os.O_RDWR)
    for number in range(3):
        os.dup2(file, number)
    os.close(file)
    sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115 - as the interpreter does
    sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", encoding="utf-8", errors="backslashreplace", closefd=False)  # noqa: SIM115


if __name__ == "__main__":
    for name in _PRELOADED:
        importlib.import_module(name)
    # What is there now is never garbage. Otherwise each program would copy its memory at the first collection.
    gc.disable()
    gc.freeze()
    with socket.socket(fileno=int(sys.argv[1])) as requests:
        given = _next_program(requests)
    if given is not None:
        _be(*given)
