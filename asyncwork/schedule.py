"""Schedules of periodic jobs: cron specs as robfig/cron v3 reads them."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Final
from zoneinfo import ZoneInfo

from ._jobs.cron_spec import BadSpec, with_zone
from ._jobs.printable import shown
from ._jobs.time_zones import check_zone
from ._jobs.times import LATEST
from ._jobs.timetable import Timetable, parse_timetable
from .errors import ScheduleError, UsageError

# Years without a firing after which there is none: leap days are at most 8 years apart, and the longest period of a
# Go duration is 292 years.
_HORIZON_YEARS: Final = 300
_HORIZON: Final = _HORIZON_YEARS * 366 * 86_400


@dataclass(frozen=True, slots=True)
class Schedule:
    """When a periodic job fires.

    A schedule is immutable and made by :meth:`parse`. Two are equal when their specs are.

    :ivar spec: the spec, verbatim, with ``TZ=`` in front if the zone was given as ``tz``.
    """

    spec: str
    _timetable: Timetable = field(repr=False, compare=False)

    @classmethod
    def parse(cls, spec: str, tz: str | ZoneInfo | None = None) -> Schedule:
        """Parse a cron spec with the grammar and the meaning of robfig/cron v3.

        A spec has six fields (second, minute, hour, day of month, month, day of week), or the last five, which fire
        at second 0. A field is a list of ``*``, ``?`` (the same), numbers, names (``jan``-``dec``, ``sun``-``sat``)
        and ranges, each with an optional step; ``5/15`` steps from 5 to the end of the field. Sunday is 0 and never 7.
        If day of month and day of week are both restricted, either is enough; ``*/2`` restricts, ``*`` and ``*/1`` do
        not.

        A Go pool that is built with robfig/cron v1, as gocraft/work v0.5.1 by itself is, reads five fields as second
        to month, does not know ``TZ=``, and does not count ``*/2`` as restricted. Beside such pools, write six fields.

        Instead of fields, a spec may be ``@yearly``, ``@annually``, ``@monthly``, ``@weekly``, ``@daily``,
        ``@midnight``, ``@hourly``, or ``@every 1h30m`` with a Go duration of whole seconds, at least one. ``@every``
        fires at the multiples of its period since the epoch, so that all pools agree, where Go counts from the start
        of each pool.

        The wall clock is that of the host (:func:`time.localtime`), or of the zone in front of the spec:
        ``TZ=Europe/Berlin 0 30 2 * * *``, or ``CRON_TZ=`` with the same meaning. A time that the zone skips does not
        fire, and one that it repeats fires twice.

        :param tz: the zone or its name, instead of ``TZ=`` in the spec.
        :raises ScheduleError: when the spec is malformed, names an unknown zone or can never fire, such as on the 31st
            of February; or when the zone is given twice.
        """
        if not isinstance(spec, str):
            raise ScheduleError(f"a cron spec must be a str such as '0 30 2 * * *', not {type(spec).__name__}")
        # Formatting a member of a string enum gives its name, so take its text.
        verbatim = str.__str__(spec)
        try:
            if tz is not None:
                verbatim = with_zone(verbatim, check_zone(tz))
            return cls(verbatim, parse_timetable(verbatim))
        except BadSpec as error:
            raise ScheduleError(f"cron spec {shown(verbatim)}: {error}") from None

    def next(self, after: float) -> int:
        """Return the first firing strictly after ``after``; both are epoch seconds.

        :raises UsageError: when ``after`` is not within the years 1970 to 2999.
        :raises ScheduleError: when the host's zone skips every time that the spec names.
        """
        first = math.floor(_check_moment(after)) + 1
        firing = next(self._timetable.firings(first, first + _HORIZON), None)
        if firing is None:
            raise ScheduleError(
                f"cron spec {shown(self.spec)} does not fire within {_HORIZON_YEARS} years: "
                "its zone skips every time that it names"
            )
        return firing

    def firings(self, after: int, before: int) -> list[int]:
        """Return every firing ``t`` with ``after < t < before``, ascending; all are epoch seconds.

        :raises UsageError: when a bound is not within the years 1970 to 2999.
        """
        first, end = math.floor(_check_moment(after)) + 1, math.ceil(_check_moment(before))
        return list(self._timetable.firings(first, end))


def _check_moment(moment: float) -> float:
    # Written so that NaN fails too.
    if not 0 <= moment <= LATEST:
        raise UsageError(f"{shown(moment)} must be epoch seconds within the years 1970 to 2999 (0 to {LATEST})")
    return moment
