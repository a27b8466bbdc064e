"""Decides the outcome of an attempt: what becomes of a job after its handler has returned or raised. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from types import TracebackType
from typing import TypeAlias

from .._jobs.error_text import describe_error, format_error, is_of, text_of, traceback_of
from .._jobs.step_waits import Deferred
from .._redis.cancels import CancelMark
from ..decisions import Discard, RateLimited, Retry, Snooze
from ..errors import ArgumentMismatchError, CrashedError, StepError, UnknownJobError
from ..job import Job
from ..options import JobOptions
from .backoff import attribute, retry_delay, whole_seconds

# Characters. Longer texts are cut, because a payload is no place for a whole response body.
_LONGEST_ERR = 4000
_LONGEST_TRACEBACK = 4000
# Modules whose frames come before the handler's: this package, and the one that runs plain functions in threads.
_BEFORE_THE_HANDLER = (__name__.partition(".")[0] + ".", "anyio.")

# gocraft/work's text.
STRAY = "stray job: no handler"


@dataclass(frozen=True, slots=True)
class Done:
    """The job succeeded and is removed."""


@dataclass(frozen=True, slots=True)
class RetryAt:
    """The attempt failed, and the job runs again.

    :ivar at: epoch seconds.
    """

    at: int


@dataclass(frozen=True, slots=True)
class Dead:
    """The job failed for good and is kept as dead.

    :ivar at: epoch seconds.
    """

    at: int


@dataclass(frozen=True, slots=True)
class Drop:
    """The job is removed although it did not succeed.

    :ivar failed: whether the attempt counts as a failure.
    """

    reason: str
    failed: bool = False


@dataclass(frozen=True, slots=True)
class Expired:
    """The job is removed, because it has not started in time.

    :ivar at: until when it was to start, epoch seconds.
    """

    at: float


@dataclass(frozen=True, slots=True)
class Cancelled:
    """The job was cancelled and is removed.

    :ivar job_id: its id, which the handler cannot replace here.
    :ivar failed: whether the attempt counts as failed, because the handler has raised another exception.
    """

    reason: str
    job_id: str
    failed: bool = False


@dataclass(frozen=True, slots=True)
class RunAt:
    """The job was snoozed: it runs again, and the attempt does not count as failed.

    :ivar at: epoch seconds.
    """

    at: int


@dataclass(frozen=True, slots=True)
class Rest:
    """The job was rate limited: it goes back to the front of its queue, which rests, and nothing is counted.

    :ivar seconds: for how long the queue rests.
    """

    seconds: int


Outcome: TypeAlias = Done | RetryAt | Dead | Drop | Expired | Cancelled | RunAt | Rest


class ExpiredError(Exception):
    """The job has not started in time. Raised in place of the job.

    :ivar at: until when it was to start, epoch seconds.
    """

    def __init__(self, at: float) -> None:
        super().__init__(at)
        self.at = at


class CancelRequested(Exception):
    """Ends an attempt because its job is to be cancelled.

    :param mark: says why.
    """

    def __init__(self, job_id: str, mark: CancelMark) -> None:
        self.job_id = job_id
        super().__init__(str(mark))

    def outcome(self, *, failed: bool = False) -> Cancelled:
        """Return the outcome of the attempt."""
        return Cancelled(_cut(str(self), _LONGEST_ERR), self.job_id, failed)


def decide(
    job: Job,
    options: JobOptions | None,
    error: BaseException | None,
    now: float,
    cancel: CancelRequested | None = None,
) -> Outcome:
    """Return the outcome of an attempt; record the failure in the job if it failed.

    :param options: of its job type; ``None`` for a job without a handler.
    :param error: what its handler raised, or ``None``.
    :param now: epoch seconds.
    :param cancel: why the attempt was interrupted, if its job is to be cancelled. Then the job does not run again.
    """
    if error is None:
        return Done()
    if is_of(error, Snooze) and (seconds := whole_seconds(attribute(error, "seconds"), now)) is not None:
        if cancel is not None:
            return cancel.outcome()
        # Not within this second, in which the requeued job would have the same bytes: a command about this attempt that
        # is sent again would then take the next attempt.
        return RunAt(int(now) + max(1, seconds))
    if type(error) is Deferred:
        return RunAt(error.until) if cancel is None else cancel.outcome()
    if is_of(error, RateLimited) and (rest := whole_seconds(attribute(error, "retry_after"), now)) is not None:
        if cancel is not None:
            return cancel.outcome()
        # A rest that is over before all pools have seen it would be none.
        return Rest(max(1, rest))
    if type(error) is ExpiredError:
        return Expired(error.at)
    if is_of(error, Discard):
        return Drop(_cut(text_of(attribute(error, "reason")), _LONGEST_ERR))
    if type(error) is CancelRequested:
        return error.outcome()
    job.failed(_cut(describe(error), _LONGEST_ERR), int(now), _short_traceback(error))
    if options is None:
        return Dead(int(now))
    if may_retry(options, error, job.fails):
        if cancel is not None:
            return cancel.outcome(failed=True)
        return RetryAt(int(now) + retry_delay(job, options, error, now))
    if options.skip_dead:
        return Drop(f"failed {job.fails} times, and its options say not to keep it as dead", failed=True)
    return Dead(int(now))


def may_retry(options: JobOptions, error: BaseException, fails: int) -> bool:
    """Return whether a job runs again after an attempt that has failed.

    :param fails: how many attempts have failed, with this one.
    """
    return fails < options.max_fails and not _is_permanent(error)


def _is_permanent(error: BaseException) -> bool:
    """Return whether another attempt would fail in the same way."""
    # A subclass may have properties that raise.
    return is_of(error, CrashedError, StepError) or (type(error) is ArgumentMismatchError and error.permanent)


def describe(error: BaseException) -> str:
    """Return an error's type and message, as kept in a job's ``err``. Never raises."""
    if is_of(error, UnknownJobError):
        return STRAY
    if is_of(error, Snooze):
        # It is treated as a failure only because it cannot be obeyed.
        return f"{describe_error(error)} (its seconds must be zero or more, and end before the year 3000)"
    if is_of(error, RateLimited):
        return f"{describe_error(error)} (its retry_after must be zero or more, and end before the year 3000)"
    return describe_error(error)


def _cut(text: str, longest: int) -> str:
    return text if len(text) <= longest else text[: longest - 1] + "…"


def trace_in_handler(error: BaseException) -> TracebackType | None:
    """Return the part of an error's traceback from the handler on; ``None`` if the handler was not reached."""
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
    # The end shows where it happened.
    return text if len(text) <= _LONGEST_TRACEBACK else "…" + text[1 - _LONGEST_TRACEBACK :]
