"""Times and durations, in the one form in which all commands show them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from .._jobs.printable import EARLIEST_DATE, LATEST_DATE, utc_time
from .summary import duration


def local_time(at: float) -> str:
    """Return a time, epoch seconds, in the time zone of this machine, with its UTC offset."""
    if not EARLIEST_DATE + 86_400 <= at <= LATEST_DATE - 86_400:
        return utc_time(at)
    return datetime.fromtimestamp(int(at)).astimezone().isoformat(" ")


def time_and_age(at: float, now: float | None) -> str:
    """Return a time and how long ago it was; without that if ``now`` is ``None``."""
    return local_time(at) if now is None else f"{local_time(at)}, {age(at, now, duration)}"


def brief(seconds: float) -> str:
    """Return a duration in its two largest units, such as ``2 d 3 h``, as a table shows it."""
    return " ".join(duration(seconds).split(" ")[:4])


def age(at: float, now: float, form: Callable[[float], str] = brief) -> str:
    """Return how long ago a time was, or in how long it will be."""
    text = form(abs(round(now - at)))
    return f"{text} ago" if at <= now else f"in {text}"
