"""The errors that asyncwork raises, and the exceptions that a handler raises to decide what happens to its job.

AsyncworkError
├── UsageError (also a ValueError)       a value passed to asyncwork is not valid
│   ├── ArgumentsError                   JSON cannot hold the job's arguments
│   ├── HandlerError                     a handler or middleware cannot be called
│   ├── ScheduleError                    a cron spec is malformed or can never fire
│   └── EmbeddedRedisError               no redis-server was found, or its directory is in use
├── JobArgumentError                     a job's arguments do not fit its handler
├── PayloadError                         bytes in Redis are not a job
├── EnqueueManyError                     a bulk enqueue was written in part
├── PoolEndedError                       a pool ended without a request to stop
└── RedisUnusable                        Redis cannot be reached, refuses the connection, or is too old

HandlerDecision                          not an error
├── Retry                                run the job again as after a failure
├── Snooze                               run the job again later, without a failure
└── Discard                              drop the job
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .models import EnqueuedJob


class AsyncworkError(Exception):
    """The base of every error that asyncwork raises."""


class UsageError(AsyncworkError, ValueError):
    """A value that was passed to asyncwork is not valid; the message says what would be."""


class ArgumentsError(UsageError):
    """JSON cannot hold the job's arguments; the message names the key."""


class HandlerError(UsageError):
    """A handler or middleware cannot be called; the message shows what can."""


class ScheduleError(UsageError):
    """A cron spec is malformed or can never fire."""


class EmbeddedRedisError(UsageError):
    """No redis-server was found or could be started, or its directory is in use by another instance."""


class JobArgumentError(AsyncworkError):
    """An argument of a job is missing, unexpected, or of another type than its handler takes.

    :ivar permanent: whether the handler can never be called with these arguments. Then the job is dead at once. An
        error that :meth:`Job.arg` or the handler itself raises is not permanent.
    """

    permanent = False


class PayloadError(AsyncworkError):
    """Bytes in Redis are not a job: not JSON, or not an object with the fields of a job."""


class RedisUnusable(AsyncworkError):
    """Redis cannot be reached, refuses the connection or a command, or is older than asyncwork needs."""


class PoolEndedError(AsyncworkError):
    """A pool ended without a request to stop, such as when code cancels every task of the event loop."""


class EnqueueManyError(AsyncworkError):
    """A bulk enqueue failed in part.

    :ivar written: the jobs that are in Redis.
    :ivar uncertain: the jobs that were sent without a reply, and may be in Redis or not.
    :ivar unwritten: the jobs that were not sent or that Redis refused, and are not in Redis.
    """

    def __init__(
        self,
        written: Sequence[EnqueuedJob],
        uncertain: Sequence[EnqueuedJob],
        unwritten: Sequence[EnqueuedJob],
        cause: BaseException,
    ) -> None:
        self.written = list(written)
        self.uncertain = list(uncertain)
        self.unwritten = list(unwritten)
        super().__init__(
            f"{len(self.written)} jobs were written, {len(self.uncertain)} may have been, "
            f"{len(self.unwritten)} were not: {cause}"
        )


# The last second of the year 9999. A later time is probably not in seconds.
LATEST = 253_402_300_799


def check_delay(seconds: float, what: str = "the delay") -> float:
    """Return ``seconds`` if it is a finite number of seconds, zero or more.

    :param what: what the message calls it.
    :raises UsageError: when it is negative, NaN, infinite, not a number, or longer than 8000 years.
    """
    if isinstance(seconds, bool) or not isinstance(seconds, (int, float)):
        raise UsageError(f"{what} must be a number of seconds, not {type(seconds).__name__}: {seconds!r}")
    # An integer may be too large for a float.
    if (isinstance(seconds, float) and not math.isfinite(seconds)) or seconds < 0:
        raise UsageError(f"{what} must be zero or more seconds, not {seconds!r}")
    if seconds > LATEST:
        raise UsageError(f"{what} must be in seconds, and {seconds!r} of them are more than 8000 years")
    return seconds


class HandlerDecision(Exception):
    """The base of the exceptions that a handler raises to decide what happens to its job."""


class Retry(HandlerDecision):
    """Count a failure and run the job again after ``after`` seconds instead of the job type's backoff.

    A job without attempts left is dead, as after any failure. ``after`` is read when the handler raises. A value that
    is not zero or more seconds then counts as ``None``, as in a subclass that does not call ``super().__init__``.

    :raises UsageError: when ``after`` is negative, NaN or infinite.
    """

    after: float | None = None

    def __init__(self, reason: str = "retry requested", *, after: float | None = None) -> None:
        self.after = None if after is None else check_delay(after, "Retry(after=…)")
        super().__init__(reason)


class Snooze(HandlerDecision):
    """Run the job again ``seconds`` from now, without counting a failure or an attempt.

    If ``seconds`` is not a valid delay when the handler raises, as in a subclass that does not call
    ``super().__init__``, the job fails.

    :raises UsageError: when ``seconds`` is negative, NaN or infinite.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = check_delay(seconds, "Snooze(seconds)")
        super().__init__(f"snoozed for {seconds} s")


class Discard(HandlerDecision):
    """Drop the job: it neither runs again nor goes to the dead jobs. The reason is logged."""

    reason: str = "no reason given"

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(reason)
