"""Compute the seconds at which a cron spec fires.

The fields are handed to croniter as plain lists of numbers, so what croniter accepts beyond robfig's grammar (``L``,
``W``, ``#``, hashes, years) cannot reach it. croniter matches wall clocks and never sees a time zone: between two
changes of a zone's UTC offset the wall clock is linear, so time is cut at those changes and each piece is matched
separately.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

from .cron_fields import CRON_FIELDS, DAY_OF_MONTH, DAY_OF_WEEK, FieldValues
from .cron_spec import EVERY, BadSpec, check_characters, parse_period, split_fields, split_zone
from .time_zones import OffsetAt, find_change, find_zone

if TYPE_CHECKING:
    from croniter import croniter

# Days in each month, January first, in a leap year.
_MONTH_LENGTHS: Final = (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)


class Timetable(Protocol):
    """The firings of a spec."""

    def firings(self, first: int, end: int) -> Iterator[int]:
        """Yield every firing ``t`` with ``first <= t < end``, in epoch seconds."""


def parse_timetable(spec: str) -> Timetable:
    """Return the timetable of a cron spec.

    :raises BadSpec: when the spec is malformed, names an unknown zone or can never fire.
    """
    check_characters(spec)
    zone, spec = split_zone(spec)
    offset_at = find_zone(zone)
    if spec.startswith(EVERY):
        return _Every(parse_period(spec.removeprefix(EVERY)))
    return _Cron(_matcher(split_fields(spec)), offset_at)


@dataclass(frozen=True, slots=True)
class _Every:
    """Fires at the multiples of a period since the epoch."""

    period: int

    def firings(self, first: int, end: int) -> Iterator[int]:
        return iter(range(-(-first // self.period) * self.period, end, self.period))


@dataclass(frozen=True, slots=True)
class _Cron:
    """Fires when the wall clock of a zone matches."""

    matcher: croniter
    offset_at: OffsetAt

    def firings(self, first: int, end: int) -> Iterator[int]:
        # A matcher holds its position, so each search gets a copy. This keeps threads apart.
        matcher = copy.copy(self.matcher)
        while first < end:
            offset = self.offset_at(first)
            firing = int(matcher.get_next(float, start_time=first - 1 + offset)) - offset
            change = find_change(self.offset_at, first, min(firing, end))
            if change is None and firing < end:
                yield firing
            first = firing + 1 if change is None else change


def _matcher(fields: list[str]) -> croniter:
    """Return a matcher of naive wall clocks, which are given to it as if they were UTC."""
    second, minute, hour, day, month, weekday = (
        field.parse(text) for field, text in zip(CRON_FIELDS, fields, strict=True)
    )
    days, weekdays = _days(day, month, weekday)
    numbers = (second.numbers, minute.numbers, hour.numbers, days, month.numbers, weekdays)
    canonical = " ".join(
        "*" if matched == field.all else ",".join(map(str, sorted(matched)))
        for field, matched in zip(CRON_FIELDS, numbers, strict=True)
    )
    # Imported on first use, because most processes have no cron spec.
    from croniter import croniter

    return croniter(canonical, start_time=0.0, second_at_beginning=True)


def _days(day: FieldValues, month: FieldValues, weekday: FieldValues) -> tuple[frozenset[int], frozenset[int]]:
    """Return days of month and days of week that mean to croniter what the given ones mean to robfig/cron.

    To both, either of two restricted fields is enough. But to robfig/cron a field that lists every day is restricted
    like any field without a star, while croniter, as it is used here, takes every full field for a star.
    """
    longest = max(_MONTH_LENGTHS[number - 1] for number in month.numbers)
    possible = min(day.numbers) <= longest
    if day.starred or weekday.starred:
        if not possible:
            raise BadSpec(f"it never fires: the day of month must be 1-{longest} in the months it names")
        return day.numbers, weekday.numbers
    if day.numbers == DAY_OF_MONTH.all or weekday.numbers == DAY_OF_WEEK.all:
        return DAY_OF_MONTH.all, DAY_OF_WEEK.all
    return (day.numbers if possible else DAY_OF_MONTH.all), weekday.numbers
