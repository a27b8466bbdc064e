"""Names, counts and shell words in the texts of problems."""

from __future__ import annotations

import shlex
from collections.abc import Iterable

# Items that a text lists before it gives the number of the others.
LISTED = 5


def listed(names: Iterable[str]) -> str:
    """Return the first names, sorted, and how many more there are."""
    ordered = sorted(names)
    more = f" and {len(ordered) - LISTED} more" if len(ordered) > LISTED else ""
    return ", ".join(map(printable, ordered[:LISTED])) + more


def jobs(count: int) -> str:
    """Return a number of jobs in words."""
    return f"{count} job" if count == 1 else f"{count} jobs"


def printable(text: str) -> str:
    """Return a text in one line, with control characters and bytes that are not UTF-8 escaped."""
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)


def shell_word(word: str) -> str:
    """Return a word quoted for a shell."""
    if word.isprintable():
        return shlex.quote(word)
    plain = {*range(0x20, 0x7F)} - set(b"'\\")
    raw = word.encode(errors="surrogateescape")
    return "$'" + "".join(chr(byte) if byte in plain else f"\\x{byte:02x}" for byte in raw) + "'"
