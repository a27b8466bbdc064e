"""The next firings of a schedule, which pages and commands show before it is saved."""

from __future__ import annotations

from ..errors import ScheduleError
from ..schedule import Schedule

# How many firings are shown.
_COUNT = 3


def next_firings(schedule: Schedule, after: float) -> list[int]:
    """Return the next three firings of a schedule, epoch seconds; fewer if it ends before.

    Without a time zone, they are by the clock of this host.

    :param after: epoch seconds.
    :raises ScheduleError: when it never fires.
    """
    found = [schedule.next(after)]
    while len(found) < _COUNT:
        try:
            found.append(schedule.next(found[-1]))
        except ScheduleError:
            break
    return found
