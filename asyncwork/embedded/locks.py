"""Lock the server's directory: for one owner, and for one server.

``owner.lock`` is held by the process that started the server, ``redis.lock`` by the server. They are separate because
a server may outlive a killed owner for a moment, and the next start waits for it.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from ..errors import EmbeddedRedisError
from .deadline import Deadline
from .descriptors import PrivateDescriptor

_RETRY_DELAY = 0.02  # seconds between two tries for the lock of a server that stops


def lock_for_owner(directory: Path) -> PrivateDescriptor:
    """Lock ``directory`` for this process, until it ends or stops its server.

    :raises EmbeddedRedisError: when another instance holds the lock.
    """
    path = directory / "owner.lock"
    lock = _try_lock(path)
    if lock is None:
        pid = path.read_text().strip()
        owner = f"this process ({pid})" if pid == str(os.getpid()) else f"process {pid}"
        raise EmbeddedRedisError(
            f"{directory} is in use by an EmbeddedRedis of {owner}: use its url, or another directory"
        )
    os.ftruncate(lock.number, 0)
    os.pwrite(lock.number, f"{os.getpid()}\n".encode(), 0)
    return lock


def lock_for_server(directory: Path, deadline: Deadline) -> PrivateDescriptor:
    """Lock ``directory`` for a server, which inherits the descriptor and thereby holds the lock until it ends.

    The caller holds the owner's lock. Any other holder of this lock is therefore a server whose owner is gone, and
    which is about to end.

    :raises EmbeddedRedisError: when that server has not ended before the deadline.
    """
    while (lock := _try_lock(directory / "redis.lock")) is None:
        if deadline.has_passed():
            raise EmbeddedRedisError(
                f"the redis-server of an earlier start in {directory} has not ended after"
                f" {deadline.seconds} s; see its log, {directory / 'redis.log'}"
            )
        deadline.cancelled.wait(_RETRY_DELAY)
    return lock


def _try_lock(path: Path) -> PrivateDescriptor | None:
    """Return a descriptor that holds the lock on ``path``, or ``None`` when it is held elsewhere."""
    with PrivateDescriptor.guard:
        opened = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # The supervisor inherits it, and a shell uses the descriptors below 10 itself.
            return PrivateDescriptor(fcntl.fcntl(opened, fcntl.F_DUPFD_CLOEXEC, 10))
        except BlockingIOError:
            return None
        finally:
            os.close(opened)
