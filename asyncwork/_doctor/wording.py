"""Parts of the texts of problems: a command, lists of names, and shell words."""

from __future__ import annotations

import shlex
from collections.abc import Iterable

from .._jobs.printable import printable

# The command that makes the safe repairs.
REPAIR = "asyncwork doctor --repair"
# Items that a text lists before it gives the number of the others.
LISTED = 5


def listed(names: Iterable[str]) -> str:
    """Return the first names, sorted, and how many more there are."""
    ordered = sorted(names)
    more = f" and {len(ordered) - LISTED} more" if len(ordered) > LISTED else ""
    return ", ".join(map(printable, ordered[:LISTED])) + more


def shell_word(word: str) -> str:
    """Return a word quoted for a shell."""
    if word.isprintable():
        return shlex.quote(word)
    plain = {*range(0x20, 0x7F)} - set(b"'\\")
    raw = word.encode(errors="surrogateescape")
    return "$'" + "".join(chr(byte) if byte in plain else f"\\x{byte:02x}" for byte in raw) + "'"
