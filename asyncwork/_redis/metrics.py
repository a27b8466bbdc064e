"""What was counted of each queue, and of all together, per minute and per day.

A span of time is a slot of 32 bytes in a string: one string holds the minutes of an hour, or the days of a month.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import NamedTuple

from ..models import JobCounts
from .client import run_script
from .namespace import Namespace

# The name under which all queues are counted together.
TOTAL = ""

_MINUTE, _HOUR, _DAY = 60, 3_600, 86_400
# Seconds that the strings live after they were last added to.
_MINUTES_KEPT = 24 * _HOUR
_DAYS_KEPT = 400 * _DAY

# processed, failed, retried, dead, run_ms, wait_ms
_SLOT = struct.Struct(">IIIIqq")
_MOST = 2**63 - 1
# Keys read by one command.
_CHUNK = 50


class _Slot(NamedTuple):
    """Where a span of time is kept.

    :ivar at: when it begins, epoch seconds.
    """

    key: str
    number: int
    at: int


class MetricsStore:
    """The counts of a namespace."""

    def __init__(self, namespace: Namespace) -> None:
        self._redis = namespace.redis
        self._keys = namespace.keys

    async def _now(self) -> int:
        return int(await self._redis.now())

    async def add(self, pool_id: str, number: int, counts: Mapping[str, JobCounts]) -> list[str]:
        """Add what a pool has counted, by queue, to the running minute and day of each and of the total.

        May be repeated with the same number until it is confirmed: while the pool has a heartbeat, it is added once.

        :param number: the pool's writes are numbered from 1, and made one after the other.
        :param counts: of at most 100 queues, so that Redis is not kept busy for long.
        :returns: the keys to which nothing could be added, for they hold something else than counts.
        """
        now = await self._now()
        everything = {**counts, TOTAL: _sum(0, map(_numbers, counts.values()))}
        keys = [self._keys.heartbeat(pool_id)]
        minute, day = self._minute(TOTAL, now), self._day(TOTAL, now)
        args: list[int] = [number, minute.number, _MINUTES_KEPT, day.number, _DAYS_KEPT]
        for name, each in everything.items():
            keys += (self._minute(name, now).key, self._day(name, now).key)
            args += (min(value, _MOST) for value in _numbers(each))
        refused = await run_script(self._redis.client(), "add_counts", keys, args)
        return [keys[place - 1] for place in refused]

    async def minutes(self, name: str, count: int) -> list[JobCounts]:
        """Return the counts of a queue, or of :data:`TOTAL`, by minute: the oldest first, the running one last.

        :param count: how many minutes; they are kept for 24 hours, and are zeros before.
        """
        now = await self._now()
        return await self._read([self._minute(name, now - ago * _MINUTE) for ago in reversed(range(count))])

    async def minutes_of(self, names: Sequence[str], count: int) -> dict[str, list[JobCounts]]:
        """Return what :meth:`minutes` does for each of several queues, at once."""
        now = await self._now()
        moments = [now - ago * _MINUTE for ago in reversed(range(count))]
        slots = {name: [self._minute(name, at) for at in moments] for name in names}
        held = await self._get(slot.key for of_name in slots.values() for slot in of_name)
        return {
            name: [JobCounts(slot.at, *_unpack(held[slot.key], slot.number)) for slot in of_name]
            for name, of_name in slots.items()
        }

    async def days(self, name: str, count: int) -> list[JobCounts]:
        """Return the counts of a queue, or of :data:`TOTAL`, by UTC day: the oldest first, the running one last.

        :param count: how many days; they are kept for 400, and are zeros before.
        """
        now = await self._now()
        return await self._read([self._day(name, now - ago * _DAY) for ago in reversed(range(count))])

    async def recent(self, names: Sequence[str], minutes: int) -> dict[str, JobCounts]:
        """Return what was counted of queues, or of :data:`TOTAL`, in the last whole minutes and the running one."""
        now = await self._now()
        spans = range(now - minutes * _MINUTE, now + 1, _MINUTE)
        slots = {name: [self._minute(name, at) for at in spans] for name in names}
        held = await self._get(slot.key for of_name in slots.values() for slot in of_name)
        return {
            name: _sum(of_name[0].at, (_unpack(held[slot.key], slot.number) for slot in of_name))
            for name, of_name in slots.items()
        }

    def _minute(self, name: str, at: int) -> _Slot:
        return _Slot(self._keys.minutes(at // _HOUR, name), at % _HOUR // _MINUTE, at - at % _MINUTE)

    def _day(self, name: str, at: int) -> _Slot:
        date = datetime.fromtimestamp(at, UTC)
        return _Slot(self._keys.days(f"{date:%Y-%m}", name), date.day - 1, at - at % _DAY)

    async def _read(self, slots: Sequence[_Slot]) -> list[JobCounts]:
        held = await self._get(slot.key for slot in slots)
        return [JobCounts(slot.at, *_unpack(held[slot.key], slot.number)) for slot in slots]

    async def _get(self, keys: Iterable[str]) -> dict[str, bytes]:
        """Read strings; what is not there, or something else, is empty."""
        wanted = list(dict.fromkeys(keys))
        async with self._redis.client().pipeline(transaction=False) as pipe:
            for start in range(0, len(wanted), _CHUNK):
                pipe.mget(wanted[start : start + _CHUNK])
            answers = await pipe.execute() if wanted else []
        found = (value or b"" for answer in answers for value in answer)
        return dict(zip(wanted, found, strict=True))


def _numbers(counts: JobCounts) -> tuple[int, ...]:
    return counts.processed, counts.failed, counts.retried, counts.dead, counts.run_ms, counts.wait_ms


def _unpack(held: bytes, slot: int) -> tuple[int, ...]:
    start = slot * _SLOT.size
    # What was never written to is missing at the end.
    return _SLOT.unpack(held[start : start + _SLOT.size].ljust(_SLOT.size, b"\0"))


def _sum(at: int, numbers: Iterable[tuple[int, ...]]) -> JobCounts:
    return JobCounts(at, *map(sum, zip(*numbers, strict=True)))
