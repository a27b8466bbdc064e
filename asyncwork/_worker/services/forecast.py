"""When periodic jobs fire next, for people who look."""

from __future__ import annotations

import math
from collections.abc import Sequence

from ...errors import ScheduleError, UsageError
from ...models import PeriodicState
from .periodic_enqueuer import PeriodicJob


class NextFirings:
    """Knows when each of some periodic jobs fires next; looks at a schedule again only when that has passed."""

    def __init__(self, jobs: Sequence[PeriodicJob]) -> None:
        self._jobs = jobs
        self._next = [-math.inf] * len(jobs)
        self._asked_at = -math.inf

    def at(self, now: float) -> tuple[PeriodicState, ...]:
        """Return the jobs with their first firings after ``now``, epoch seconds, as this host's zone has them."""
        if now < self._asked_at:
            # The clock was ahead, and so what is next was told from another time.
            self._next = [-math.inf] * len(self._jobs)
        self._asked_at = now
        return tuple(self._state(place, job, now) for place, job in enumerate(self._jobs))

    def _state(self, place: int, job: PeriodicJob, now: float) -> PeriodicState:
        firing = self._next[place]
        if firing <= now:
            firing = self._next[place] = _next(job, now)
        upcoming = int(firing) if math.isfinite(firing) else None
        return PeriodicState(job.name, job.schedule.spec, job.key, job.args, upcoming)


def _next(job: PeriodicJob, now: float) -> float:
    try:
        return job.schedule.next(now)
    except ScheduleError:
        return math.inf  # never
    except UsageError:
        return -math.inf  # a clock that is centuries off; it may be set right
