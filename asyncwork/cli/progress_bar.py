"""A line on the terminal that shows how far a command is. It is written to standard error, and removed at the end."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from .terminal import fit, is_terminal
from .times import duration

# Seconds before the line appears, and between two versions of it.
_AFTER = 0.3
_EVERY = 0.2
_BAR = 24


class ProgressBar:
    """Shows how much is done of something that may take long.

    :ivar done: how much is done.
    :ivar total: how much there is; 0 while that is unknown.
    """

    def __init__(self, text: str) -> None:
        self._text = text
        self._began = time.monotonic()
        self.done = 0
        self.total = 0

    def line(self) -> str:
        """Return the line as it is now."""
        took = time.monotonic() - self._began
        if not self.total:
            return f"{self._text} {self.done or ''}".rstrip() + f", {duration(round(took))}"
        share = min(1.0, self.done / self.total)
        bar = "#" * round(share * _BAR)
        return f"{self._text} [{bar:<{_BAR}}] {self.done:,}/{self.total:,}, {duration(round(took))}"


@asynccontextmanager
async def progress(text: str) -> AsyncIterator[ProgressBar]:
    """Show a progress bar within the context, if standard error is a terminal."""
    bar = ProgressBar(text)
    showing = asyncio.create_task(_show(bar)) if is_terminal(sys.stderr) else None
    try:
        yield bar
    finally:
        if showing is not None:
            showing.cancel()
            with suppress(asyncio.CancelledError):
                await showing


async def _show(bar: ProgressBar) -> None:
    await asyncio.sleep(_AFTER)
    try:
        while True:
            _write(f"\r{fit(bar.line(), _width())}\x1b[K")
            await asyncio.sleep(_EVERY)
    finally:
        _write("\r\x1b[K")


def _width() -> int:
    with suppress(OSError, ValueError):
        return max(20, os.get_terminal_size(sys.stderr.fileno()).columns - 1)
    return 79


def _write(text: str) -> None:
    # A terminal that is gone must not keep the command from its work.
    with suppress(OSError, ValueError):
        sys.stderr.write(text)
        sys.stderr.flush()
