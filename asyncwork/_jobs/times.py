"""Arguments that are times: a number of seconds, and a point in time."""

from __future__ import annotations

import math
from datetime import datetime, timedelta

from ..errors import UsageError
from .printable import shown

# The start of the year 3000, epoch seconds. A later time is probably not in seconds.
LATEST = 32_503_680_000


def seconds_of(value: float | timedelta, what: str = "the delay") -> float:
    """Return a duration as a number of seconds.

    :param value: seconds, or a ``timedelta``.
    :param what: what the message calls it.
    :raises UsageError: when it is negative, NaN, infinite, of another type, or longer than 1000 years.
    """
    seconds = value.total_seconds() if isinstance(value, timedelta) else value
    if isinstance(seconds, bool) or not isinstance(seconds, (int, float)):
        raise UsageError(f"{what} must be seconds or a timedelta, not {type(seconds).__name__}: {shown(seconds)}")
    # An integer may be too large for a float.
    if (isinstance(seconds, float) and not math.isfinite(seconds)) or seconds < 0:
        raise UsageError(f"{what} must be zero or more seconds, not {shown(value)}")
    if seconds > LATEST:
        raise UsageError(f"{what} must be in seconds, and {shown(seconds)} of them are more than 1000 years")
    return seconds


def positive_seconds_of(value: float | timedelta, what: str) -> float:
    """Return a duration that is not zero, in seconds.

    :param what: what the message calls it.
    :raises UsageError: when it is not a duration, or is zero.
    """
    seconds = seconds_of(value, what)
    if seconds == 0:
        raise UsageError(f"{what} must be more than 0 seconds")
    return seconds


def epoch_second(when: datetime | float) -> int:
    """Return a time as a whole epoch second, a fraction rounded up.

    :raises UsageError: when it is a naive ``datetime``, negative, NaN, infinite, after the start of the year 3000, or
        neither a ``datetime`` nor a number.
    """
    given = when
    if isinstance(when, datetime):
        if when.utcoffset() is None:
            raise UsageError(f"{shown(when)} has no time zone: pass datetime(…, tzinfo=UTC), or when.astimezone()")
        when = when.timestamp()
    if isinstance(when, bool) or not isinstance(when, (int, float)):
        raise UsageError(f"a time must be an aware datetime or epoch seconds, not {type(when).__name__}: {shown(when)}")
    # An integer may be too large for a float.
    if (isinstance(when, float) and not math.isfinite(when)) or when < 0:
        raise UsageError(f"a time must be zero or more epoch seconds (from 1970 on), not {shown(given)}")
    if when > LATEST:
        if isinstance(given, datetime):
            raise UsageError(f"a time must be before the year 3000, not {given.isoformat()}")
        raise UsageError(
            f"a time must be epoch seconds before the year 3000, and {shown(when)} is later: are these milliseconds? "
            "Then divide by 1000"
        )
    return math.ceil(when)
