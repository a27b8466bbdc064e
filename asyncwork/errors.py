"""Every error that asyncwork raises by itself.

AsyncworkError
├── UsageError (also a ValueError)       what was passed cannot be right
│   ├── ArgumentsError                   job arguments that JSON cannot hold
│   ├── HandlerError                     a handler or middleware of a form that cannot be called
│   ├── ScheduleError                    a cron spec that is malformed or can never fire
│   └── EmbeddedRedisError               no redis-server to be found, or a directory in use
├── JobArgumentError                     a job's payload does not fit its handler
├── PayloadError                         bytes in Redis that are no job
├── EnqueueManyError                     a bulk enqueue that was written in part
├── PoolEndedError                       a pool that ended although nobody told it to
└── RedisUnusable                        Redis is away, refuses us, or is too old

Fate                                     not errors: raised by a handler to decide what becomes of its job
├── Retry
├── Snooze
└── Discard
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .models import EnqueuedJob


class AsyncworkError(Exception):
    """The base of every error that asyncwork raises by itself."""


class UsageError(AsyncworkError, ValueError):
    """A value that was passed to asyncwork cannot be right; the message says what would be."""


class ArgumentsError(UsageError):
    """Job arguments that JSON cannot hold; the message names the key."""


class HandlerError(UsageError):
    """A handler, middleware or context class whose form cannot be called; the message shows the forms that can."""


class ScheduleError(UsageError):
    """A cron spec that is malformed or that can never fire."""


class EmbeddedRedisError(UsageError):
    """No redis-server could be found or started, or its directory belongs to another instance."""


class JobArgumentError(AsyncworkError):
    """An argument of a job is missing, unexpected, or of another type than its handler takes.

    :ivar permanent: whether the handler could not even be called, and never can be with these arguments: then the job
        is dead at once. One that :meth:`Job.arg` raises, or a handler itself, is not.
    """

    permanent = False


class PayloadError(AsyncworkError):
    """Bytes that are not a job: not JSON, or not an object with the fields of one."""


class RedisUnusable(AsyncworkError):
    """Redis cannot be reached, refuses the credentials, or is older than asyncwork needs."""


class PoolEndedError(AsyncworkError):
    """The pool has ended although nobody told it to, such as by code that cancels every task of the event loop."""


class EnqueueManyError(AsyncworkError):
    """A bulk enqueue that was cut off.

    :ivar written: the jobs that are in Redis.
    :ivar uncertain: the jobs that were sent and whose answer never came: they may be in Redis or not.
    :ivar unwritten: the jobs that were never sent or were refused: they are not in Redis.
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


# The last second of the year 9999. A time beyond was hardly meant in seconds.
LATEST = 253_402_300_799


def check_delay(seconds: float, what: str = "the delay") -> float:
    """Return ``seconds`` if it is a finite number of seconds, zero or more.

    :raises UsageError: when it is negative, NaN, infinite, no number, or longer than 8000 years.
    """
    if isinstance(seconds, bool) or not isinstance(seconds, (int, float)):
        raise UsageError(f"{what} must be a number of seconds, not {type(seconds).__name__}: {seconds!r}")
    # An integer may be too large for a float.
    if (isinstance(seconds, float) and not math.isfinite(seconds)) or seconds < 0:
        raise UsageError(f"{what} must be zero or more seconds, not {seconds!r}")
    if seconds > LATEST:
        raise UsageError(f"{what} must be in seconds, and {seconds!r} of them are more than 8000 years")
    return seconds


class Fate(Exception):
    """The base of what a handler may raise to decide what becomes of its job."""


class Retry(Fate):
    """Count a failure and try again, after ``after`` seconds instead of the job type's backoff.

    The job dies as usual when its attempts are used up. An ``after`` that is set later counts when the handler raises;
    what is not zero or more seconds then counts as ``None``, as in a subclass that does not call ``super().__init__``.

    :raises UsageError: when ``after`` is negative, NaN or infinite.
    """

    after: float | None = None

    def __init__(self, reason: str = "retry requested", *, after: float | None = None) -> None:
        self.after = None if after is None else check_delay(after, "Retry(after=…)")
        super().__init__(reason)


class Snooze(Fate):
    """Run the job again ``seconds`` from now; it did not fail and no attempt is counted.

    Without ``seconds`` that can be waited for, as in a subclass that does not call ``super().__init__``, the job fails.

    :raises UsageError: when ``seconds`` is negative, NaN or infinite.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = check_delay(seconds, "Snooze(seconds)")
        super().__init__(f"snoozed for {seconds} s")


class Discard(Fate):
    """Drop the job: it is not tried again and does not go to the dead jobs. The reason is logged."""

    reason: str = "no reason given"

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(reason)
