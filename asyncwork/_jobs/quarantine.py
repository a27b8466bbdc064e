"""Quarantine entries: JSON that keeps bytes which are not a job, with the reason."""

from __future__ import annotations

from typing import Any, NamedTuple

import orjson

from .._json import codec
from ..errors import PayloadError
from .error_text import describe_error, is_of, text_of


class QuarantineEntry(NamedTuple):
    """A quarantine entry.

    :ivar found_in: the queue or the sorted set that held the bytes.
    :ivar payload: the bytes as text.
    :ivar at: when they were quarantined, epoch seconds.
    :ivar size: number of bytes.
    """

    found_in: str
    reason: str
    payload: str
    at: float
    size: int


def write_entry(found_in: str, payload: bytes, reason: str, now: float) -> bytes:
    """Return the entry for a payload: JSON with the fields ``at``, ``from``, ``reason`` and ``payload``.

    A payload that is UTF-8 is written as text. Any other is written as Latin-1, one character a byte, and the field
    ``latin1`` is true.
    """
    # Some JSON parsers refuse lone surrogates.
    reason = reason.encode("utf-8", "backslashreplace").decode()
    entry: dict[str, Any] = {"at": int(now), "from": found_in, "reason": reason}
    try:
        entry["payload"] = payload.decode()
    except UnicodeDecodeError:
        entry |= {"payload": payload.decode("latin-1"), "latin1": True}
    return orjson.dumps(entry)


def read_entry(raw: bytes) -> QuarantineEntry:
    """Read an entry.

    :raises ValueError: when it is not an entry that :func:`write_entry` wrote.
    """
    try:
        entry = codec.decode(raw)
        found_in, reason, payload = str(entry["from"]), str(entry["reason"]), str(entry["payload"])
        at, latin1 = float(entry["at"]), entry.get("latin1")
    except (PayloadError, KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise ValueError("not an entry that asyncwork wrote") from error
    size = len(payload if latin1 else payload.encode("utf-8", "replace"))
    return QuarantineEntry(found_in, reason, payload, at, size)


def decode_failure(error: Exception) -> str:
    """Return why a payload cannot be read, given the exception that reading it raised."""
    return text_of(error) if is_of(error, PayloadError) else describe_error(error)
