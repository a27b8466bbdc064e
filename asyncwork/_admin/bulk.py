"""Act on all jobs of a location that match a query, for a limited time, and continue at a cursor."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import TypeAlias

from .._jobs.location import JobSet
from .._redis.inspector import Inspector
from .._redis.job_scan import JobScan
from .._redis.located_payload import LocatedPayload
from ..errors import PayloadError
from ..job import Job
from ..models.actions import ActionResult
from .arguments import not_a_cursor
from .job_records import JobReaders
from .query import JobQuery

# Seconds after which the second in which an action began is over, also by Redis's clock.
_SECOND_OVER = 2.0

# An action on members of a location; returns how many of them it moved or deleted.
Action: TypeAlias = Callable[[str, Sequence[LocatedPayload]], Awaitable[int]]


class BulkActions:
    """Applies an action to all jobs of a location that match."""

    def __init__(self, inspector: Inspector, readers: JobReaders) -> None:
        self._inspector = inspector
        self._readers = readers

    async def run(
        self,
        location: str,
        query: JobQuery,
        cursor: str,
        seconds: float | None,
        now: float,
        action: Action | None,
        *,
        requeues: bool,
    ) -> ActionResult:
        """Apply an action to the jobs of a location that match, the oldest first, until time is up.

        Jobs that arrive after the action began are left alone, even if they arrive in the same second.

        :param now: Redis's clock, epoch seconds.
        :param action: ``None`` only counts the jobs.
        :param requeues: whether the action puts jobs on their queues, so that they may return soon.
        :raises RedisError, OSError: when Redis refuses or cannot be reached.
        :raises UsageError: for a cursor that this method did not return.
        """
        if cursor:
            began, newest, inner = _parse_cursor(cursor)
        else:
            began, newest, inner = int(now), await self._newest_failure(location, int(now)), ""
        present = _PresentAtStart(began, newest, resumed=requeues and bool(cursor))
        deadline = math.inf if seconds is None else time.monotonic() + seconds
        scan = JobScan(self._inspector, location, inner, newest_first=False)
        reader = await self._readers.reader(location, query, shows=False)
        done = looked = 0
        while not scan.ended:
            members = await scan.step()
            chosen = [each for each in members if reader.matches(each.raw) and present.has(each.raw)]
            gone: Sequence[LocatedPayload] = ()
            if action is None:
                done += len(chosen)
            elif chosen:
                if requeues:
                    present.exclude(each.raw for each in chosen)
                done += await action(location, chosen)
                gone = await self._inspector.gone(location, chosen)
            scan.mark_seen(members, gone)
            looked += len(members)
            if time.monotonic() >= deadline:
                break
        return ActionResult(done, looked, cursor=f"{began}+{newest - began}|{scan.cursor}" if scan.cursor else "")

    async def _newest_failure(self, location: str, began: int) -> int:
        """Return the latest time of failure that jobs which are present at the start may have, epoch second.

        It may be in the future, because the clocks of workers may be ahead.
        """
        if location != JobSet.DEAD:
            return began
        members, _ = await self._inspector.members(location, 0, 1, newest_first=True)
        ahead = members[0].at if members else None
        return int(min(max(began, ahead or 0.0), 2.0**62))


class _PresentAtStart:
    """The jobs that were in a location when an action on it began.

    A job that the action has put on its queue may soon return to the location, and must be left alone then.

    :param began: when the action began, epoch second of Redis's clock.
    :param newest: the latest time of failure of jobs that were present, epoch second.
    :param resumed: whether the action began in an earlier call, which may have acted on jobs that are met now.
    """

    def __init__(self, began: int, newest: int, *, resumed: bool) -> None:
        self._began = began
        self._newest = newest
        self._resumed = resumed
        # The ids of jobs that were acted on within the second in which the action began.
        self._excluded: set[str] = set()
        self._until = time.monotonic() + _SECOND_OVER

    def has(self, raw: bytes) -> bool:
        """Return whether a job was present at the start, and was not acted on."""
        try:
            job = Job.decode(raw)
        except PayloadError:
            return True
        # The time of a failure is by the clock of its worker; the time of enqueueing is by Redis's.
        if job.enqueued_at == self._began:
            return not self._resumed and job.id not in self._excluded
        return job.enqueued_at < self._began and job.failed_at <= self._newest

    def exclude(self, raws: Iterable[bytes]) -> None:
        """Exclude jobs that are acted on now."""
        if time.monotonic() < self._until:
            self._excluded.update(job_id for raw in raws if (job_id := _read_id(raw)))


def _read_id(raw: bytes) -> str | None:
    try:
        return Job.decode(raw).id
    except PayloadError:
        return None


def _parse_cursor(cursor: str) -> tuple[int, int, str]:
    """Return when the action began, the latest time of failure at the start, and the cursor of the scan."""
    found = re.fullmatch(r"([0-9]{1,15})\+([0-9]{1,19})\|(.*)", cursor, re.ASCII | re.DOTALL)
    if found is None:
        raise not_a_cursor(cursor)
    return int(found[1]), int(found[1]) + int(found[2]), found[3]
