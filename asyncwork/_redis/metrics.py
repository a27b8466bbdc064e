"""Metrics of each queue, and of all queues together, per minute and per day.

Each minute or day is a cell of 32 bytes in a string. A string holds the minutes of an hour, or the days of a month.
Behind all cells, the string may have a second part, with 8 bytes for each of them, which count the jobs that were
dropped.

The run times of each queue are counted in a histogram per day: a string with 4 bytes for each bucket.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import NamedTuple, TypeAlias

from .._health.histogram import BOUNDS
from ..models.queues import JobCounts
from .client import run_script
from .namespace import Namespace
from .slices import slices

# The name under which the sum of all queues is kept.
TOTAL = ""

_MINUTE, _HOUR, _DAY = 60, 3_600, 86_400
# Seconds after which the strings expire when nothing was added.
_MINUTES_KEPT = 24 * _HOUR
_DAYS_KEPT = 400 * _DAY
RUN_TIMES_KEPT_DAYS = 40

# processed, failed, retried, dead, run_ms, wait_ms
_CELL = struct.Struct(">IIIIqq")
# expired, cancelled
_DROPPED = struct.Struct(">II")
# Cells of a string.
_MINUTES, _DAYS = 60, 31
_BUCKETS = struct.Struct(f">{len(BOUNDS) + 1}I")
_MAX = 2**63 - 1
# Keys read by one command.
_SLICE = 50

# Numbers of attempts by the number of their bucket.
RunCounts: TypeAlias = Mapping[int, int]


class _Cell(NamedTuple):
    """The cell of a minute or a day.

    :ivar at: the beginning of the minute or day, epoch seconds.
    :ivar cells: how many cells its string has.
    """

    key: str
    number: int
    at: int
    cells: int


class MetricsStore:
    """The metrics of a namespace.

    Every method raises RedisError or OSError when Redis refuses or cannot be reached.
    """

    def __init__(self, namespace: Namespace) -> None:
        self._redis = namespace.redis
        self._keys = namespace.keys

    async def _now(self) -> int:
        return int(await self._redis.now())

    async def add(
        self, pool_id: str, number: int, counts: Mapping[str, JobCounts], runs: Mapping[str, RunCounts] | None = None
    ) -> list[str]:
        """Add a pool's counts to the current minute and day of each queue and of the total.

        Repeat it with the same number until it succeeds: while the pool has a heartbeat, the counts are added once.

        :param number: the number of this write. A pool's writes are numbered from 1 and made one after the other.
        :param counts: by queue; of at most 100 queues, so that Redis is not kept busy for long.
        :param runs: by queue, the attempts by run time, as :meth:`run_times` numbers the buckets.
        :returns: the keys to which nothing was added because they hold another type.
        """
        now = await self._now()
        totals = {**counts, TOTAL: _sum(0, map(_numbers, counts.values()))}
        keys = [self._keys.heartbeat(pool_id)]
        minute, day = self._minute(TOTAL, now), self._day(TOTAL, now)
        runs = {name: each for name, each in (runs or {}).items() if each}
        args: list[int] = [number, minute.number, _MINUTES_KEPT, day.number, _DAYS_KEPT]
        args += (len(runs), RUN_TIMES_KEPT_DAYS * _DAY)
        for name, each in totals.items():
            keys += (self._minute(name, now).key, self._day(name, now).key)
            args += (min(value, _MAX) for value in _numbers(each))
        for name, run_counts in runs.items():
            keys.append(self._run_times(name, now))
            args += (len(run_counts), *(part for pair in run_counts.items() for part in pair))
        wrong = await run_script(self._redis.client(), "add_counts", keys, args)
        return [keys[number - 1] for number in wrong]

    async def minutes(self, name: str, count: int) -> list[JobCounts]:
        """Return the counts of a queue, or of :data:`TOTAL`, for each minute, oldest first and the current one last.

        :param count: how many minutes; earlier than 24 hours ago the counts are 0.
        """
        now = await self._now()
        return await self._read([self._minute(name, now - ago * _MINUTE) for ago in reversed(range(count))])

    async def minutes_of(self, names: Sequence[str], count: int) -> dict[str, list[JobCounts]]:
        """Return the same as :meth:`minutes` for several queues, by name."""
        now = await self._now()
        moments = [now - ago * _MINUTE for ago in reversed(range(count))]
        cells = {name: [self._minute(name, at) for at in moments] for name in names}
        strings = await self._get(cell.key for of_name in cells.values() for cell in of_name)
        return {
            name: [JobCounts(cell.at, *_unpack(strings[cell.key], cell)) for cell in of_name]
            for name, of_name in cells.items()
        }

    async def days(self, name: str, count: int) -> list[JobCounts]:
        """Return the counts of a queue, or of :data:`TOTAL`, for each UTC day, oldest first, the current one last.

        :param count: how many days; earlier than 400 days ago the counts are 0.
        """
        now = await self._now()
        return await self._read([self._day(name, now - ago * _DAY) for ago in reversed(range(count))])

    async def run_times(self, name: str, days: int) -> list[tuple[str, Sequence[int]]]:
        """Return how many attempts at jobs of a queue took how long on each of the last days (UTC), the current one
        last, with its date, such as ``2024-02-29``.

        :returns: at index n, those of less than 2**n ms that are not at an index before; the last is of all others.
        """
        now = await self._now()
        dates = [f"{datetime.fromtimestamp(now - ago * _DAY, UTC):%Y-%m-%d}" for ago in reversed(range(days))]
        strings = await self._get(self._keys.run_times(date, name) for date in dates)
        return [(date, _unpack_buckets(strings[self._keys.run_times(date, name)])) for date in dates]

    async def recent(self, names: Sequence[str], minutes: int) -> dict[str, JobCounts]:
        """Return the counts of queues, or of :data:`TOTAL`, in the last whole minutes and the current one, by name."""
        now = await self._now()
        spans = range(now - minutes * _MINUTE, now + 1, _MINUTE)
        cells = {name: [self._minute(name, at) for at in spans] for name in names}
        strings = await self._get(cell.key for of_name in cells.values() for cell in of_name)
        return {
            name: _sum(of_name[0].at, (_unpack(strings[cell.key], cell) for cell in of_name))
            for name, of_name in cells.items()
        }

    async def recent_with_expired(self, names: Sequence[str], minutes: int) -> dict[str, JobCounts]:
        """Return :meth:`recent` counts of queues if jobs of any queue have expired; nothing otherwise."""
        total = (await self.recent([TOTAL], minutes))[TOTAL]
        return await self.recent(names, minutes) if total.expired else {}

    def _run_times(self, name: str, at: int) -> str:
        return self._keys.run_times(f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d}", name)

    def _minute(self, name: str, at: int) -> _Cell:
        return _Cell(self._keys.minutes(at // _HOUR, name), at % _HOUR // _MINUTE, at - at % _MINUTE, _MINUTES)

    def _day(self, name: str, at: int) -> _Cell:
        date = datetime.fromtimestamp(at, UTC)
        return _Cell(self._keys.days(f"{date:%Y-%m}", name), date.day - 1, at - at % _DAY, _DAYS)

    async def _read(self, cells: Sequence[_Cell]) -> list[JobCounts]:
        strings = await self._get(cell.key for cell in cells)
        return [JobCounts(cell.at, *_unpack(strings[cell.key], cell)) for cell in cells]

    async def _get(self, keys: Iterable[str]) -> dict[str, bytes]:
        """Return strings by key; empty ones for missing keys and keys of another type."""
        wanted = list(dict.fromkeys(keys))
        async with self._redis.client().pipeline(transaction=False) as pipe:
            for some in slices(wanted, _SLICE):
                pipe.mget(some)
            replies = await pipe.execute() if wanted else []
        found = (value or b"" for reply in replies for value in reply)
        return dict(zip(wanted, found, strict=True))


def _numbers(counts: JobCounts) -> tuple[int, ...]:
    """Return the counts in the order of the fields of :class:`JobCounts`."""
    attempts = (counts.processed, counts.failed, counts.retried, counts.dead, counts.run_ms, counts.wait_ms)
    return (*attempts, counts.expired, counts.cancelled)


def _unpack(string: bytes, cell: _Cell) -> tuple[int, ...]:
    attempts = _read(_CELL, string, cell.number * _CELL.size)
    return attempts + _read(_DROPPED, string, cell.cells * _CELL.size + cell.number * _DROPPED.size)


def _read(layout: struct.Struct, string: bytes, start: int) -> tuple[int, ...]:
    # Redis stores no bytes behind the last one that was written.
    return layout.unpack(string[start : start + layout.size].ljust(layout.size, b"\0"))


def _unpack_buckets(string: bytes) -> tuple[int, ...]:
    return _BUCKETS.unpack(string[: _BUCKETS.size].ljust(_BUCKETS.size, b"\0"))


def _sum(at: int, numbers: Iterable[tuple[int, ...]]) -> JobCounts:
    return JobCounts(at, *map(sum, zip(*numbers, strict=True)))
