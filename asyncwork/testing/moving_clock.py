"""The clock of a test: it goes as the wall clock does, and can be moved forward."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from .._jobs.clock import Clock
from .._jobs.printable import shown
from .._jobs.times import LATEST, epoch_second
from ..errors import UsageError

# The seconds of each unit.
_UNITS = {"weeks": 604_800, "days": 86_400, "hours": 3_600, "minutes": 60, "seconds": 1}


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
        :raises UsageError: when the sum is negative or leads past the start of the year 3000, or one of them is not a
            finite number.
        :raises RedisUnavailable: when Redis, which periodic jobs are scheduled in, refuses or cannot be reached.
        """
        units = {"weeks": weeks, "days": days, "hours": hours, "minutes": minutes, "seconds": seconds}
        delta = by.total_seconds() if isinstance(by, timedelta) else _seconds(by, "by")
        delta += sum(_seconds(value, name) * _UNITS[name] for name, value in units.items())
        if delta < 0:
            raise UsageError(f"jobs.clock moves forward only, not by {delta:g} s")
        before = self()
        if before + delta > LATEST:
            raise UsageError(f"jobs.clock moves up to the year 3000, and {delta:g} s from now is after it")
        self._ahead += delta
        self._on_move(before, before + delta)

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


def _seconds(value: object, name: str) -> float:
    """Return a number that is given to :meth:`MovingClock.move`."""
    if isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) <= LATEST:
        return value
    raise UsageError(f"{name} must be a number, and not more than 1000 years: {shown(value)}")
