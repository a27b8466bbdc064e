"""Finds changed files by their times, which needs no other package."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TypeAlias

# Seconds between two readings, and until a change counts, because editors and version control write several files.
_INTERVAL = 0.4
_SETTLED = 0.15

_SKIPPED = ("__pycache__", "node_modules", "site-packages")

# The time of the last change and the size of each file.
Snapshot: TypeAlias = dict[str, tuple[int, int]]


class Changes:
    """The files of a project: Python files below one directory, and all files below others.

    :param project: the directory of the Python files.
    :param others: directories whose files all count.
    """

    def __init__(self, project: Path, others: Iterable[Path]) -> None:
        self._project = project
        self._others = tuple(others)
        self._seen = self._read()

    async def wait(self) -> list[str]:
        """Wait until files have changed since the last call; return their paths, sorted."""
        while True:
            await asyncio.sleep(_INTERVAL)
            now = await asyncio.to_thread(self._read)
            if now == self._seen:
                continue
            now = await self._settled(now)
            changed = sorted(path for path, _ in now.items() ^ self._seen.items())
            self._seen = now
            if changed:
                return list(dict.fromkeys(changed))

    async def _settled(self, now: Snapshot) -> Snapshot:
        while True:
            await asyncio.sleep(_SETTLED)
            before, now = now, await asyncio.to_thread(self._read)
            if before == now:
                return now

    def _read(self) -> Snapshot:
        found = {path: state for path, state in _files(str(self._project)) if path.endswith(".py")}
        for directory in self._others:
            found.update(_files(str(directory)))
        return found


def _files(directory: str) -> Iterator[tuple[str, tuple[int, int]]]:
    try:
        entries = list(os.scandir(directory))
    except OSError:  # it was removed, or may not be read
        return
    # A virtual environment changes with each installation, and hidden directories hold data of tools.
    if any(entry.name == "pyvenv.cfg" for entry in entries):
        return
    for entry in entries:
        if entry.name.startswith(".") or entry.name in _SKIPPED:
            continue
        try:
            if entry.is_dir(follow_symlinks=False):
                yield from _files(entry.path)
            else:
                status = entry.stat()
                yield entry.path, (status.st_mtime_ns, status.st_size)
        except OSError:
            continue
