"""The terminal: its width, its colors, and the cells that a character takes."""

from __future__ import annotations

import os
import shutil
import sys
import unicodedata
from typing import Any, TextIO

from .._jobs.printable import printable

_SGR = {"bold": "1", "dim": "2", "red": "31", "green": "32", "yellow": "33", "reverse": "7"}
_MIN_WIDTH = 20


def is_terminal(stream: TextIO | Any) -> bool:
    """Return whether a stream is a terminal; a closed one is none."""
    try:
        return bool(stream.isatty())
    except (AttributeError, ValueError):
        return False


def has_colors(choice: str) -> bool:
    """Return whether standard output gets colors.

    :param choice: ``always``, ``never``, or ``auto``: if it is a terminal, and NO_COLOR is not set.
    """
    if choice != "auto":
        return choice == "always"
    return is_terminal(sys.stdout) and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def has_blocks() -> bool:
    """Return whether standard output is a terminal that shows block characters."""
    try:
        "█".encode(sys.stdout.encoding)
    except (AttributeError, TypeError, LookupError, UnicodeError):
        return False
    return is_terminal(sys.stdout)


def output_width() -> int | None:
    """Return the cells in a line of standard output; ``None`` if it is no terminal, and lines may have any length."""
    return max(_MIN_WIDTH, shutil.get_terminal_size().columns) if is_terminal(sys.stdout) else None


def styled(text: str, style: str, *, colors: bool) -> str:
    """Return a text with a style, such as ``bold``; as it is without colors."""
    return f"\x1b[{_SGR[style]}m{text}\x1b[0m" if colors and style and text else text


def cells(text: str) -> int:
    """Return how many cells a text takes, which has no control characters."""
    return len(text) if text.isascii() else sum(map(_cells_of, text))


def _cells_of(char: str) -> int:
    if unicodedata.combining(char) or unicodedata.category(char) in ("Mn", "Me", "Cf"):
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1


def fit(text: str, width: int | None) -> str:
    """Return a text of another program in one line, escaped, and cut to so many cells; ``None`` for any number."""
    # Only as much as can be shown is escaped, because arguments may have megabytes.
    safe = printable(text if width is None else text[: width * 4 + 4])
    if width is None or cells(safe) <= width:
        return safe
    mark = _mark()
    kept, left = "", width - len(mark)
    for char in safe:
        if (left := left - _cells_of(char)) < 0:
            break
        kept += char
    return kept + mark if width > 0 else ""


def _mark() -> str:
    """Return what stands for the rest of a text, in the encoding of standard output."""
    try:
        "…".encode(getattr(sys.stdout, "encoding", None) or "ascii")
    except (UnicodeEncodeError, LookupError):
        return "~"
    return "…"
