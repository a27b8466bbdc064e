"""Times and durations, in the one form in which all commands show them."""

from __future__ import annotations

from collections.abc import Callable

from .._jobs.printable import utc_time
from .._jobs.times import LATEST

# The text for the time of a job that waits for the end of another. Such a job is scheduled for the latest time.
_AFTER_ANOTHER = "after another job"


def duration(seconds: float) -> str:
    """Return a duration as text, such as ``3.2 s``, ``4 min 5 s`` or ``2 h``."""
    if seconds < 60:
        return f"{round(seconds, 1):g} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    parts = [(days, "d"), (hours, "h"), (minutes, "min"), (rest, "s")]
    return " ".join(f"{number} {unit}" for number, unit in parts if number)


def time_and_age(at: float, now: float | None) -> str:
    """Return a time, epoch seconds, in UTC, and how long ago it was, unless ``now`` is ``None``."""
    if at == LATEST:
        return _AFTER_ANOTHER
    return utc_time(at) if now is None else f"{utc_time(at)}, {age(at, now, duration)}"


def brief(seconds: float) -> str:
    """Return a duration in its two largest units, such as ``2 d 3 h``, as a table shows it."""
    return " ".join(duration(seconds).split(" ")[:4])


def age(at: float, now: float, form: Callable[[float], str] = brief) -> str:
    """Return how long ago a time was, or in how long it will be."""
    if at == LATEST:
        return _AFTER_ANOTHER
    text = form(abs(round(now - at)))
    return f"{text} ago" if at <= now else f"in {text}"
