"""Decides how long a job waits between two attempts, and reads the delays that handlers ask for."""

from __future__ import annotations

import logging
import math
import random
from collections.abc import Callable
from datetime import timedelta
from typing import cast

from .._jobs.error_text import format_error, is_of, text_of, traceback_of
from .._jobs.times import LATEST
from ..decisions import Retry
from ..job import Job
from ..options import JobOptions

logger = logging.getLogger("asyncwork")

# Seconds, some 3 million years: a later time is no score that Redis keeps exactly.
_LONGEST_BACKOFF = 10**14
# Characters of a wrong value that a log line shows.
_LONGEST_VALUE = 4000


def default_backoff(fails: int, rand: Callable[[int], int] = random.randrange) -> int:
    """Return the seconds until the next attempt, as :class:`JobOptions` documents for a ``backoff`` of ``None``."""
    return min(fails**4 + 15 + rand(30) * (fails + 1), _LONGEST_BACKOFF)


def retry_delay(job: Job, options: JobOptions, error: BaseException, now: float) -> int:
    """Return the seconds until the next attempt of a job that has failed: what its handler asked for by ``Retry``, or
    what the backoff of its options returns, or the default.

    :param now: epoch seconds.
    """
    if is_of(error, Retry) and (after := whole_seconds(attribute(error, "after"), now)) is not None:
        return after
    if options.backoff is None:
        return default_backoff(job.fails)
    # User code may raise anything, and neither the job nor the pool may be lost by that.
    try:
        given = options.backoff(job)
    except BaseException as error_in_backoff:
        shown = format_error(error_in_backoff, traceback_of(error_in_backoff))
        logger.error("backoff of %s failed, the default applies: %s", job.name, shown)
        return default_backoff(job.fails)
    seconds = whole_seconds(given, now)
    if seconds is None:
        text = (
            "backoff of %s failed, the default applies: it must return zero or more seconds that end before the year "
            "3000, not %s"
        )
        logger.error(text, job.name, text_of(given)[:_LONGEST_VALUE])
        return default_backoff(job.fails)
    return seconds


def attribute(error: BaseException, name: str) -> object:
    """Return an attribute of an exception; ``None`` if it is missing, or its property raises."""
    try:
        return getattr(error, name)
    except BaseException:
        return None


def whole_seconds(delay: object, now: float) -> int | None:
    """Return a delay rounded up, or ``None`` if it is not zero or more seconds, or ends after the start of the year
    3000.

    :param now: epoch seconds.
    """
    kind = type(delay)
    number: float
    # By the base class, because a subclass may compare and round as it likes.
    if issubclass(kind, int) and kind is not bool:
        number = int.__pos__(cast("int", delay))
    elif issubclass(kind, float):
        number = float.__pos__(cast("float", delay))
    elif issubclass(kind, timedelta):
        number = timedelta.total_seconds(cast("timedelta", delay))
    else:
        return None
    return math.ceil(number) if 0 <= number <= LATEST - now else None
