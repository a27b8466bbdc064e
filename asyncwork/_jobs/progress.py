"""The progress that a job reports: checked numbers, and how they are written and read again."""

from __future__ import annotations

import math
import operator
import re
from typing import Any

from ..errors import UsageError
from ..models.job_status import Progress
from .printable import shown

# A larger integer is kept as a float, which has fewer digits.
_LARGEST = 10**15
_NUMBER = re.compile(r"[0-9]{1,15}|[0-9][0-9.e+-]{0,30}")


def make_progress(done: object, total: object, text: str) -> Progress:
    """Return a progress.

    :raises UsageError: when ``done`` or ``total`` is no number, negative, NaN or infinite.
    """
    return Progress(_number(done, "done"), None if total is None else _number(total, "total"), text)


def _number(value: Any, what: str) -> float:
    """Return a number of any type, such as numpy's, as an int or a float."""
    if isinstance(value, (str, bytes, bytearray)):
        raise UsageError(f"{what} must be a number, not {type(value).__name__}: {shown(value)}")
    number: float
    try:
        number = operator.index(value)
    except TypeError:
        try:
            number = float(value)
        except (TypeError, ValueError):
            raise UsageError(f"{what} must be a number, not {type(value).__name__}: {shown(value)}") from None
    if number < 0 or number != number or number == math.inf:
        raise UsageError(f"{what} must be zero or more, and finite, not {shown(value)}")
    try:
        return number if number < _LARGEST else float(number)
    except OverflowError:
        raise UsageError(f"{what} must be less than 1e308, not {shown(value)}") from None


def write_number(number: float) -> str:
    """Return a number as :func:`read_progress` reads it."""
    return repr(number)


def read_progress(done: str, total: str, checkin: str) -> Progress | None:
    """Return a progress that was written beside a check-in; ``None`` if there are no numbers.

    :param total: empty if it is unknown.
    """
    if (first := _read(done)) is None:
        return None
    numbers = Progress(first, _read(total))
    text = checkin.removeprefix(numbers.numbers)
    return Progress(numbers.done, numbers.total, text.removeprefix(" "))


def _read(text: str) -> float | None:
    if not _NUMBER.fullmatch(text):
        return None
    try:
        return int(text) if text.isdigit() else _number(float(text), "")
    except (ValueError, UsageError):
        return None
