"""The exceptions that a handler raises to decide what happens to its job. They are not errors.

HandlerDecision
├── Retry                                run the job again as after a failure
├── Snooze                               run the job again later, without a failure
├── RateLimited                          run the job again after its whole queue has rested, without a failure
└── Discard                              drop the job
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from ._jobs.times import seconds_of


class HandlerDecision(Exception):
    """The base of the exceptions that a handler raises to decide what happens to its job."""


class Retry(HandlerDecision):
    """Count a failure and run the job again after ``after`` seconds instead of the job type's backoff.

    A job without attempts left is dead, as after any failure. ``after`` is read when the handler raises. A value that
    is not zero or more seconds, or ends after the start of the year 3000, then counts as ``None``, as in a subclass
    that does not call ``super().__init__``.

    :raises UsageError: when ``after`` is negative, NaN, infinite or longer than 1000 years.
    """

    after: float | None = None

    def __init__(self, reason: str = "retry requested", *, after: float | timedelta | None = None) -> None:
        self.after = None if after is None else seconds_of(after, "Retry(after=…)")
        super().__init__(reason)


class Snooze(HandlerDecision):
    """Run the job again ``seconds`` from now, in the next second at the earliest, without counting a failure or an
    attempt.

    If ``seconds`` is not a valid delay when the handler raises, as in a subclass that does not call
    ``super().__init__``, or it ends after the start of the year 3000, the job fails.

    :raises UsageError: when ``seconds`` is negative, NaN, infinite or longer than 1000 years.
    """

    def __init__(self, seconds: float | timedelta) -> None:
        self.seconds: float = seconds_of(seconds, "Snooze(seconds)")
        super().__init__(f"snoozed for {self.seconds:g} s")

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.seconds,)


class RateLimited(HandlerDecision):
    """Put the job back to the front of its queue, and have the queue rest: no pool takes jobs from it for
    ``retry_after`` seconds. Neither a failure nor an attempt is counted.

    Raise it when a service that all jobs of this name call says that there were too many calls. Jobs of the queue that
    run already go on.

    If ``retry_after`` is not a valid time when the handler raises, as in a subclass that does not call
    ``super().__init__``, or it ends after the start of the year 3000, the job fails.

    :param retry_after: seconds, or a ``timedelta``; rounded up to whole seconds, at least one.
    :raises UsageError: when ``retry_after`` is negative, NaN, infinite or longer than 1000 years.
    """

    def __init__(self, retry_after: float | timedelta) -> None:
        self.retry_after: float = seconds_of(retry_after, "RateLimited(retry_after)")
        super().__init__(f"rate limited for {self.retry_after:g} s")

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.retry_after,)


class Discard(HandlerDecision):
    """Drop the job: it neither runs again nor goes to the dead jobs. The reason is logged."""

    reason: str = "no reason given"

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(reason)
