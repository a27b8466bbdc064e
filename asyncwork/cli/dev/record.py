"""The file by which other commands find the development server of their directory.

The server holds a lock on the file while it lives, so that a file which a killed server has left is not taken for that
of a live one, even if another process has got its process id. The file is emptied at the end and not removed, because a
server that starts just then may have opened it.
"""

from __future__ import annotations

import fcntl
import json
import os
import stat
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

DIRECTORY: Final = ".asyncwork"
_NAME: Final = "dev.json"
# Bytes that are read of the file.
_LONGEST: Final = 10_000
# Seconds for which a server tries to lock the file, which other commands lock while they read it.
_LOCK_TIMEOUT: Final = 1.0


@dataclass(frozen=True, slots=True)
class DevRecord:
    """The record by which other commands find a development server.

    :ivar url: the URL of its Redis.
    :ivar namespace: the namespace of its pool.
    :ivar pid: its process id.
    """

    url: str
    namespace: str
    pid: int


class DevFile:
    """The file of a server, which it has locked.

    :param directory: exists, and is private to this user.
    :raises BlockingIOError: when another server has locked it.
    :raises OSError: when it cannot be opened.
    """

    def __init__(self, directory: Path) -> None:
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW
        self._file = os.open(directory / _NAME, flags, 0o600)
        try:
            os.fchmod(self._file, 0o600)
            _lock(self._file)
            os.ftruncate(self._file, 0)
        except BaseException:
            os.close(self._file)
            raise

    def write(self, record: DevRecord) -> None:
        """Write what other commands find."""
        text = json.dumps(asdict(record)).encode()
        os.ftruncate(self._file, 0)
        os.pwrite(self._file, text, 0)

    def close(self) -> None:
        """Empty the file, and unlock it."""
        with suppress(OSError):
            os.ftruncate(self._file, 0)
        os.close(self._file)


def _lock(file: int) -> None:
    deadline = time.monotonic() + _LOCK_TIMEOUT
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.02)
        else:
            return


def find_record(project: Path) -> DevRecord | None:
    """Return the record of the development server that runs in a directory; ``None`` if none does.

    A directory or file that belongs to another user, or that others can write to, is not read.
    """
    try:
        directory = os.open(project / DIRECTORY, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError:
        return None
    try:
        if not _is_ours(directory):
            return None
        # Without O_NONBLOCK, opening a named pipe would wait.
        file = os.open(_NAME, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=directory)
    except OSError:
        return None
    finally:
        os.close(directory)
    try:
        return _read(file)
    finally:
        os.close(file)


def _is_ours(file: int) -> bool:
    status = os.fstat(file)
    return status.st_uid == os.geteuid() and not status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)


def _read(file: int) -> DevRecord | None:
    if not _is_ours(file) or not stat.S_ISREG(os.fstat(file).st_mode) or not _is_locked(file):
        return None
    try:
        record = DevRecord(**json.loads(os.pread(file, _LONGEST, 0)))
    except (OSError, ValueError, TypeError):  # the server is just starting or ending
        return None
    kinds = [(record.url, str), (record.namespace, str), (record.pid, int)]
    return record if all(isinstance(value, kind) for value, kind in kinds) else None


def _is_locked(file: int) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    return False
