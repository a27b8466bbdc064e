"""Check the settings of an embedded server and write its redis.conf."""

from __future__ import annotations

import re
import socket
from collections.abc import Mapping
from pathlib import Path

from .._jobs.option_checks import check_type
from .._jobs.printable import shown
from ..errors import UsageError
from .directory import open_private

# EmbeddedRedis sets these itself. With other values it would lose control of the server or of its data.
_RESERVED_SETTINGS = frozenset(
    {
        *("appenddirname", "appendfilename", "appendonly", "bind", "daemonize", "dir", "logfile", "pidfile"),
        *("port", "requirepass", "supervised", "unixsocket", "unixsocketperm"),
    }
)


def check_port(port: int | None) -> None:
    """Raise :class:`UsageError` unless ``port`` is a port, 0 or ``None``."""
    if port is not None and (isinstance(port, bool) or not isinstance(port, int) or not 0 <= port <= 65535):
        raise UsageError(f"port must be 1 to 65535, or 0 for a free one, not {shown(port)}")


def check_settings(settings: Mapping[str, str]) -> None:
    """Raise :class:`UsageError` for a setting that is malformed or reserved."""
    check_type(settings, "settings", Mapping, "a dict of the names and values of settings")
    for name, value in settings.items():
        if not isinstance(name, str) or not re.fullmatch(r"[\w.-]+", name):
            raise UsageError(f"{shown(name)} is not the name of a setting of redis.conf")
        if name.lower() in _RESERVED_SETTINGS:
            raise UsageError(f"the setting {name} is reserved: EmbeddedRedis sets it itself")
        if not isinstance(value, str) or not value.isprintable():
            raise UsageError(f"the setting {name} must be one line of text, not {shown(value)}")


def find_free_port() -> int:
    """Return a port of 127.0.0.1 on which nothing listens."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])


def write_config(
    directory: Path, port: int | None, password: str | None, appendonly: bool, settings: Mapping[str, str]
) -> None:
    """Write ``redis.conf``, readable for this user alone.

    :param port: the port of 127.0.0.1 to listen on besides the socket, or ``None``.
    :param password: required by the server if there is a port.
    :param settings: more settings, already checked.
    """
    lines = [
        "# Written at each start.",
        f"port {port or 0}",
        "unixsocket redis.sock",
        f"appendonly {'yes' if appendonly else 'no'}",
        "appendfsync everysec",
        'save ""',
    ]
    if password is not None:
        lines += ["bind 127.0.0.1", f"requirepass {password}"]
    if appendonly and (directory / "appendonlydir").exists():
        # Redis 7 and later keep the append-only file there. Redis 6 would ignore it and start without data. It does
        # not know this setting, so it exits.
        lines.append("appenddirname appendonlydir")
    empty = '""'
    lines += [f"{name} {value.strip() or empty}" for name, value in settings.items()]
    with open_private(directory / "redis.conf", "wb") as file:
        file.write("".join(f"{line}\n" for line in lines).encode())
