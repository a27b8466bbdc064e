"""A redis-server that belongs to this process."""

from __future__ import annotations

import asyncio
import atexit
import os
import secrets
import threading
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from types import NoneType
from urllib.parse import quote

from .._jobs.option_checks import check_type
from .._jobs.times import seconds_of
from ..errors import EmbeddedRedisError
from .config import check_port, check_settings, find_free_port, write_config
from .directory import choose_socket_path, lock_for_owner, lock_for_server, make_private
from .process import ServerProcess
from .program import find_program, find_redis_server
from .threads import Deadline, run_to_end


class EmbeddedRedis:
    """A redis-server that belongs to this process and keeps its data in a directory.

    The server writes an append-only file, synced every second, so its data survive however it ends, and the next start
    in the same directory serves them again. Only this user may connect. The server ends with this process, even when
    the process is killed. A process forked from this one may use :attr:`url`; it neither keeps the server alive nor
    stops it.

    ``with`` and ``async with`` start the server on entry and stop it on exit. ``async with`` does not block the event
    loop, and it stops the server completely even when it is cancelled.

    :param directory: holds the data, log and socket; by default ``.asyncwork`` in the current directory. A missing
        directory is created for this user alone.
    :param server: the program to run, a path or a name on the ``PATH``; by default the one that
        :func:`find_redis_server` finds at the start.
    :param appendonly: whether to write the append-only file. Without it the data end with the server, and the data of
        earlier starts are kept but not served.
    :param port: listen on this port of 127.0.0.1 too, with a password that is new at each start; :attr:`url` then
        uses the port. 0 takes a free port. By default the server has only the unix socket.
    :param settings: more settings of redis.conf, each name with its value as written there; an empty value becomes
        ``""``.
    :param start_timeout: seconds for a whole start: waiting for the server of a killed owner to stop, starting, and
        reading the data.
    :raises UsageError: when a path is none, ``port`` is not a port, a setting is malformed or reserved for this class,
        ``start_timeout`` is negative, NaN or infinite, or a value is of another type.
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
        check_port(port)
        check_settings(settings)
        check_type(appendonly, "appendonly", bool, "True or False")
        check_type(directory, "directory", (str, os.PathLike, NoneType), "a path")
        check_type(server, "server", (str, os.PathLike, NoneType), "a path")
        self.directory: Path = Path(".asyncwork" if directory is None else directory).absolute()
        self._server = None if server is None else os.fspath(server)
        self._appendonly = appendonly
        self._port = port
        self._settings = dict(settings)
        self._start_timeout = seconds_of(start_timeout, "start_timeout")
        self._mutex = threading.Lock()
        self._process: ServerProcess | None = None
        self._undo = ExitStack()

    def __repr__(self) -> str:
        state = "not started" if self._process is None else f"pid={self._process.pid}"
        return f"<EmbeddedRedis {str(self.directory)!r} {state}>"

    @property
    def url(self) -> str:
        """The URL to connect to, in the form that redis-py takes.

        ``unix:///path?db=0``, or ``redis://:password@127.0.0.1:port/0`` when there is a port.

        :raises EmbeddedRedisError: when the server is not started.
        """
        return self._get_process().url

    @property
    def pid(self) -> int:
        """The process id of the redis-server.

        :raises EmbeddedRedisError: when the server is not started.
        """
        return self._get_process().pid

    def start(self) -> None:
        """Start the server and wait until it has read its data and replies. Do nothing when it is running.

        A server that has died is started again.

        :raises EmbeddedRedisError: when no redis-server is found; when the directory belongs to another user, or
            others can write to it; when another instance uses the directory, with its process id; when the server
            exits at once (its append-only file is damaged or of a newer version, or it does not know a setting) or is
            not ready within ``start_timeout`` seconds, with the end of its log; when this process is a fork of the one
            that started the server.
        """
        self._start(Deadline(self._start_timeout))

    def stop(self) -> None:
        """Stop the server and wait until it has ended. Do nothing when it is not running, or in a forked process.

        The server finishes its writes, and is killed when that takes longer than 10 seconds.

        :raises EmbeddedRedisError: when it is still running 10 seconds after it was killed.
        """
        if self._process is not None and self._process.owner != os.getpid():
            self._process.disown()
            return
        with self._mutex:
            self._stop()

    def __enter__(self) -> EmbeddedRedis:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    async def __aenter__(self) -> EmbeddedRedis:
        deadline = Deadline(self._start_timeout)
        try:
            await run_to_end(lambda: self._start(deadline), on_cancel=deadline.cancelled.set)
        except asyncio.CancelledError:
            await run_to_end(self.stop)
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await run_to_end(self.stop)

    def _get_process(self) -> ServerProcess:
        if self._process is None:
            raise EmbeddedRedisError(f"the redis-server in {self.directory} is not started: call start() first")
        return self._process

    def _start(self, deadline: Deadline) -> None:
        if self._process is not None and self._process.owner != os.getpid():
            raise EmbeddedRedisError(
                f"{self!r} belongs to process {self._process.owner}, and this process is a fork of it: use its url"
            )
        with self._mutex:
            if self._process is not None:
                if self._process.is_alive():
                    return
                self._stop()
            with ExitStack() as undo:
                try:
                    self._launch(undo, deadline)
                except OSError as error:
                    raise EmbeddedRedisError(f"no redis-server can run in {self.directory}: {error}") from error
                self._undo = undo.pop_all()
            atexit.register(self.stop)

    def _stop(self) -> None:
        self._process = None
        atexit.unregister(self.stop)
        self._undo.close()

    def _launch(self, undo: ExitStack, deadline: Deadline) -> None:
        """Start a server and wait until it is ready.

        :param undo: gets every step that a stop, or a failed start, has to undo.
        """
        program = find_redis_server() if self._server is None else find_program(self._server, "server")
        port = find_free_port() if self._port == 0 else self._port
        password = None if port is None else secrets.token_hex(32)
        make_private(self.directory)
        owner_lock = lock_for_owner(self.directory)
        undo.callback(owner_lock.close)
        unix_socket = choose_socket_path(self.directory, undo)
        url = f"unix://{quote(unix_socket)}?db=0" if port is None else f"redis://:{password}@127.0.0.1:{port}/0"
        with lock_for_server(self.directory, deadline) as server_lock:
            write_config(self.directory, port, password, self._appendonly, self._settings)
            process = ServerProcess(program, self.directory, server_lock, url)
            undo.callback(process.stop)
            process.wait_until_ready(unix_socket, password, deadline)
        self._process = process
