"""Cron specs, read as robfig/cron v3 reads them, and the seconds at which they fire.

A spec is checked here, field by field, and handed to croniter as plain lists of numbers: what croniter
knows beyond robfig's grammar (``L``, ``W``, ``#``, hashes, years) has no way in. croniter then matches wall
clocks. It never sees a time zone: between two changes of a zone's UTC offset the wall clock is linear, so
the time line is cut at those changes and each piece matched by itself.
"""

from __future__ import annotations

import copy
import math
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from fractions import Fraction
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, Protocol
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from .errors import ScheduleError, UsageError

if TYPE_CHECKING:
    from croniter import croniter

_DAY: Final = 86_400
# Leap days are at most 8 years apart; the longest period of a Go duration, 64 bits of nanoseconds, is 292.
_HORIZON_YEARS: Final = 300
_HORIZON: Final = _HORIZON_YEARS * 366 * _DAY
_MAX_PERIOD: Final = 2**63 // 10**9
# The start of the year 3000: milliseconds taken for seconds are beyond it.
_LATEST: Final = 32_503_680_000

# Specs are part of job ids; written out in full, the longest useful one is half of this.
MAX_SPEC_LENGTH: Final = 1_000
# Go's own spelling of its longest duration has a quarter of this.
_MAX_DURATION_LENGTH: Final = 100

_DESCRIPTORS: Final = MappingProxyType(
    {
        "@yearly": "0 0 0 1 1 *",
        "@annually": "0 0 0 1 1 *",
        "@monthly": "0 0 0 1 * *",
        "@weekly": "0 0 0 * * 0",
        "@daily": "0 0 0 * * *",
        "@midnight": "0 0 0 * * *",
        "@hourly": "0 0 * * * *",
    }
)
_EVERY: Final = "@every "

_MONTH_NAMES: Final = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_WEEKDAY_NAMES: Final = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_LONGEST_MONTHS: Final = (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)

_NUMBER: Final = re.compile(r"\+?[0-9]{1,18}", re.ASCII)
_ZONE_NAME: Final = re.compile(r"[A-Za-z0-9_+-]+(/[A-Za-z0-9_+-]+)*", re.ASCII)
_DURATION_PART: Final = re.compile(r"([0-9]++\.?[0-9]*+|\.[0-9]++)([a-z]++)", re.ASCII)
_UNITS: Final = MappingProxyType(
    {
        "h": Fraction(3_600),
        "m": Fraction(60),
        "s": Fraction(1),
        "ms": Fraction(1, 10**3),
        "us": Fraction(1, 10**6),
        "ns": Fraction(1, 10**9),
    }
)

_OffsetAt = Callable[[int], int]
"""Maps an epoch second to the UTC offset in seconds that is in force at it."""


@dataclass(frozen=True, slots=True)
class Schedule:
    """When a periodic job fires. Immutable; made by :meth:`parse`; equal when the specs are.

    :ivar spec: the spec, verbatim.
    """

    spec: str
    _timetable: _Timetable = field(repr=False, compare=False)

    @classmethod
    def parse(cls, spec: str) -> Schedule:
        """Read a cron spec with the grammar and the meaning of robfig/cron v3.

        Six fields (second, minute, hour, day of month, month, day of week), or the last five of them, which
        fire at second 0. A field is a list of ``*``, ``?`` (the same), numbers, names (``jan``-``dec``,
        ``sun``-``sat``) and ranges, each with an optional step; ``5/15`` steps from 5 to the end of the
        field. Sunday is 0 and never 7. If day of month and day of week are both restricted, either will do;
        ``*/2`` restricts, ``*`` and ``*/1`` do not.

        A Go pool that is built with robfig/cron v1, as gocraft/work v0.5.1 by itself is, reads five fields
        as second to month, knows no ``TZ=`` and does not count ``*/2`` as restricted. Beside such pools,
        write six fields.

        Instead of fields: ``@yearly``, ``@annually``, ``@monthly``, ``@weekly``, ``@daily``, ``@midnight``,
        ``@hourly``, or ``@every 1h30m`` with a Go duration of whole seconds, at least one. ``@every`` fires
        at the multiples of its period since the epoch, so that all pools agree, where Go counts from the
        start of each pool.

        The wall clock is that of the host (as :func:`time.localtime` tells it), or of the zone in front of
        the spec: ``TZ=Europe/Berlin 0 30 2 * * *``, with ``CRON_TZ=`` meaning the same. A time that the
        zone skips does not fire; one that it passes twice fires twice.

        :raises ScheduleError: when the spec is malformed, names an unknown zone or can never fire, such as
            one for the 31st of February.
        """
        _check_type(spec)
        # The member of a string enum is a str, but its format is its name.
        verbatim = str.__str__(spec)
        try:
            return cls(verbatim, _read(verbatim))
        except _Refusal as refusal:
            raise ScheduleError(f"cron spec {_shown(verbatim)}: {refusal}") from None

    def next(self, after: float) -> int:
        """Return the first firing strictly after ``after``; both are epoch seconds.

        :raises UsageError: when ``after`` is not within the years 1970 to 2999.
        :raises ScheduleError: when the host's zone skips every time that the spec names.
        """
        first = math.floor(_checked(after)) + 1
        firing = next(self._timetable.firings(first, first + _HORIZON), None)
        if firing is None:
            raise ScheduleError(
                f"cron spec {_shown(self.spec)} does not fire within {_HORIZON_YEARS} years: "
                "its zone skips every time that it names"
            )
        return firing

    def firings(self, after: int, before: int) -> list[int]:
        """Return every firing ``t`` with ``after < t < before``, ascending; all are epoch seconds.

        :raises UsageError: when a bound is not within the years 1970 to 2999.
        """
        first, end = math.floor(_checked(after)) + 1, math.ceil(_checked(before))
        return list(self._timetable.firings(first, end))


def _checked(moment: float) -> float:
    # Written so that NaN fails too.
    if not 0 <= moment <= _LATEST:
        raise UsageError(f"{moment!r} must be epoch seconds within the years 1970 to 2999 (0 to {_LATEST})")
    return moment


class _Refusal(Exception):
    """Why a spec is refused."""


def _check_type(spec: object) -> None:
    if not isinstance(spec, str):
        raise ScheduleError(f"a cron spec must be a str such as '0 30 2 * * *', not {type(spec).__name__}")


def _shown(spec: str) -> str:
    return repr(spec) if len(spec) <= 80 else f"{spec[:80]!r}…"


class _Timetable(Protocol):
    def firings(self, first: int, end: int) -> Iterator[int]:
        """Yield every firing ``t`` with ``first <= t < end``, in epoch seconds."""


@dataclass(frozen=True, slots=True)
class _Every:
    period: int

    def firings(self, first: int, end: int) -> Iterator[int]:
        return iter(range(-(-first // self.period) * self.period, end, self.period))


@dataclass(frozen=True, slots=True)
class _Cron:
    matcher: croniter
    offset_at: _OffsetAt

    def firings(self, first: int, end: int) -> Iterator[int]:
        # A matcher holds its position: a copy of its own for each search keeps threads apart.
        matcher = copy.copy(self.matcher)
        while first < end:
            offset = self.offset_at(first)
            firing = int(matcher.get_next(float, start_time=first - 1 + offset)) - offset
            change = _offset_change(self.offset_at, first, min(firing, end))
            if change is None and firing < end:
                yield firing
            first = firing + 1 if change is None else change


def _offset_change(offset_at: _OffsetAt, first: int, last: int) -> int | None:
    """Return the first second in ``first < t <= last`` whose UTC offset differs from that of ``first``."""
    offset = offset_at(first)
    # No zone has changed its offset twice within six days since 1970.
    for same in range(first, last, _DAY):
        other = min(same + _DAY, last)
        if offset_at(other) != offset:
            return _bisect(offset_at, same, other)
    return None


def _bisect(offset_at: _OffsetAt, same: int, other: int) -> int:
    offset = offset_at(same)
    while other - same > 1:
        middle = (same + other) // 2
        if offset_at(middle) == offset:
            same = middle
        else:
            other = middle
    return other


def _host_offset(second: int) -> int:
    return time.localtime(second).tm_gmtoff


def _utc_offset(second: int) -> int:
    return 0


def _zone_offset(zone: ZoneInfo, second: int) -> int:
    wall = datetime.fromtimestamp(second, zone)
    return int(wall.replace(tzinfo=UTC).timestamp()) - second


def _read(spec: str) -> _Timetable:
    _check_text(spec)
    offset_at: _OffsetAt = _host_offset
    if spec.startswith(("TZ=", "CRON_TZ=")):
        assignment, _, spec = spec.partition(" ")
        offset_at = _offset_of(assignment.partition("=")[2])
        spec = spec.strip()
    if spec.startswith(_EVERY):
        return _Every(_period(spec.removeprefix(_EVERY)))
    return _Cron(_matcher(_described(spec) if spec.startswith("@") else spec), offset_at)


def _check_text(spec: str) -> None:
    if len(spec) > MAX_SPEC_LENGTH:
        raise _Refusal(f"it has {len(spec)} characters; {MAX_SPEC_LENGTH} are the most")
    for position, character in enumerate(spec):
        if not (" " <= character <= "~" or character == "\t"):
            raise _Refusal(
                f"character {position + 1} is {character!a}; "
                "it must be ASCII: letters, digits, punctuation, blanks and tabs"
            )


def _offset_of(zone: str) -> _OffsetAt:
    if zone == "Local":
        return _host_offset
    # Hosts without zone files know UTC all the same.
    if zone == "UTC":
        return _utc_offset
    try:
        if not _ZONE_NAME.fullmatch(zone):
            raise ZoneInfoNotFoundError(zone)
        return partial(_zone_offset, ZoneInfo(zone))
    # A directory of zones, such as America, is an OSError; a file that is no zone a ValueError.
    except (ZoneInfoNotFoundError, OSError, ValueError):
        raise _Refusal(
            f"there is no time zone {_shown(zone)} on this host; it must be a name such as Europe/Berlin "
            "(case counts), followed by a blank. A host without zone files needs the package tzdata"
        ) from None


def _described(descriptor: str) -> str:
    fields = _DESCRIPTORS.get(descriptor)
    if fields is None:
        raise _Refusal(f"{descriptor!r} must be {', '.join(_DESCRIPTORS)} or '@every' and a duration")
    return fields


def _period(duration: str) -> int:
    """Return the whole seconds of a duration as Go writes it, such as ``1h30m10s``."""
    if len(duration) > _MAX_DURATION_LENGTH:
        raise _Refusal(f"its duration has {len(duration)} characters; {_MAX_DURATION_LENGTH} are the most")
    seconds = _duration(duration)
    if seconds is None:
        raise _Refusal(
            f"the duration {duration!r} must be numbers with units, such as 90s or 1h30m (units: {', '.join(_UNITS)})"
        )
    if seconds.denominator != 1 or not 1 <= seconds <= _MAX_PERIOD:
        raise _Refusal(f"the duration {duration!r} must be whole seconds, 1 to {_MAX_PERIOD}")
    return int(seconds)


def _duration(text: str) -> Fraction | None:
    text = text.removeprefix("+")
    parts = list(_DURATION_PART.finditer(text))
    if not parts or "".join(part[0] for part in parts) != text or any(part[2] not in _UNITS for part in parts):
        return None
    return sum((Fraction(part[1]) * _UNITS[part[2]] for part in parts), start=Fraction(0))


@dataclass(frozen=True, slots=True)
class _Field:
    name: str
    low: int
    high: int
    names: tuple[str, ...] = ()
    hint: str = ""

    @property
    def all(self) -> frozenset[int]:
        return frozenset(range(self.low, self.high + 1))

    def number(self, text: str, entry: str) -> int:
        """Return the value of a number or a name; ``entry`` is where it stands."""
        number = self._value(text)
        if number is None or not self.low <= number <= self.high:
            raise _Refusal(
                f"{text!r} in the {self.name} {entry!r} must be a number {self.low}-{self.high}{self.hint}; "
                "the forms are *, ?, 1, 1-5, */2, 1/2, 1-5/2 and lists of them with commas"
            )
        return number

    def _value(self, text: str) -> int | None:
        if text.lower() in self.names:
            return self.low + self.names.index(text.lower())
        return int(text) if _NUMBER.fullmatch(text) else None


_SECOND: Final = _Field("second", 0, 59)
_MINUTE: Final = _Field("minute", 0, 59)
_HOUR: Final = _Field("hour", 0, 23)
_DAY_OF_MONTH: Final = _Field("day of month", 1, 31)
_MONTH: Final = _Field("month", 1, 12, _MONTH_NAMES, " or a name jan-dec")
_DAY_OF_WEEK: Final = _Field("day of week", 0, 6, _WEEKDAY_NAMES, " or a name sun-sat (Sunday is 0)")
_FIELDS: Final = (_SECOND, _MINUTE, _HOUR, _DAY_OF_MONTH, _MONTH, _DAY_OF_WEEK)


@dataclass(frozen=True, slots=True)
class _Values:
    """What a field matches. ``starred``: it says so with a star, not by listing everything."""

    numbers: frozenset[int]
    starred: bool = False

    def __or__(self, other: _Values) -> _Values:
        return _Values(self.numbers | other.numbers, self.starred or other.starred)


def _matcher(spec: str) -> croniter:
    """Return a matcher of naive wall clocks, which are given to it as if they were UTC."""
    second, minute, hour, day, month, weekday = (
        _values(cron_field, text) for cron_field, text in zip(_FIELDS, _six_fields(spec), strict=True)
    )
    days, weekdays = _days(day, month, weekday)
    numbers = (second.numbers, minute.numbers, hour.numbers, days, month.numbers, weekdays)
    canonical = " ".join(
        "*" if matched == cron_field.all else ",".join(map(str, sorted(matched)))
        for cron_field, matched in zip(_FIELDS, numbers, strict=True)
    )
    # Imported on first use, because most processes have no cron spec.
    from croniter import croniter

    return croniter(canonical, start_time=0.0, second_at_beginning=True)


def _six_fields(spec: str) -> list[str]:
    texts = spec.split()
    if len(texts) not in (5, 6):
        raise _Refusal(
            f"it has {len(texts)} fields; it must have 6 (second, minute, hour, day of month, month, "
            "day of week), or 5 without the second"
        )
    return texts if len(texts) == 6 else ["0", *texts]


def _days(day: _Values, month: _Values, weekday: _Values) -> tuple[frozenset[int], frozenset[int]]:
    """Return days of month and days of week that mean the same to croniter as the given ones to robfig/cron.

    Both let either of two restricted fields do. But to robfig/cron a field that lists every day is as
    restricted as any without a star; to croniter, as it is used here, every full field is a star.
    """
    longest = max(_LONGEST_MONTHS[number - 1] for number in month.numbers)
    possible = min(day.numbers) <= longest
    if day.starred or weekday.starred:
        if not possible:
            raise _Refusal(f"it never fires: the day of month must be 1-{longest} in the months it names")
        return day.numbers, weekday.numbers
    if day.numbers == _DAY_OF_MONTH.all or weekday.numbers == _DAY_OF_WEEK.all:
        return _DAY_OF_MONTH.all, _DAY_OF_WEEK.all
    return (day.numbers if possible else _DAY_OF_MONTH.all), weekday.numbers


def _values(cron_field: _Field, text: str) -> _Values:
    values = _Values(frozenset())
    # As in robfig/cron, a comma too many does no harm.
    for entry in filter(None, text.split(",")):
        values |= _entry(cron_field, entry)
    if not values.numbers:
        raise _Refusal(f"the {cron_field.name} {text!r} must name at least one value")
    return values


def _entry(cron_field: _Field, entry: str) -> _Values:
    span, slash, step_text = entry.partition("/")
    step = _step(cron_field, step_text, entry) if slash else 1
    if span in ("*", "?"):
        return _Values(frozenset(range(cron_field.low, cron_field.high + 1, step)), starred=step == 1)
    first_text, hyphen, last_text = span.partition("-")
    first = last = cron_field.number(first_text, entry)
    if hyphen:
        last = cron_field.number(last_text, entry)
    elif slash:
        last = cron_field.high
    if first > last:
        raise _Refusal(f"the {cron_field.name} {entry!r} runs backwards; its start must not be above its end")
    return _Values(frozenset(range(first, last + 1, step)))


def _step(cron_field: _Field, text: str, entry: str) -> int:
    if not _NUMBER.fullmatch(text) or int(text) == 0:
        raise _Refusal(f"the step {text!r} in the {cron_field.name} {entry!r} must be a number, 1 or more")
    return int(text)
