"""Writes what the parts of a development server say, each line with the name of its part."""

from __future__ import annotations

import os
import sys
from contextlib import suppress

from ...logging import escape_controls

# Colours of the names on a terminal.
_COLOURS = {"pool": "\x1b[32m", "web": "\x1b[34m", "redis": "\x1b[35m", "dev": "\x1b[36m", "error": "\x1b[31m"}
_PLAIN = "\x1b[0m"


class DevTerminal:
    """Writes lines to standard output, with colours on a terminal unless ``NO_COLOR`` is set."""

    def __init__(self) -> None:
        self._colourful = sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"

    def write(self, part: str, text: str) -> None:
        """Write each line of a text with the name of the part in front."""
        label = f"{part:<5} |"
        if self._colourful:
            label = f"{_COLOURS[part]}{label}{_PLAIN}"
        lines = "".join(f"{label} {line}\n" for line in escape_controls(text).splitlines())
        with suppress(OSError):  # the terminal is closed
            print(lines, end="", flush=True)
