"""Make the server's directory private, and choose a path for its socket."""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
from contextlib import ExitStack
from pathlib import Path

from ..errors import EmbeddedRedisError

# Bytes in the path of a unix socket: 103 on macOS and the BSDs, 107 on Linux. The smaller one is used everywhere, so
# a directory behaves alike on every system.
_MAX_SOCKET_PATH = 103


def make_private(directory: Path) -> None:
    """Create ``directory`` for this user alone, or check that no other user can write to it.

    :raises EmbeddedRedisError: when it is not a directory, belongs to another user, or others can write to it.
    """
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


def choose_socket_path(directory: Path, undo: ExitStack) -> tuple[str, str]:
    """Return the path for the socket, and the temporary directory that was created for it or an empty string.

    A socket whose path would be too long in ``directory`` gets a temporary directory.

    :param undo: gets the removal of the temporary directory.
    :raises EmbeddedRedisError: when the path is too long even there.
    """
    path = os.path.join(directory, "redis.sock")
    if _fits_a_socket(path):
        return path, ""
    for parent in (tempfile.gettempdir(), "/tmp"):
        scratch = tempfile.mkdtemp(prefix="asyncwork-", dir=parent)
        undo.callback(shutil.rmtree, scratch, ignore_errors=True)
        path = os.path.join(scratch, "redis.sock")
        if _fits_a_socket(path):
            return path, scratch
    raise EmbeddedRedisError(
        f"{path!r} is too long for a unix socket ({_MAX_SOCKET_PATH} bytes): set TMPDIR to a shorter path"
    )


def _fits_a_socket(path: str) -> bool:
    # An unprintable path may hold bytes that are not UTF-8, which a URL cannot carry to redis-py.
    return len(os.fsencode(path)) <= _MAX_SOCKET_PATH and path.isprintable()
