"""Finds changed files by their times. When to look for them says watchfiles, if that is installed, and else a clock."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from pathlib import Path
from typing import TypeAlias

# Seconds between two readings, and until a change counts, because editors and version control write several files.
_INTERVAL = 0.4
_SETTLED = 0.15
# Seconds after which the files are read although watchfiles has reported nothing, as it does for some network drives.
_UNREPORTED = 5.0

_SKIPPED = ("__pycache__", "node_modules", "site-packages")

# The time of the last change and the size of each file.
Snapshot: TypeAlias = dict[str, tuple[int, int]]


class Changes:
    """The files of a project: Python files below one directory, and all files below others.

    :param project: the directory of the Python files.
    :param others: directories whose files all count.
    :param report: called with a text when watchfiles fails.
    """

    def __init__(self, project: Path, others: Iterable[Path], report: Callable[[str], None]) -> None:
        self._project = project
        self._others = tuple(others)
        self._report = report
        self._events = _file_events((project, *self._others))
        self._seen = self._read()

    async def wait(self) -> list[str]:
        """Wait until files have changed since the last call; return their paths, sorted."""
        while True:
            now = await asyncio.to_thread(self._read)
            if now == self._seen:
                await self._may_have_changed()
                continue
            now = await self._settled(now)
            changed = sorted(path for path, _ in now.items() ^ self._seen.items())
            self._seen = now
            if changed:
                return list(dict.fromkeys(changed))

    async def _may_have_changed(self) -> None:
        if self._events is not None:
            try:
                await anext(self._events)
                return
            # watchfiles raises both, such as when the user may have no more inotify watches.
            except (OSError, RuntimeError) as error:
                self._events = None
                self._report(f"watchfiles failed ({error}): reading the times of all files instead")
        await asyncio.sleep(_INTERVAL)

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


def _file_events(directories: tuple[Path, ...]) -> AsyncIterator[object] | None:
    """Return an iterator with an item whenever files may have changed; ``None`` if watchfiles is not installed."""
    try:
        from watchfiles import awatch
    except ImportError:
        return None

    def counts(change: object, path: str) -> bool:
        # The hidden directory of Redis changes each second.
        below = next((path[len(str(each)) :] for each in directories if path.startswith(str(each))), path)
        return not any(name.startswith(".") or name in _SKIPPED for name in below.split(os.sep))

    return awatch(
        *directories,
        watch_filter=counts,
        debounce=int(_INTERVAL * 1000),
        rust_timeout=int(_UNREPORTED * 1000),
        yield_on_timeout=True,
        ignore_permission_denied=True,
    )


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
