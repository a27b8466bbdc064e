"""A scan of the jobs in one location, in steps, while jobs come and go."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Sequence

from .._jobs.location import JOB_SETS, queue_name
from .._jobs.printable import shown
from ..errors import UsageError
from .fair_listing import WaitingTenant
from .inspector import Inspector
from .located_payload import LocatedPayload

# A step reads about as many bytes, and at most as many members.
_STEP_BYTES = 500_000
_FIRST_STEP = 100
_MAX_STEP = 1000


class JobScan:
    """A scan of one location, which can be resumed at its cursor.

    A job that is there throughout is seen once. A job that comes or goes meanwhile may be seen, even twice where a list
    grows. The lists of a fair queue are scanned one after the other.

    :param cursor: of an earlier scan of the same location in the same order; empty to begin.
    :param newest_first: a list is always scanned so, because its other end moves while workers fetch from it.
    :raises UsageError: when the cursor is malformed.
    :ivar total: how many jobs are in the location, as of the last step.
    :ivar ended: whether all have been seen.
    """

    def __init__(self, inspector: Inspector, location: str, cursor: str = "", *, newest_first: bool = True) -> None:
        self._inspector = inspector
        self._location = location
        self._in_set = location in JOB_SETS
        self._newest_first = newest_first or not self._in_set
        self._step = _FIRST_STEP
        # In a list: how many elements were seen. In a sorted set: how many of the members with score `at` were.
        self._tenant, cursor = _parse_tenant("" if self._in_set else cursor) or ("", cursor)
        self._at, self._seen = _parse(cursor, self._in_set)
        # The tenants of a fair queue that are left to be scanned; `None` before it is known whether it is fair.
        self._tenants: list[WaitingTenant] | None = None
        self._start = 0
        self.total = 0
        self.ended = False

    @property
    def cursor(self) -> str:
        """Where to resume; empty when all have been seen."""
        if self.ended:
            return ""
        if self._tenants is not None:
            return f"={self._tenant}~{self._seen}"
        return f"{'' if self._at is None else repr(self._at)}~{self._seen}"

    async def step(self, most: int = _MAX_STEP) -> list[LocatedPayload]:
        """Return the next members, ``most`` at most; none when the scan has ended. Report them to :meth:`mark_seen`.

        :raises RedisError, OSError: when Redis refuses or cannot be reached.
        """
        self._start = self._seen
        if self._tenants is not None or await self._inspector.fair.is_fair(queue_name(self._location)):
            return await self._step_of_tenants(queue_name(self._location), most)
        if self._at is not None:
            self._start += await self._inspector.count_before(self._location, self._at, newest_first=self._newest_first)
        count = min(self._step, most)
        members, self.total = await self._inspector.members(
            self._location, self._start, count, newest_first=self._newest_first
        )
        if members:
            self._adapt(members)
        else:
            self.ended = True
        return members

    async def _step_of_tenants(self, name: str, most: int) -> list[LocatedPayload]:
        fair = self._inspector.fair
        if self._tenants is None:
            waiting = await fair.by_digest(name)
            self.total = sum(each.waiting for each in waiting)
            self._tenants = [each for each in waiting if each.digest >= self._tenant]
        while self._tenants:
            if self._tenant != self._tenants[0].digest:
                self._tenant, self._seen = self._tenants[0].digest, 0
            count = min(self._step, most)
            if members := await fair.newest(name, self._tenants[0], self._seen, count, self.total):
                self._adapt(members)
                return members
            del self._tenants[0]
        self.ended = True
        return []

    def _adapt(self, members: Sequence[LocatedPayload]) -> None:
        """Make the next step larger or smaller, by the sizes of these members."""
        weight = sum(len(each.raw) for each in members) // len(members)
        self._step = max(1, min(_MAX_STEP, _STEP_BYTES // (weight + 1)))

    def mark_seen(self, members: Sequence[LocatedPayload], gone: Collection[LocatedPayload] = ()) -> None:
        """Continue after these members.

        :param members: the first ones of those that :meth:`step` returned.
        :param gone: which of them have left the location since.
        """
        if not members:
            return
        self.ended = self._tenants is None and self._start + len(members) >= self.total
        if not self._in_set:
            self._seen += len(members) - len(gone)
            return
        last = members[-1].at
        stayed = sum(each.at == last for each in members) - sum(each.at == last for each in gone)
        self._seen = stayed + (self._seen if last == self._at else 0)
        self._at = last


def _parse_tenant(cursor: str) -> tuple[str, str] | None:
    """Return the digest of a tenant in a cursor, and the rest of it; ``None`` if it names no tenant."""
    match = re.fullmatch(r"=([\da-f]{0,16})(~\d{1,15})", cursor, re.ASCII)
    return (match[1], match[2]) if match else None


def _parse(cursor: str, in_set: bool) -> tuple[float | None, int]:
    if not cursor:
        return None, 0
    match = re.fullmatch(r"([-+.e\da-z]*)~(\d{1,15})", cursor, re.ASCII)
    try:
        at = float(match[1]) if match and match[1] else None
        if match and bool(match[1]) == in_set and not (at is not None and math.isnan(at)):
            return at, int(match[2])
    except ValueError:
        pass
    raise UsageError(f"not a cursor of this location: {shown(cursor)}; use the one of the previous result")
