"""The server's directory: private to this user, and locked for one owner and one server.

``owner.lock`` is held by the process that started the server, ``redis.lock`` by the server. They are separate because
a server may outlive a killed owner for a moment, and the next start waits for it.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
import weakref
from contextlib import ExitStack
from functools import partial
from io import FileIO
from pathlib import Path
from typing import IO

from ..errors import EmbeddedRedisError
from .threads import Deadline

# Bytes in the path of a unix socket: 103 on macOS and the BSDs, 107 on Linux. The smaller one is used everywhere, so
# a directory behaves alike on every system.
_MAX_SOCKET_PATH = 103

# A child that outlives this process must not keep the directory locked, or the pipe of the server open.
closed_in_forks: weakref.WeakSet[IO[bytes]] = weakref.WeakSet()
os.register_at_fork(after_in_child=lambda: [file.close() for file in closed_in_forks])


def make_private(directory: Path) -> None:
    """Create ``directory`` for this user alone, or check that no other user can write to it.

    :raises EmbeddedRedisError: when it belongs to another user, or others can write to it.
    """
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    status = directory.stat()
    if status.st_uid != os.geteuid():
        raise EmbeddedRedisError(
            f"{directory} belongs to user {status.st_uid}, and this process to user {os.geteuid()}:"
            " choose another directory"
        )
    if status.st_mode & 0o022:
        raise EmbeddedRedisError(f"others can write to {directory}: run `chmod go-w` on it")


def open_private(path: Path, mode: str) -> FileIO:
    """Open a file without a buffer. If it is missing, it is created for this user alone."""
    return FileIO(path, mode, opener=partial(os.open, mode=0o600))


def lock_for_owner(directory: Path) -> FileIO:
    """Lock ``directory`` for this process, until the file is closed or the process ends.

    :raises EmbeddedRedisError: when another instance holds the lock.
    """
    path = directory / "owner.lock"
    if lock := _try_lock(path):
        lock.truncate(0)
        lock.write(b"%d" % os.getpid())
        return lock
    raise EmbeddedRedisError(
        f"{directory} is in use by an EmbeddedRedis of process {path.read_text().strip()}:"
        " use its url, or another directory"
    )


def lock_for_server(directory: Path, deadline: Deadline) -> FileIO:
    """Lock ``directory`` for a server, which inherits the file and thereby holds the lock until it ends.

    The caller holds the owner's lock. Any other holder of this lock is therefore a server whose owner is gone, and
    which is about to end.

    :raises EmbeddedRedisError: when that server has not ended before the deadline.
    """
    for _ in deadline.attempts():
        if lock := _try_lock(directory / "redis.lock"):
            return lock
    raise EmbeddedRedisError(
        f"the redis-server of an earlier start in {directory} has not ended after {deadline.seconds} s;"
        f" see its log, {directory / 'redis.log'}"
    )


def _try_lock(path: Path) -> FileIO | None:
    """Return a file that holds the lock on ``path``, or ``None`` when it is held elsewhere."""
    file = open_private(path, "ab+")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        return None
    closed_in_forks.add(file)
    return file


def choose_socket_path(directory: Path, undo: ExitStack) -> str:
    """Return the path at which clients find the server's socket.

    If the path of the socket is too long, that is a link in a temporary directory.

    :param undo: gets the removal of the temporary directory.
    """
    path = os.path.join(directory, "redis.sock")
    # An unprintable path may hold bytes that are not UTF-8, which a URL cannot carry to redis-py.
    if len(os.fsencode(path)) <= _MAX_SOCKET_PATH and path.isprintable():
        return path
    # In /tmp, because TMPDIR may be too long as well.
    scratch = tempfile.mkdtemp(prefix="asyncwork-", dir="/tmp")
    undo.callback(shutil.rmtree, scratch, ignore_errors=True)
    link = os.path.join(scratch, "redis.sock")
    os.symlink(path, link)
    return link
