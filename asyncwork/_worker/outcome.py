"""What becomes of a job once its handler has returned or raised. Pure: decides, does nothing."""

from __future__ import annotations

import logging
import math
import random
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import TypeAlias, cast

from .._jobs.error_text import describe_error, format_error, is_of, text_of, traceback_of
from ..errors import Discard, JobArgumentError, Retry, Snooze
from ..job import Job
from ..options import JobOptions
from .poison_pills import CrashedError

logger = logging.getLogger("asyncwork")

# Characters. What does not fit is cut: a payload is no place for a whole response body.
_LONGEST_ERR = 4000
_LONGEST_TRACEBACK = 4000
# Seconds, some 3 million years: what is more is no delay, and no score that Redis keeps exactly.
_LONGEST_DELAY = 1e14

# Modules whose frames come before the handler's: ours, and what runs plain functions in threads.
_BEFORE_THE_HANDLER = (__name__.partition(".")[0] + ".", "anyio.")

STRAY = "stray job: no handler"


@dataclass(frozen=True, slots=True)
class Done:
    """It succeeded, and is gone."""


@dataclass(frozen=True, slots=True)
class RetryAt:
    """It failed, and is tried again at an epoch second."""

    at: int


@dataclass(frozen=True, slots=True)
class Dead:
    """It failed for good, and is kept among the dead."""

    at: int


@dataclass(frozen=True, slots=True)
class Drop:
    """It is gone, for a reason."""

    reason: str


@dataclass(frozen=True, slots=True)
class RunAt:
    """It did not fail, and runs again at an epoch second."""

    at: int


@dataclass(frozen=True, slots=True)
class GiveBack:
    """It was cut off, and goes back to the front of its queue, not counted as a failure."""


Fate: TypeAlias = Done | RetryAt | Dead | Drop | RunAt | GiveBack


def default_backoff(fails: int, rand: Callable[[int], int] = random.randrange) -> int:
    """Return the seconds until the next attempt: fails^4 + 15 + rand(0..29) x (fails + 1), as gocraft/work waits."""
    return min(fails**4 + 15 + rand(30) * (fails + 1), int(_LONGEST_DELAY))


def decide(job: Job, options: JobOptions | None, error: BaseException | None, now: float) -> Fate:
    """Return what becomes of a job, and count its failure if it failed.

    :param options: of its job type; ``None`` for a job without a handler.
    :param error: what its handler raised, or ``None``.
    :param now: epoch seconds.
    """
    if error is None:
        return Done()
    if is_of(error, Snooze) and (seconds := _whole_seconds(_attribute(error, "seconds"))) is not None:
        return RunAt(int(now) + seconds)
    if is_of(error, Discard):
        return Drop(_cut(text_of(_attribute(error, "reason")), _LONGEST_ERR))
    job.failed(_cut(describe(error), _LONGEST_ERR), int(now), _short_traceback(error))
    if options is None:
        return Dead(int(now))
    if job.fails < options.max_fails and not _is_permanent(error):
        return RetryAt(int(now) + _delay(job, options, error))
    if options.skip_dead:
        return Drop(f"failed {job.fails} times, and is not kept among the dead")
    return Dead(int(now))


def _is_permanent(error: BaseException) -> bool:
    """Tell whether another attempt would fail in the same way."""
    # Of a subclass, any attribute may be a property that raises.
    return is_of(error, CrashedError) or (type(error) is JobArgumentError and error.permanent)


def describe(error: BaseException) -> str:
    """Return an error's type and message, as kept in a job's ``err``. Never raises."""
    if is_of(error, UnknownJobError):
        return STRAY
    if is_of(error, Snooze):
        # Here only because it cannot be obeyed.
        return f"{describe_error(error)} (its seconds must be zero or more)"
    return describe_error(error)


class UnknownJobError(Exception):
    """A job for whose name this pool has no handler."""


def _cut(text: str, longest: int) -> str:
    return text if len(text) <= longest else text[: longest - 1] + "…"


def trace_in_handler(error: BaseException) -> TracebackType | None:
    """Return an error's traceback beginning in the handler; ``None`` if it never came there."""
    trace = traceback_of(error)
    while trace is not None and _comes_before_the_handler(trace):
        trace = trace.tb_next
    return trace


def _comes_before_the_handler(trace: TracebackType) -> bool:
    module = dict.get(trace.tb_frame.f_globals, "__name__")
    return type(module) is str and module.startswith(_BEFORE_THE_HANDLER)


def _short_traceback(error: BaseException) -> str:
    trace = trace_in_handler(error)
    if trace is None or is_of(error, Retry):
        return ""
    text = format_error(error, trace, limit=-8)
    # The end tells where it happened.
    return text if len(text) <= _LONGEST_TRACEBACK else "…" + text[1 - _LONGEST_TRACEBACK :]


def _delay(job: Job, options: JobOptions, error: BaseException) -> int:
    if is_of(error, Retry) and (after := _whole_seconds(_attribute(error, "after"))) is not None:
        return after
    if options.backoff is None:
        return default_backoff(job.fails)
    # User code: it may raise anything, and that is no reason to lose the job or the pool.
    try:
        given = options.backoff(job)
    except BaseException as trouble:
        logger.error(
            "backoff of %s failed; taking the default one: %s", job.name, format_error(trouble, traceback_of(trouble))
        )
        return default_backoff(job.fails)
    seconds = _whole_seconds(given)
    if seconds is None:
        text = "backoff of %s failed; taking the default one: it must return zero or more seconds, not %s"
        logger.error(text, job.name, _cut(text_of(given), _LONGEST_ERR))
        return default_backoff(job.fails)
    return seconds


def _attribute(error: BaseException, name: str) -> object:
    """Return an attribute that a handler may have deleted, replaced or never set; ``None`` if it cannot be had."""
    try:
        return getattr(error, name)
    except BaseException:
        return None


def _whole_seconds(delay: object) -> int | None:
    """Return a delay rounded up, or ``None`` if it is not zero or more seconds."""
    kind = type(delay)
    number: float
    # By the base class: a subclass may compare and round as it likes.
    if issubclass(kind, int) and kind is not bool:
        number = int.__pos__(cast("int", delay))
    elif issubclass(kind, float):
        number = float.__pos__(cast("float", delay))
    else:
        return None
    return math.ceil(number) if 0 <= number <= _LONGEST_DELAY else None
