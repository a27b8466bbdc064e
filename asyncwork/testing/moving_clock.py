"""The clock of a test: it goes as the wall clock does, and can be moved forward."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from .._jobs.clock import Clock
from .._jobs.times import epoch_second
from ..errors import UsageError


class MovingClock:
    """The clock by which jobs are enqueued, scheduled and retried during a test.

    Calling it returns epoch seconds. Handlers that read ``time.time()`` or ``datetime.now()`` get the wall clock's
    time.

    :param wall: the clock that it follows.
    :param on_move: called with the times before and after a move, epoch seconds.
    """

    def __init__(self, wall: Clock, on_move: Callable[[float, float], None]) -> None:
        self._wall = wall
        self._on_move = on_move
        self._ahead = 0.0

    def __call__(self) -> float:
        """Return the time, epoch seconds."""
        return self._wall() + self._ahead

    def now(self) -> datetime:
        """Return the time as an aware ``datetime`` in UTC."""
        return datetime.fromtimestamp(self(), UTC)

    def move(
        self,
        by: float | timedelta = 0,
        *,
        weeks: float = 0,
        days: float = 0,
        hours: float = 0,
        minutes: float = 0,
        seconds: float = 0,
    ) -> None:
        """Move the clock forward by the sum of what is given.

        Jobs that are due then run in the next ``jobs.drain()``. A periodic job is scheduled for each of its times that
        are skipped, and for the last 1,000 of these if there are more.

        :param by: seconds, or a ``timedelta``.
        :raises UsageError: when the sum is negative.
        :raises RedisUnavailable: when Redis, which periodic jobs are scheduled in, refuses or cannot be reached.
        """
        delta = by if isinstance(by, timedelta) else timedelta(seconds=by)
        delta += timedelta(weeks=weeks, days=days, hours=hours, minutes=minutes, seconds=seconds)
        if delta < timedelta():
            raise UsageError(f"jobs.clock moves forward only, not by {delta.total_seconds():g} s")
        before = self()
        self._ahead += delta.total_seconds()
        self._on_move(before, before + delta.total_seconds())

    def move_to(self, when: datetime | float) -> None:
        """Move the clock forward to a time, as :meth:`move` does.

        :param when: an aware ``datetime``, or epoch seconds.
        :raises UsageError: when it is before the clock's time, or not a time.
        :raises RedisUnavailable: as :meth:`move`.
        """
        target, before = epoch_second(when), self()
        if target < before:
            raise UsageError(f"jobs.clock moves forward only: it is {self.now()} already, after {when}")
        # A millisecond more, so that no rounding leaves it before that time.
        self._ahead += target - before + 0.001
        self._on_move(before, target)
