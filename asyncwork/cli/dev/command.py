"""``asyncwork dev``: runs a pool, a Redis and the web UI for development."""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import stat
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from functools import partial
from pathlib import Path

from ... import _environment
from ..._environment import number
from ..._jobs.names import check_namespace
from ..._jobs.printable import shown
from ...client import Client
from ...embedded import EmbeddedRedis
from ...errors import UsageError
from ...options import read_grace
from .. import settings
from ..errors import FAILED, AppError
from ..event_loop import check_loop
from .changes import Changes
from .probe import probe
from .record import DIRECTORY, DevFile, find_record
from .redis import DevRedis
from .server import DevOptions, DevServer, environment_of
from .terminal import DevTerminal

_STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def dev(options: argparse.Namespace) -> int:
    """Run the command; return the exit code.

    :raises UsageError: when an option is invalid, or the app cannot be imported.
    :raises AppError: when a development server runs in this directory already.
    :raises EmbeddedRedisError: when Redis cannot be started.
    """
    namespace = options.namespace
    given = DevOptions(
        app=options.app,
        url=None if options.redis is None else settings.read("--redis", options.redis, settings.url),
        namespace=None if namespace is None else settings.read("--namespace", namespace, check_namespace),
        port=settings.read("--port", options.port, _port),
        grace=settings.read("--grace", options.grace, read_grace),
        loop=None if options.loop is None else settings.read("--loop", options.loop, check_loop),
        watched=tuple(settings.read("--watch", each, _directory) for each in options.watch),
    )
    asyncio.run(_run(given, DevTerminal()))
    return 0


def _port(text: str) -> int:
    port = number(text, int, "the number of a port")
    if not 0 <= port <= 65_535:
        raise UsageError(f"a port is from 0 to 65535, not {port}")
    return port


def _directory(text: str) -> Path:
    path = Path(text).absolute()
    if not path.is_dir():
        raise UsageError(f"there is no directory {shown(text)}")
    return path


async def _run(options: DevOptions, terminal: DevTerminal) -> None:
    directory = options.project / DIRECTORY
    _make_private(directory)
    file = _open_file(options.project, directory)
    async with AsyncExitStack() as stack:
        stack.callback(file.close)
        changes = Changes(options.project, options.watched, partial(terminal.write, "dev"))
        # Before Redis is started, because the name may be wrong. The import connects to nothing.
        environment = environment_of(options.url or "", options.namespace)
        found = await probe(options.app, environment, lambda: terminal.write("dev", f"importing {options.app}"))
        if found.error:
            raise AppError(f"{options.app} cannot be run", f"{found.error}\n")
        kept: DevRedis | None
        if options.url is None:
            redis = EmbeddedRedis(directory)
            await stack.enter_async_context(redis)
            terminal.write("redis", f"{redis.url} (process {redis.pid}) keeps its data in {directory}")
            url, kept = redis.url, DevRedis(redis, terminal)
        else:
            url, kept = options.url, None
            terminal.write("redis", Client(url, namespace="{work}").masked_url)
        _warn_of_environment(terminal)
        server = DevServer(options, url, kept, file, terminal)
        with _handled(server):
            await server.run(found, changes)
    terminal.write("dev", "stopped")


def _make_private(directory: Path) -> None:
    """Create the directory for this user alone. An existing one is checked when Redis is started, or here.

    :raises AppError: when it cannot be used.
    """
    try:
        directory.mkdir(mode=0o700, exist_ok=True)
        status = directory.lstat()
    except OSError as error:
        raise AppError(f"{directory} cannot be created: {error.strerror or error}", code=FAILED) from None
    if stat.S_ISLNK(status.st_mode):
        text = f"{directory} is a symbolic link, which other commands do not follow: remove it"
        raise AppError(text, code=FAILED)
    if status.st_uid != os.geteuid() or status.st_mode & 0o022:
        raise AppError(f"{directory} belongs to another user, or others can write to it", code=FAILED)


def _open_file(project: Path, directory: Path) -> DevFile:
    try:
        return DevFile(directory)
    except BlockingIOError:
        running = find_record(project)
        by = "" if running is None else f", process {running.pid}"
        text = f"a development server runs in {project} already{by}: stop it first, or use another directory"
        raise AppError(text, code=FAILED) from None
    except OSError as error:
        raise AppError(f"{directory} cannot be used: {error}", code=FAILED) from None


def _warn_of_environment(terminal: DevTerminal) -> None:
    if _environment.variable(_environment.REDIS) is not None:
        text = f"{_environment.REDIS} is set, and not used here. Commands in other terminals use it, if it is set there"
        terminal.write("dev", text)


@contextmanager
def _handled(server: DevServer) -> Iterator[None]:
    loop = asyncio.get_running_loop()
    for each in _STOPPING:
        loop.add_signal_handler(each, server.stop)
    try:
        yield
    finally:
        for each in _STOPPING:
            loop.remove_signal_handler(each)
