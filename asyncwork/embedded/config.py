"""Check the settings of an embedded server and write its redis.conf."""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from .._jobs.printable import shown
from ..errors import UsageError
from ..options import check_type

# Redis 7 and later keep the append-only file in this directory. Redis 6 has a single file beside it.
_APPEND_DIRECTORY = "appendonlydir"

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


def checked_path(path: str | os.PathLike[str], what: str) -> str:
    """Return a path as text.

    :param what: what the message calls it.
    :raises UsageError: when it is no path, or no file can have it.
    """
    check_type(path, what, (str, os.PathLike), "a path")
    text = os.fspath(path)
    check_type(text, what, str, "a path of text")
    if "\0" in text or not _has_bytes(text):
        raise UsageError(f"{what} must be a path that a file can have, not {shown(text)}")
    return text


def _has_bytes(path: str) -> bool:
    try:
        os.fsencode(path)
    except UnicodeEncodeError:
        return False
    return True


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
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port: int = taken.getsockname()[1]
        return port


@dataclass(frozen=True, slots=True)
class Config:
    """The configuration of one start.

    :ivar port: the port of 127.0.0.1 to listen on besides the socket, or ``None``.
    :ivar password: required by the server; set when there is a port.
    :ivar settings: more settings of redis.conf, already checked.
    """

    unix_socket: str
    port: int | None
    password: str | None
    appendonly: bool
    settings: Mapping[str, str]

    @property
    def url(self) -> str:
        """The URL of the server, in the form that redis-py takes."""
        if self.port is None:
            return f"unix://{quote(self.unix_socket)}?db=0"
        return f"redis://:{self.password}@127.0.0.1:{self.port}/0"

    def write(self, directory: Path) -> None:
        """Write ``redis.conf`` into the server's directory."""
        path = directory / "redis.conf"
        # The file is created anew, private from its first byte on, because it may hold a password.
        path.unlink(missing_ok=True)
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write("".join(f"{line}\n" for line in self._lines(directory)).encode())

    def _lines(self, directory: Path) -> list[str]:
        lines = [
            "# Written at each start.",
            f"port {self.port or 0}",
            f"unixsocket {_quote_path(self.unix_socket)}",
            "unixsocketperm 700",
            f"appendonly {'yes' if self.appendonly else 'no'}",
            "appendfsync everysec",
            'save ""',
        ]
        if self.password is not None:
            lines += ["bind 127.0.0.1", f"requirepass {self.password}"]
        if self.appendonly and (directory / _APPEND_DIRECTORY).exists():
            # Redis 6 would ignore the directory and start without data. It does not know this setting, so it exits.
            lines.append(f"appenddirname {_APPEND_DIRECTORY}")
        for name, value in self.settings.items():
            lines += _setting_lines(name, value.strip())
        return lines


def _setting_lines(name: str, value: str) -> list[str]:
    parts = value.split()
    if name.lower() == "save" and len(parts) > 2:
        # Redis 6 reads only one pair from a line.
        return [f"{name} {' '.join(parts[start : start + 2])}" for start in range(0, len(parts), 2)]
    empty = '""'
    return [f"{name} {value or empty}"]


def _quote_path(path: str) -> str:
    escaped = re.sub(rb"[^\w/.-]", lambda byte: b"\\x%02x" % byte[0][0], os.fsencode(path))
    return f'"{escaped.decode("ascii")}"'
