"""Parse the fields of a cron spec with the grammar of robfig/cron v3."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from .cron_spec import BadSpec
from .printable import shown

_MONTH_NAMES: Final = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_WEEKDAY_NAMES: Final = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")

_NUMBER: Final = re.compile(r"\+?[0-9]{1,18}", re.ASCII)


@dataclass(frozen=True, slots=True)
class FieldValues:
    """The values that a field matches.

    :ivar starred: whether the field matches every value by a star, not by listing them all.
    """

    numbers: frozenset[int]
    starred: bool = False

    def __or__(self, other: FieldValues) -> FieldValues:
        return FieldValues(self.numbers | other.numbers, self.starred or other.starred)


@dataclass(frozen=True, slots=True)
class CronField:
    """One of the six fields: its range, and the names that its numbers may have.

    :ivar hint: names the names, for an error.
    """

    name: str
    low: int
    high: int
    names: tuple[str, ...] = ()
    hint: str = ""

    @property
    def all(self) -> frozenset[int]:
        """Every value of the field."""
        return frozenset(range(self.low, self.high + 1))

    def parse(self, text: str) -> FieldValues:
        """Return the values that a field of a spec matches.

        :raises BadSpec: when it is malformed, out of range or without any value.
        """
        values = FieldValues(frozenset())
        # As in robfig/cron, empty entries between commas are ignored.
        for entry in filter(None, text.split(",")):
            values |= self._entry(entry)
        if not values.numbers:
            raise BadSpec(f"the {self.name} {shown(text)} must name at least one value")
        return values

    def _entry(self, entry: str) -> FieldValues:
        span, slash, step_text = entry.partition("/")
        step = self._step(step_text, entry) if slash else 1
        if span in ("*", "?"):
            return FieldValues(frozenset(range(self.low, self.high + 1, step)), starred=step == 1)
        first_text, hyphen, last_text = span.partition("-")
        first = last = self._number(first_text, entry)
        if hyphen:
            last = self._number(last_text, entry)
        elif slash:
            last = self.high
        if first > last:
            raise BadSpec(f"the {self.name} {shown(entry)} runs backwards; its start must not be above its end")
        return FieldValues(frozenset(range(first, last + 1, step)))

    def _number(self, text: str, entry: str) -> int:
        """Return the value of a number or a name within ``entry``."""
        number = self._value(text)
        if number is None or not self.low <= number <= self.high:
            raise BadSpec(
                f"{shown(text)} in the {self.name} {shown(entry)} must be a number {self.low}-{self.high}"
                f"{self.hint}; the forms are *, ?, 1, 1-5, */2, 1/2, 1-5/2 and lists of them with commas"
            )
        return number

    def _value(self, text: str) -> int | None:
        if text.lower() in self.names:
            return self.low + self.names.index(text.lower())
        return int(text) if _NUMBER.fullmatch(text) else None

    def _step(self, text: str, entry: str) -> int:
        if not _NUMBER.fullmatch(text) or int(text) == 0:
            raise BadSpec(f"the step {shown(text)} in the {self.name} {shown(entry)} must be a number, 1 or more")
        return int(text)


SECOND: Final = CronField("second", 0, 59)
MINUTE: Final = CronField("minute", 0, 59)
HOUR: Final = CronField("hour", 0, 23)
DAY_OF_MONTH: Final = CronField("day of month", 1, 31)
MONTH: Final = CronField("month", 1, 12, _MONTH_NAMES, " or a name jan-dec")
DAY_OF_WEEK: Final = CronField("day of week", 0, 6, _WEEKDAY_NAMES, " or a name sun-sat (Sunday is 0)")
CRON_FIELDS: Final = (SECOND, MINUTE, HOUR, DAY_OF_MONTH, MONTH, DAY_OF_WEEK)
"""The fields in the order of a spec."""
