"""Read how many jobs were processed in minutes and days."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from functools import reduce

from .._health.histogram import BOUNDS
from .._jobs.location import check_location, queue_location
from .._jobs.names import Named, name_of
from .._jobs.option_checks import check_whole
from .._redis.inspector import Inspector
from .._redis.metrics import RUN_TIMES_KEPT_DAYS, MetricsStore
from .._redis.namespace import Namespace
from ..models.queues import JobCounts, RunTimes

# How many minutes and days are returned at most.
MOST_MINUTES = 24 * 60
MOST_DAYS = 400
MOST_RUN_DAYS = RUN_TIMES_KEPT_DAYS
# How many of the last minutes, and days of run times, are shown where no other number is requested.
RATE_MINUTES = 5
RUN_DAYS = 7


class MetricsReader:
    """Reads the metrics of a namespace. An empty queue name stands for the sum of all queues.

    Every method raises RedisError or OSError when Redis refuses or cannot be reached, and UsageError for a number that
    is out of range or a name that no queue can have.
    """

    def __init__(self, namespace: Namespace, inspector: Inspector) -> None:
        self._store = MetricsStore(namespace)
        self._inspector = inspector

    async def minutes(self, queue: str | Named, count: int) -> list[JobCounts]:
        """Return the counts of each of the last minutes, the oldest first."""
        check_whole(count, "count", 1, MOST_MINUTES)
        return await self._store.minutes(_checked(queue), count)

    async def minutes_of(self, queues: Sequence[str | Named], count: int) -> dict[str, list[JobCounts]]:
        """Return the :meth:`minutes` of each of several queues, by name."""
        check_whole(count, "count", 1, MOST_MINUTES)
        return await self._store.minutes_of([*map(name_of, queues)], count)

    async def days(self, queue: str | Named, count: int) -> list[JobCounts]:
        """Return the counts of each of the last days (UTC), the oldest first."""
        check_whole(count, "count", 1, MOST_DAYS)
        return await self._store.days(_checked(queue), count)

    async def run_times(self, queue: str | Named, days: int) -> RunTimes:
        """Return how long the attempts of the last days (UTC) took. There is no sum of all queues."""
        return reduce(operator.add, [of_day for _, of_day in await self.daily_run_times(queue, days)])

    async def daily_run_times(self, queue: str | Named, days: int) -> list[tuple[str, RunTimes]]:
        """Return the date of each of the last days (UTC) and how long its attempts took, the oldest day first."""
        check_whole(days, "days", 1, MOST_RUN_DAYS)
        name = name_of(queue)
        check_location(queue_location(name))
        return [(date, RunTimes(BOUNDS, tuple(counts))) for date, counts in await self._store.run_times(name, days)]

    async def recent(self, minutes: int) -> dict[str, JobCounts]:
        """Return the counts of each queue, and their sum, in the last whole minutes and the current one."""
        check_whole(minutes, "minutes", 1, MOST_MINUTES)
        return await self._store.recent(["", *await self._inspector.names()], minutes)


def _checked(queue: str | Named) -> str:
    name = name_of(queue)
    if name:
        check_location(queue_location(name))
    return name
