"""What becomes of a job once its handler has returned or raised. Pure: decides, does nothing."""

from __future__ import annotations

import logging
import math
import random
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from ..errors import Discard, Retry, Snooze
from ..job import Job
from ..options import JobOptions
from .suspicion import CrashedError

logger = logging.getLogger("asyncwork")

# Characters. What does not fit is cut: a payload is no place for a whole response body.
_LONGEST_ERR = 4000
_LONGEST_TRACEBACK = 4000

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
    return fails**4 + 15 + rand(30) * (fails + 1)


def decide(job: Job, options: JobOptions | None, error: BaseException | None, now: float) -> Fate:
    """Return what becomes of a job, and count its failure if it failed.

    :param options: of its job type; ``None`` for a job without a handler.
    :param error: what its handler raised, or ``None``.
    :param now: epoch seconds.
    """
    if error is None:
        return Done()
    if isinstance(error, Snooze):
        return RunAt(int(now) + math.ceil(error.seconds))
    if isinstance(error, Discard):
        return Drop(error.reason)
    job.failed(_cut(describe(error), _LONGEST_ERR), int(now), _short_traceback(error))
    if options is None:
        return Dead(int(now))
    if job.fails < options.max_fails and not isinstance(error, CrashedError):
        return RetryAt(int(now) + _delay(job, options, error))
    if options.skip_dead:
        return Drop(f"failed {job.fails} times, and is not kept among the dead")
    return Dead(int(now))


def describe(error: BaseException) -> str:
    """Return an error's type and message, as kept in a job's ``err``."""
    if isinstance(error, StrayJob):
        return STRAY
    message = str(error)
    return f"{type(error).__name__}: {message}" if message else type(error).__name__


class StrayJob(Exception):
    """A job for whose name this pool has no handler."""


def _cut(text: str, longest: int) -> str:
    return text if len(text) <= longest else text[: longest - 1] + "…"


def from_handler(error: BaseException) -> BaseException:
    """Return the error with its traceback beginning in the handler; with none if it never came there."""
    trace = error.__traceback__
    while trace is not None and trace.tb_frame.f_globals.get("__name__", "").startswith(_BEFORE_THE_HANDLER):
        trace = trace.tb_next
    return error.with_traceback(trace)


def _short_traceback(error: BaseException) -> str:
    if from_handler(error).__traceback__ is None or isinstance(error, Retry):
        return ""
    text = "".join(traceback.format_exception(error, limit=-8, chain=False))
    # The end tells where it happened.
    return text if len(text) <= _LONGEST_TRACEBACK else "…" + text[1 - _LONGEST_TRACEBACK :]


def _delay(job: Job, options: JobOptions, error: BaseException) -> int:
    if isinstance(error, Retry) and error.after is not None:
        return math.ceil(error.after)
    if options.backoff is None:
        return default_backoff(job.fails)
    try:
        return _whole_seconds(options.backoff(job))
    except Exception:
        logger.exception("backoff of %s failed; taking the default one", job.name)
        return default_backoff(job.fails)


def _whole_seconds(delay: object) -> int:
    if isinstance(delay, bool) or not isinstance(delay, (int, float)) or not math.isfinite(delay) or delay < 0:
        raise ValueError(f"a backoff must return zero or more seconds, not {delay!r}")
    return math.ceil(delay)
