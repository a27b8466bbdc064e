"""Texts of other programs, values, numbers of things and times, as a log line, a message or a page shows them."""

from __future__ import annotations

from datetime import UTC, datetime

# The range of datetime, epoch seconds.
EARLIEST_DATE, LATEST_DATE = -62_135_596_800, 253_402_300_799

# Characters of a value that a message shows.
_LONGEST = 80


def printable(text: str) -> str:
    """Return a name or id with everything escaped that a terminal would act on or that is not UTF-8.

    A byte that is not UTF-8, as ``surrogateescape`` decodes it, is shown as redis-cli shows it: ``\\xff``.
    """
    return text if text.isprintable() else "".join(map(_escape, text))


def _escape(char: str) -> str:
    if char.isprintable():
        return char
    if "\udc80" <= char <= "\udcff":
        return f"\\x{ord(char) - 0xDC00:02x}"
    return ascii(char)[1:-1]


def shown(value: object) -> str:
    """Return any value as a message shows it: its ``repr`` in one line, shortened."""
    try:
        if isinstance(value, (str, bytes)):
            return repr(value[:_LONGEST]) + ("…" if len(value) > _LONGEST else "")
        text = printable(repr(value))
    except Exception:  # an integer of more than 4,300 digits, or an object whose class fails
        return f"a value of type {type(value).__name__}"
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"


def plural(count: int, noun: str) -> str:
    """Return a number of things, such as ``1 job`` or ``3 jobs``."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def utc_time(at: float) -> str:
    """Return a time, given in epoch seconds, to the second in UTC; one beyond the range of datetime as a number."""
    if not EARLIEST_DATE <= at <= LATEST_DATE:
        return f"{at:.0f} s after 1970"
    return f"{datetime.fromtimestamp(int(at), UTC).isoformat(' ')[:19]} UTC"
