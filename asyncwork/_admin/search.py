"""Search the locations of a namespace for a limited time, and continue at a cursor."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from datetime import timedelta

from .._jobs.location import BUSY, JOB_SETS, QUARANTINE, check_location, queue_location
from .._jobs.option_checks import check_whole
from .._jobs.times import seconds_of
from .._redis.inspector import Inspector
from .._redis.job_scan import JobScan
from ..models.job_record import ErrorKind, ErrorKinds, JobRecord, SearchResult
from .arguments import check_arguments, not_a_cursor
from .job_records import JobReaders, finite_time
from .query import EVERYTHING, JobQuery, error_kind

# Seconds for which one call searches unless it is given another time.
SEARCH_SECONDS = 0.05


class Searcher:
    """Searches the locations of a namespace, and groups their jobs by error.

    Every method raises RedisError or OSError when Redis refuses or cannot be reached, and UsageError for a location
    that is not one, a cursor that the method did not return, or another argument that cannot be right.
    """

    def __init__(self, inspector: Inspector, readers: JobReaders) -> None:
        self._inspector = inspector
        self._readers = readers

    async def search(
        self, location: str, query: JobQuery, cursor: str, limit: int, seconds: float | timedelta, *, newest_first: bool
    ) -> SearchResult:
        """Search a location until ``limit`` jobs are found, time is up, or all jobs have been read."""
        check_location(location)
        check_arguments(query=query, cursor=cursor)
        check_whole(limit, "limit", 1)
        seconds = seconds_of(seconds, "seconds")
        return await self._search(location, query, cursor, limit, seconds, newest_first=newest_first)

    async def _search(
        self, location: str, query: JobQuery, cursor: str, limit: int, seconds: float, *, newest_first: bool
    ) -> SearchResult:
        scan = JobScan(self._inspector, location, cursor, newest_first=newest_first)
        reader, deadline = await self._readers.reader(location, query), time.monotonic() + seconds
        found: list[JobRecord] = []
        looked = 0
        while not scan.ended and len(found) < limit:
            members = await scan.step()
            for number, member in enumerate(members, 1):
                if reader.matches(member.raw):
                    found.append(reader.record(*member))
                if len(found) == limit:
                    members = members[:number]
                    break
            scan.mark_seen(members)
            looked += len(members)
            if time.monotonic() >= deadline:
                break
        return SearchResult(found, scan.cursor, looked, scan.total)

    async def find(
        self, text: str, running: Sequence[JobRecord], cursor: str, limit: int, seconds: float | timedelta
    ) -> SearchResult:
        """Search all locations for a text, one after the other, the ``running`` jobs first."""
        check_arguments(text=text, cursor=cursor)
        check_whole(limit, "limit", 1)
        seconds = seconds_of(seconds, "seconds")
        query, deadline = JobQuery(text=text), time.monotonic() + seconds
        locations = [BUSY, *JOB_SETS, QUARANTINE, *map(queue_location, await self._inspector.names())]
        first, inner = _parse_cursor(cursor, locations)
        jobs: list[JobRecord] = []
        looked = total = 0
        for number, location in enumerate(locations[first:], first + 1):
            if location == BUSY:
                found = SearchResult([each for each in running if query.match(each)], "", len(running), len(running))
            else:
                left, wanted = deadline - time.monotonic(), max(1, limit - len(jobs))
                found = await self._search(location, query, inner, wanted, left, newest_first=True)
            jobs += found.jobs
            looked, total, inner = looked + found.looked, total + found.total, found.cursor
            if inner:
                return SearchResult(jobs, f"{location}|{inner}", looked, total)
            if number < len(locations) and (len(jobs) >= limit or time.monotonic() >= deadline):
                return SearchResult(jobs, f"{locations[number]}|", looked, total)
        return SearchResult(jobs, "", looked, total)

    async def error_kinds(
        self, location: str, query: JobQuery = EVERYTHING, cursor: str = "", seconds: float | timedelta = SEARCH_SECONDS
    ) -> ErrorKinds:
        """Group the jobs of a location that match by the kind of their error, the newest first, until time is up."""
        check_location(location)
        check_arguments(query=query, cursor=cursor)
        seconds = seconds_of(seconds, "seconds")
        scan = JobScan(self._inspector, location, cursor)
        reader, deadline = await self._readers.reader(location, query, shows=False), time.monotonic() + seconds
        groups: dict[str, _ErrorGroup] = {}
        looked = 0
        while not scan.ended:
            members = await scan.step()
            for member in members:
                if reader.matches(member.raw):
                    name, err = reader.error(member.raw)
                    # The quarantine is a list, and its entries have the time.
                    at = reader.record(member.raw).at if location == QUARANTINE else member.at
                    groups.setdefault(error_kind(err), _ErrorGroup(err)).add(name, finite_time(at or 0.0))
            scan.mark_seen(members)
            looked += len(members)
            if time.monotonic() >= deadline:
                break
        kinds = [group.as_kind(kind) for kind, group in groups.items()]
        return ErrorKinds(sorted(kinds, key=lambda kind: -kind.count), scan.cursor, looked, scan.total)


class _ErrorGroup:
    """Jobs with errors of one kind."""

    def __init__(self, example: str) -> None:
        self._example = example
        self._count = 0
        self._newest = self._oldest = 0.0
        self._names: Counter[str] = Counter()

    def add(self, name: str, at: float) -> None:
        self._count += 1
        self._names[name] += 1
        self._newest = max(self._newest, at)
        self._oldest = min(self._oldest or at, at)

    def as_kind(self, kind: str) -> ErrorKind:
        return ErrorKind(kind, self._count, dict(self._names), self._newest, self._example, self._oldest)


def _parse_cursor(cursor: str, locations: Sequence[str]) -> tuple[int, str]:
    """Return the index of the location at which to continue, and the cursor within it."""
    if not cursor:
        return 0, ""
    location, _, inner = cursor.rpartition("|")
    if location not in locations:
        raise not_a_cursor(cursor)
    return locations.index(location), inner
