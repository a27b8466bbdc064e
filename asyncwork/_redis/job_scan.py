"""Goes through the jobs of a place in steps, although others come and go meanwhile."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Sequence

from .._jobs.location import JOB_SETS
from ..errors import UsageError
from .inspector import Inspector, Member

# Members read in one step: as many as weigh about so many bytes, and never more than a command may take.
_STEP_BYTES = 500_000
_FIRST_STEP = 100
_LONGEST_STEP = 1000


class JobScan:
    """One way through a place, which may be left and taken up again at its cursor.

    What is there all the time is met once; what comes or goes meanwhile may be met, twice even where a list grows.

    :param cursor: of a walk through the same place in the same order; empty to begin.
    :param newest_first: in a list, always: its other end moves while workers take from it.
    :raises UsageError: when the cursor is none.
    :ivar total: how many are in the place, as of the newest step.
    :ivar ended: whether everything has been met.
    """

    def __init__(self, inspection: Inspector, place: str, cursor: str = "", *, newest_first: bool = True) -> None:
        self._inspection = inspection
        self._place = place
        self._shelf = place in JOB_SETS
        self._newest_first = newest_first or not self._shelf
        self._step = _FIRST_STEP
        # In a list, how many elements were passed; in a sorted set, how many of the members of score `at`.
        self._at, self._passed = _parse(cursor, self._shelf)
        self._start = 0
        self.total = 0
        self.ended = False

    @property
    def cursor(self) -> str:
        """Where to go on; empty when everything has been met."""
        if self.ended:
            return ""
        return f"{'' if self._at is None else repr(self._at)}~{self._passed}"

    async def step(self, most: int = _LONGEST_STEP) -> list[Member]:
        """Read the next members, at most so many; none when the walk has ended. They are not met yet.

        :raises RedisError, OSError: when Redis refuses or cannot be reached.
        """
        self._start = self._passed
        if self._at is not None:
            self._start += await self._inspection.before(self._place, self._at, newest_first=self._newest_first)
        count = min(self._step, most)
        members, self.total = await self._inspection.members(
            self._place, self._start, count, newest_first=self._newest_first
        )
        if members:
            weight = sum(len(each.raw) for each in members) // len(members)
            self._step = max(1, min(_LONGEST_STEP, _STEP_BYTES // (weight + 1)))
        else:
            self.ended = True
        return members

    def met(self, members: Sequence[Member], gone: Collection[Member] = ()) -> None:
        """Go on behind these, the first of what :meth:`step` returned; some of them are ``gone`` from the place."""
        if not members:
            return
        self.ended = self._start + len(members) >= self.total
        if not self._shelf:
            self._passed += len(members) - len(gone)
            return
        last = members[-1].at
        stayed = sum(each.at == last for each in members) - sum(each.at == last for each in gone)
        self._passed = stayed + (self._passed if last == self._at else 0)
        self._at = last


def _parse(cursor: str, shelf: bool) -> tuple[float | None, int]:
    if not cursor:
        return None, 0
    match = re.fullmatch(r"([-+.e\da-z]*)~(\d{1,15})", cursor, re.ASCII)
    try:
        at = float(match[1]) if match and match[1] else None
        if match and bool(match[1]) == shelf and not (at is not None and math.isnan(at)):
            return at, int(match[2])
    except ValueError:
        pass
    raise UsageError(f"not a cursor of this place: {cursor[:80]!r}; take it from the answer before")
