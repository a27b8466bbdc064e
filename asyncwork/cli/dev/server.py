"""The parts of a development server: the processes of the pool and of the web UI, and when they are restarted."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

from ... import _environment
from .changes import Changes
from .probe import Probe, probe
from .process import DevProcess
from .record import DevFile, DevRecord
from .redis import DevRedis
from .terminal import DevTerminal

# Seconds after the grace period until a pool is killed, and until the web UI is.
_KILL_AFTER = 10.0
# Seconds between two checks of Redis.
_REDIS_INTERVAL = 1.0
# Ports that are tried for the web UI, from the first on.
_PORTS = 100
# Packages of the extra `web`.
_WEB_PACKAGES = ("starlette", "uvicorn", "jinja2", "cron_descriptor")


@dataclass(frozen=True, slots=True)
class DevOptions:
    """The options of the command line.

    :ivar app: the pool, as module:attribute.
    :ivar url: the URL of Redis; ``None`` for a server of its own.
    :ivar namespace: ``None`` for that of the pool.
    :ivar port: the first port to try for the web UI.
    :ivar grace: seconds for running jobs to finish.
    :ivar loop: the event loop of the pool; ``None`` for that of the environment, or the default.
    :ivar watched: directories whose files all count.
    """

    app: str
    url: str | None
    namespace: str | None
    port: int
    grace: float
    loop: str | None = None
    watched: tuple[Path, ...] = ()
    project: Path = field(default_factory=Path.cwd)


class DevServer:
    """Runs a pool and the web UI until it is stopped, and restarts the pool on changes.

    :param url: the URL of Redis.
    :param redis: the server of its own, if it has one.
    :param file: the file by which other commands find Redis.
    """

    def __init__(
        self, options: DevOptions, url: str, redis: DevRedis | None, file: DevFile, terminal: DevTerminal
    ) -> None:
        self._options = options
        self._url = url
        self._redis = redis
        self._file = file
        self._terminal = terminal
        self._stopped = asyncio.Event()
        self._pool: DevProcess | None = None
        self._web: DevProcess | None = None
        self._namespace = ""
        self._found = Probe()

    def stop(self) -> None:
        """Stop everything; at the second call, cancel running jobs, and at the third, end the pool at once."""
        if self._stopped.is_set() and self._pool is not None:
            self._pool.terminate()
        self._stopped.set()

    async def run(self, first: Probe, changes: Changes) -> None:
        """Run until :meth:`stop` is called."""
        stopped = asyncio.create_task(self._stopped.wait())
        running = asyncio.create_task(self._run(first, changes))
        try:
            await asyncio.wait([stopped, running], return_when=asyncio.FIRST_COMPLETED)
            if running.done():
                running.result()
        finally:
            running.cancel()
            with suppress(asyncio.CancelledError):
                await running
            stopped.cancel()
            self._terminal.write("dev", "stopping")
            await asyncio.gather(self._stop_web(), self._stop_pool())

    async def _stop_pool(self) -> None:
        if self._pool is not None:
            await self._pool.stop(self._options.grace + _KILL_AFTER)
            self._pool = None

    async def _stop_web(self) -> None:
        if self._web is not None:
            await self._web.stop(_KILL_AFTER)
            self._web = None

    async def _run(self, first: Probe, changes: Changes) -> None:
        await self._start_all(first)
        while True:
            change = asyncio.create_task(changes.wait())
            try:
                await self._wait_for(change)
            finally:
                change.cancel()
            self._terminal.write("dev", f"changed: {self._names(change.result())}")
            found = await probe(self._options.app, self._environment(), self._on_slow_import)
            if found.error:
                self._terminal.write("error", found.error)
                self._terminal.write("error", "the pool from before this change goes on; waiting for the next change")
            else:
                await self._restart(found)

    async def _wait_for(self, change: asyncio.Task[list[str]]) -> None:
        """Wait for a change. Report processes that end meanwhile, and start Redis again if it dies."""
        reported: set[asyncio.Task[int]] = set()
        while not change.done():
            parts = {process.ended: part for part, process in (("pool", self._pool), ("web", self._web)) if process}
            running = parts.keys() - reported
            await asyncio.wait([change, *running], timeout=_REDIS_INTERVAL, return_when=asyncio.FIRST_COMPLETED)
            for ended in running:
                if ended.done():
                    reported.add(ended)
                    text = f"{parts[ended]} ended with exit code {ended.result()}: a change starts it again"
                    self._terminal.write("dev", text)
            if await self._redis_has_moved():
                await self._restart(self._found)

    async def _redis_has_moved(self) -> bool:
        """Start Redis again if it has died; return whether it has another URL than the processes know."""
        if self._redis is None:
            return False
        await self._redis.restart_if_dead()
        return self._redis.url != self._url

    def _names(self, paths: list[str]) -> str:
        names = [os.path.relpath(path, self._options.project) for path in paths]
        return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")

    async def _restart(self, found: Probe) -> None:
        # Before the pool stops, because it returns its jobs to Redis.
        moved = await self._redis_has_moved()
        await self._stop_pool()
        web_ended = self._web is not None and self._web.ended.done()
        if moved or web_ended or self._namespace_of(found) != self._namespace:
            await self._stop_web()
            await self._start_all(found)
        else:
            await self._start_pool(found)

    async def _start_all(self, found: Probe) -> None:
        self._namespace = self._namespace_of(found)
        if self._redis is not None:
            self._url = self._redis.url
        self._file.write(DevRecord(self._url, self._namespace, os.getpid()))
        self._terminal.write("dev", f"{self._options.app}, namespace {self._namespace!r}; Ctrl-C stops it")
        await self._start_web()
        await self._start_pool(found)

    def _on_slow_import(self) -> None:
        self._terminal.write("dev", f"importing {self._options.app}")

    def _namespace_of(self, found: Probe) -> str:
        return found.namespace if self._options.namespace is None else self._options.namespace

    async def _start_pool(self, found: Probe) -> None:
        self._found = found
        for warning in found.warnings:
            self._terminal.write("dev", f"warning: {warning}")
        arguments = ["run", self._options.app, "--redis", self._url, "--grace", str(self._options.grace)]
        if self._options.namespace is not None:
            arguments += ["--namespace", self._options.namespace]
        if self._options.loop is not None:
            arguments += ["--loop", self._options.loop]
        self._pool = await DevProcess.start("pool", arguments, self._environment(), self._terminal)

    async def _start_web(self) -> None:
        if missing := [name for name in _WEB_PACKAGES if find_spec(name) is None]:
            text = f"no web UI, because {missing[0]} is not installed: pip install 'asyncwork[web]'"
            self._terminal.write("web", text)
            return
        port = _free_port(self._options.port)
        if port != self._options.port:
            self._terminal.write("web", f"port {self._options.port} is taken by another program; this is port {port}")
        environment = {**self._environment(), _environment.NAMESPACE: self._namespace}
        # It listens on this machine only, and asks for no password.
        environment.pop("ASYNCWORK_WEB_AUTH", None)
        self._web = await DevProcess.start("web", ["web", "--listen", f"127.0.0.1:{port}"], environment, self._terminal)

    def _environment(self) -> Mapping[str, str]:
        return environment_of(self._url, self._options.namespace)


def environment_of(url: str, namespace: str | None) -> dict[str, str]:
    """Return the environment of the processes: clients that the app makes use the same Redis."""
    given = {_environment.REDIS: url}
    if namespace is not None:
        given[_environment.NAMESPACE] = namespace
    return {**os.environ, "PYTHONUNBUFFERED": "1", **given}


def _free_port(first: int) -> int:
    """Return the first port that is free; 0 for one that the system chooses."""
    for port in range(first, min(first + _PORTS, 65_536)) if first else ():
        with socket.socket() as attempt, suppress(OSError):
            attempt.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            attempt.bind(("127.0.0.1", port))
            return port
    return 0
