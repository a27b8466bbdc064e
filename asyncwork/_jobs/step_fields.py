"""The fields of the hash in which a job's steps are kept, and their values.

Each value is a JSON array that begins with a time, epoch seconds:

- ``step:NAME``    ``[started, ended, result]``
- ``sleep:NAME``   ``[asked, until]``
- ``wait:NAME``    ``[asked, until]``: until when an event is waited for
- ``event:NAME``   ``[at, value]``, or ``[at]`` when it was not there in time
- ``cursor:NAME``  ``[at, position]``, and ``true`` as a third element after the last row

``deferred``, ``payload``, ``awaits`` and ``until`` say of a job that waits what it waits for, and ``deleted`` that it
was deleted.
"""

from __future__ import annotations

from typing import Any

from .._json import codec
from ..errors import PayloadError

STEP, SLEEP, WAIT, EVENT, CURSOR = "step:", "sleep:", "wait:", "event:", "cursor:"


def field_of(kind: str, name: str) -> bytes:
    """Return the field of a step of a kind."""
    return (kind + name).encode()


def done(started_at: float, ended_at: float, result: bytes) -> bytes:
    """Return the value of a step that has returned.

    :param result: what it returned, as JSON.
    """
    return b"[%.3f,%.3f,%b]" % (started_at, ended_at, result)


def until(requested_at: float, at: float) -> bytes:
    """Return the value of a sleep, or of how long an event is waited for."""
    return b"[%.3f,%d]" % (requested_at, at)


def event_of(at: float, value: bytes) -> bytes:
    """Return the value of an event that has come.

    :param value: what it brings, as JSON.
    """
    return b"[%.3f,%b]" % (at, value)


def too_late(at: float) -> bytes:
    """Return the value of an event that was not there in time."""
    return b"[%.3f]" % at


def position_of(at: float, position: bytes, *, ended: bool = False) -> bytes:
    """Return the value of a cursor.

    :param position: as JSON.
    :param ended: whether there are no more rows.
    """
    return b"[%.3f,%b,true]" % (at, position) if ended else b"[%.3f,%b]" % (at, position)


def read(value: bytes) -> list[Any]:
    """Return the elements of a value.

    :raises PayloadError: when it is not an array that begins with a number.
    """
    found = codec.decode(value)
    if type(found) is not list or not found or type(found[0]) not in (int, float):
        raise PayloadError("it is no JSON array that begins with a time")
    return found
