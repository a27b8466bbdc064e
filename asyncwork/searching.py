"""Looks through the jobs of a namespace, for as long as time allows, and goes on where it was left."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence

from .criteria import EVERYTHING, Criteria, Redact, Sieve, error_kind
from .errors import PayloadError, UsageError
from .findings import ErrorKind, ErrorKinds, Found, Outcome
from .job import Job
from .job_record import BUSY, QUARANTINE, SHELVES, JobRecord, queue_place
from .store.inspection import Inspection, Member
from .store.walk import Walk

# Seconds that one call looks for jobs unless told otherwise.
PATIENCE = 0.05

# Does something to members of a place; returns to how many.
Act = Callable[[str, Sequence[Member]], Awaitable[int]]


class Searcher:
    """Searches, groups and sweeps the places of a namespace.

    Every method raises RedisError or OSError when Redis refuses or cannot be reached, and UsageError when a cursor is
    none of its own.
    """

    def __init__(self, inspection: Inspection, redact: Redact | None) -> None:
        self._inspection = inspection
        self._redact = redact

    def sieve(self, place: str, criteria: Criteria = EVERYTHING) -> Sieve:
        """Return what decides on the payloads of a place, and shows them."""
        return Sieve(place, criteria, self._redact)

    async def search(
        self, place: str, criteria: Criteria, cursor: str, limit: int, seconds: float, *, newest_first: bool
    ) -> Found:
        """Look for jobs in a place until enough are found, time is up, or everything was looked at."""
        walk = Walk(self._inspection, place, cursor, newest_first=newest_first)
        sieve, deadline = self.sieve(place, criteria), time.monotonic() + seconds
        found: list[JobRecord] = []
        looked = 0
        while not walk.ended and len(found) < limit:
            members = await walk.step()
            for number, member in enumerate(members, 1):
                if sieve.passes(member.raw):
                    found.append(sieve.record(*member))
                if len(found) == limit:
                    members = members[:number]
                    break
            walk.met(members)
            looked += len(members)
            if time.monotonic() >= deadline:
                break
        return Found(found, walk.cursor, looked, walk.total)

    async def find(self, text: str, running: Sequence[JobRecord], cursor: str, limit: int, seconds: float) -> Found:
        """Look for jobs with a text in all places, one after the other, the ``running`` ones first."""
        criteria, deadline = Criteria(text=text), time.monotonic() + seconds
        places = [BUSY, *SHELVES, QUARANTINE, *map(queue_place, await self._inspection.names())]
        began, inner = _parse_place(cursor, places)
        jobs: list[JobRecord] = []
        looked = total = 0
        for number, place in enumerate(places[began:], began + 1):
            if place == BUSY:
                found = Found([each for each in running if criteria.match(each)], "", len(running), len(running))
            else:
                left, wanted = deadline - time.monotonic(), max(1, limit - len(jobs))
                found = await self.search(place, criteria, inner, wanted, left, newest_first=True)
            jobs += found.jobs
            looked, total, inner = looked + found.looked, total + found.total, found.cursor
            if inner:
                return Found(jobs, f"{place}|{inner}", looked, total)
            if number < len(places) and (len(jobs) >= limit or time.monotonic() >= deadline):
                return Found(jobs, f"{places[number]}|", looked, total)
        return Found(jobs, "", looked, total)

    async def of_time(self, place: str, at: float, job_id: str) -> list[Member]:
        """Return the members of a sorted set with a score and a job's id."""
        walk, found = Walk(self._inspection, place, f"{float(at)!r}~0", newest_first=False), []
        while members := await walk.step():
            of_time = [each for each in members if each.at == at]
            found += [each for each in of_time if _id_of(each.raw) == job_id]
            if len(of_time) < len(members):
                break
            walk.met(members)
        return found

    async def error_kinds(self, place: str, criteria: Criteria, cursor: str, seconds: float) -> ErrorKinds:
        """Group the jobs of a place that match by the kind of their error, the newest first, while there is time."""
        walk = Walk(self._inspection, place, cursor)
        sieve, deadline = self.sieve(place, criteria), time.monotonic() + seconds
        groups: dict[str, _Group] = {}
        looked = 0
        while not walk.ended:
            members = await walk.step()
            for member in members:
                if sieve.passes(member.raw):
                    name, err = sieve.error(member.raw)
                    groups.setdefault(error_kind(err), _Group(err)).add(name, member.at or 0.0)
            walk.met(members)
            looked += len(members)
            if time.monotonic() >= deadline:
                break
        kinds = [
            ErrorKind(kind, each.count, dict(each.names), each.newest, each.example) for kind, each in groups.items()
        ]
        return ErrorKinds(sorted(kinds, key=lambda kind: -kind.count), walk.cursor, looked, walk.total)

    async def sweep(
        self, place: str, criteria: Criteria, cursor: str, seconds: float | None, now: float, act: Act | None
    ) -> Outcome:
        """Act on the jobs of a place that match, or only count them, the oldest first, while there is time.

        What came to the place after the sweep began is left alone.

        :param now: Redis's clock, epoch seconds.
        """
        began, inner = _parse_sweep(cursor, now)
        deadline = math.inf if seconds is None else time.monotonic() + seconds
        walk, sieve = Walk(self._inspection, place, inner, newest_first=False), self.sieve(place, criteria)
        done = looked = 0
        while not walk.ended:
            members = await walk.step()
            chosen = [each for each in members if sieve.passes(each.raw) and not _came_after(each.raw, began)]
            gone: Sequence[Member] = ()
            if act is None:
                done += len(chosen)
            elif chosen:
                done += await act(place, chosen)
                gone = await self._inspection.gone(place, chosen)
            walk.met(members, gone)
            looked += len(members)
            if time.monotonic() >= deadline:
                break
        return Outcome(done, looked, cursor=f"{began}|{walk.cursor}" if walk.cursor else "")


class _Group:
    """Jobs with errors of one kind."""

    def __init__(self, example: str) -> None:
        self.example = example
        self.count = 0
        self.newest = 0.0
        self.names: Counter[str] = Counter()

    def add(self, name: str, at: float) -> None:
        self.count += 1
        self.names[name] += 1
        self.newest = max(self.newest, at)


def _id_of(raw: bytes) -> str | None:
    try:
        return Job.decode(raw).id
    except PayloadError:
        return None


def _came_after(raw: bytes, began: int) -> bool:
    """Tell whether a job was enqueued or failed after an epoch second."""
    try:
        job = Job.decode(raw)
    except PayloadError:
        return False
    # A scheduled job is enqueued once and for all; a failure is what brought it to retry or dead.
    return max(job.enqueued_at, job.failed_at) > began


def _parse_place(cursor: str, places: Sequence[str]) -> tuple[int, str]:
    """Return where to go on: the number of a place, and the cursor within."""
    if not cursor:
        return 0, ""
    place, _, inner = cursor.rpartition("|")
    if place not in places:
        raise UsageError(f"not a cursor: {cursor[:80]!r}; take it from the answer before")
    return places.index(place), inner


def _parse_sweep(cursor: str, now: float) -> tuple[int, str]:
    """Return when the sweep began, and the cursor within the place."""
    if not cursor:
        return int(now), ""
    began, _, inner = cursor.partition("|")
    if not began.isascii() or not began.isdigit() or len(began) > 15:
        raise UsageError(f"not a cursor: {cursor[:80]!r}; take it from the answer before")
    return int(began), inner
