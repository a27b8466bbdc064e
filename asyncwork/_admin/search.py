"""Looks through the jobs of a namespace, for as long as time allows, and goes on where it was left."""

from __future__ import annotations

import math
import re
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Sequence

from .._jobs.location import BUSY, JOB_SETS, QUARANTINE, queue_location
from .._redis.digest_key import DigestKey
from .._redis.inspector import Inspector, Member
from .._redis.job_scan import JobScan
from ..errors import PayloadError, UsageError
from ..job import Job
from ..models import ErrorKind, ErrorKinds, Found, JobRecord, Outcome
from .job_ref import Handle, handle_digest
from .query import EVERYTHING, Criteria, Sieve, error_kind
from .redaction import Redaction

# Seconds that one call looks for jobs unless told otherwise.
PATIENCE = 0.05

# Members looked at around where a handle says that its own was.
_AROUND = 100
# Seconds after which the second is surely over in which a sweep began, also by Redis's clock.
_SECOND_OVER = 2.0

# Does something to members of a place; returns to how many.
Act = Callable[[str, Sequence[Member]], Awaitable[int]]


class Searcher:
    """Searches, groups and sweeps the places of a namespace.

    Every method raises RedisError or OSError when Redis refuses or cannot be reached, and UsageError when a cursor is
    none of its own.
    """

    def __init__(self, inspection: Inspector, redaction: Redaction, key: DigestKey) -> None:
        self._inspection = inspection
        self._redaction = redaction
        self._key = key

    async def sieve(self, place: str, criteria: Criteria = EVERYTHING, *, shows: bool = True) -> Sieve:
        """Return what decides on the payloads of a place, and shows them.

        :param shows: whether anybody sees its records, or they are only decided on.
        """
        # Who does not show digests, such as a diagnosis, must not write a key for them into Redis either.
        key = await self._key.read() if shows or self._redaction else b""
        return Sieve(place, key, criteria, self._redaction)

    async def seek(self, place: str, handles: Sequence[Handle]) -> list[Member]:
        """Find the members of a place that have these handles, in one way through it; those that are gone are left out.

        :returns: them in the order of the handles, each once.
        """
        shelf = place in JOB_SETS
        # Only the handle of a member of a sorted set has a score.
        fitting = [each for each in handles if (each.at is not None) == shelf]
        sought = _Sought(fitting, await self._key.read())
        await self._seek_around(place, sought)
        while sought.missing and (not shelf or sought.scores):
            # In a sorted set a score tells where to look; in a list all of it must be gone through.
            walk = JobScan(self._inspection, place, f"{sought.scores[0]!r}~0" if shelf else "", newest_first=not shelf)
            while sought.missing and (members := await walk.step()):
                sought.look(members)
                walk.mark_seen(members)
                if shelf and sought.passed(members[-1].at):
                    break
            if not shelf or walk.ended:
                break
        return sought.found()

    async def _seek_around(self, place: str, sought: _Sought) -> None:
        """Look where the handles say that their members were."""
        # Elements of a list move inwards as others come, members of a sorted set either way.
        before = _AROUND if place in JOB_SETS else 0
        seen = -1
        for rank in sought.ranks():
            start, end = max(seen, rank - before, 0), rank - before + 2 * _AROUND
            if start < end and rank >= seen:
                members, _ = await self._inspection.members(
                    place, start, end - start, newest_first=place not in JOB_SETS
                )
                sought.look(members)
                seen = end

    async def search(
        self, place: str, criteria: Criteria, cursor: str, limit: int, seconds: float, *, newest_first: bool
    ) -> Found:
        """Look for jobs in a place until enough are found, time is up, or everything was looked at."""
        walk = JobScan(self._inspection, place, cursor, newest_first=newest_first)
        sieve, deadline = await self.sieve(place, criteria), time.monotonic() + seconds
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
            walk.mark_seen(members)
            looked += len(members)
            if time.monotonic() >= deadline:
                break
        return Found(found, walk.cursor, looked, walk.total)

    async def find(self, text: str, running: Sequence[JobRecord], cursor: str, limit: int, seconds: float) -> Found:
        """Look for jobs with a text in all places, one after the other, the ``running`` ones first."""
        criteria, deadline = Criteria(text=text), time.monotonic() + seconds
        places = [BUSY, *JOB_SETS, QUARANTINE, *map(queue_location, await self._inspection.names())]
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

    async def of_time(self, place: str, at: int, job_id: str) -> list[Member]:
        """Return the members of a sorted set with a score and a job's id, as it is shown; if there is none, those whose
        score is that but for a fraction, which whole seconds do not show.
        """
        walk, found = JobScan(self._inspection, place, f"{float(at)!r}~0", newest_first=False), []
        sieve = await self.sieve(place, shows=False)
        while members := await walk.step():
            of_time = [each for each in members if each.at is not None and at <= each.at < at + 1]
            found += [each for each in of_time if self._id_of(each.raw, sieve) == job_id]
            if len(of_time) < len(members):
                break
            walk.mark_seen(members)
        return [each for each in found if each.at == at] or found

    def _id_of(self, raw: bytes, sieve: Sieve) -> str | None:
        try:
            return sieve.record(raw).id if self._redaction else _read_id(raw)
        except PayloadError:
            return None

    async def error_kinds(self, place: str, criteria: Criteria, cursor: str, seconds: float) -> ErrorKinds:
        """Group the jobs of a place that match by the kind of their error, the newest first, while there is time."""
        walk = JobScan(self._inspection, place, cursor)
        sieve, deadline = await self.sieve(place, criteria, shows=False), time.monotonic() + seconds
        groups: dict[str, _Group] = {}
        looked = 0
        while not walk.ended:
            members = await walk.step()
            for member in members:
                if sieve.passes(member.raw):
                    name, err = sieve.error(member.raw)
                    # The quarantine is a list: when something was set aside, its entry tells.
                    at = sieve.record(member.raw).at if place == QUARANTINE else member.at
                    groups.setdefault(error_kind(err), _Group(err)).add(name, at or 0.0)
            walk.mark_seen(members)
            looked += len(members)
            if time.monotonic() >= deadline:
                break
        kinds = [
            ErrorKind(kind, each.count, dict(each.names), each.newest, each.example, each.oldest)
            for kind, each in groups.items()
        ]
        return ErrorKinds(sorted(kinds, key=lambda kind: -kind.count), walk.cursor, looked, walk.total)

    async def _newest(self, place: str, began: int) -> int:
        """Return up to when a failure may be told in a place where a sweep begins: workers' clocks may be ahead."""
        if place != "dead":
            return began
        members, _ = await self._inspection.members(place, 0, 1, newest_first=True)
        ahead = members[0].at if members else None
        return int(min(max(began, ahead or 0.0), 2.0**62))

    async def sweep(
        self,
        place: str,
        criteria: Criteria,
        cursor: str,
        seconds: float | None,
        now: float,
        act: Act | None,
        *,
        requeues: bool,
    ) -> Outcome:
        """Act on the jobs of a place that match, or only count them, the oldest first, while there is time.

        What came to the place after the sweep began is left alone, in the same second too.

        :param now: Redis's clock, epoch seconds.
        :param requeues: whether the act puts jobs on their queues, so that they may be back soon.
        """
        began, newest, inner = _parse_sweep(cursor) if cursor else (int(now), await self._newest(place, int(now)), "")
        bound = _Bound(began, newest, resumed=requeues and bool(cursor))
        deadline = math.inf if seconds is None else time.monotonic() + seconds
        walk = JobScan(self._inspection, place, inner, newest_first=False)
        sieve = await self.sieve(place, criteria, shows=False)
        done = looked = 0
        while not walk.ended:
            members = await walk.step()
            chosen = [each for each in members if sieve.passes(each.raw) and bound.was_there(each.raw)]
            gone: Sequence[Member] = ()
            if act is None:
                done += len(chosen)
            elif chosen:
                if requeues:
                    bound.acted_on(each.raw for each in chosen)
                done += await act(place, chosen)
                gone = await self._inspection.gone(place, chosen)
            walk.mark_seen(members, gone)
            looked += len(members)
            if time.monotonic() >= deadline:
                break
        return Outcome(done, looked, cursor=f"{began}+{newest - began}|{walk.cursor}" if walk.cursor else "")


class _Bound:
    """Tells what was in a place when a sweep of it began. A job that the sweep has put on its queue may be back soon.

    :param began: when the sweep began, epoch second of Redis's clock.
    :param newest: up to when a failure may be told in what was there, epoch second.
    :param resumed: whether the sweep had begun in an earlier call, which may have acted on what is met now.
    """

    def __init__(self, began: int, newest: int, *, resumed: bool) -> None:
        self._began = began
        self._newest = newest
        self._resumed = resumed
        # The ids of jobs that were enqueued in the second in which the sweep began, and were acted on.
        self._acted_on: set[str] = set()
        self._until = time.monotonic() + _SECOND_OVER

    def was_there(self, raw: bytes) -> bool:
        """Tell whether a job was there when the sweep began, and was not acted on by it."""
        try:
            job = Job.decode(raw)
        except PayloadError:
            return True
        # A failure tells the time of the clock of its worker; what was put on its queue tells Redis's.
        if job.enqueued_at == self._began:
            return not self._resumed and job.id not in self._acted_on
        return job.enqueued_at < self._began and job.failed_at <= self._newest

    def acted_on(self, raws: Iterable[bytes]) -> None:
        """Note jobs that are acted on now."""
        if time.monotonic() < self._until:
            self._acted_on.update(job_id for raw in raws if (job_id := _read_id(raw)))


def _read_id(raw: bytes) -> str | None:
    try:
        return Job.decode(raw).id
    except PayloadError:
        return None


class _Group:
    """Jobs with errors of one kind."""

    def __init__(self, example: str) -> None:
        self.example = example
        self.count = 0
        self.newest = self.oldest = 0.0
        self.names: Counter[str] = Counter()

    def add(self, name: str, at: float) -> None:
        self.count += 1
        self.names[name] += 1
        self.newest = max(self.newest, at)
        self.oldest = min(self.oldest or at, at)


class _Sought:
    """The members that some handles are of, found bit by bit.

    :ivar missing: which were not found yet: their scores and digests.
    :ivar scores: those of the missing in a sorted set, ascending.
    """

    def __init__(self, handles: Sequence[Handle], key: bytes) -> None:
        self._key = key
        self._ranks = sorted({each.rank for each in handles})
        # A list may hold the same bytes several times, of which each copy has its own rank.
        self._wanted = Counter((each.at, each.digest) for each in dict.fromkeys(handles))
        self._found: dict[tuple[float | None, str], list[Member]] = {which: [] for which in self._wanted}
        self.missing = set(self._wanted)
        self._count_scores()

    def _count_scores(self) -> None:
        self.scores = sorted({at for at, _ in self.missing if at is not None})

    def ranks(self) -> list[int]:
        """Return about where the members were, ascending."""
        return self._ranks

    def look(self, members: Sequence[Member]) -> None:
        """Take those that are sought from among members."""
        for member in members:
            which = (member.at, handle_digest(member.raw, self._key))
            if which in self.missing and member not in self._found[which]:
                self._found[which].append(member)
                if len(self._found[which]) == self._wanted[which]:
                    self.missing.discard(which)
        self._count_scores()

    def passed(self, at: float | None) -> bool:
        """Give up those with a lower score than that of the member that was looked at last; tell whether others are
        far from it.
        """
        if at is None:
            return False
        self.missing = {each for each in self.missing if each[0] is not None and each[0] >= at}
        self._count_scores()
        return not self.scores or self.scores[0] > at

    def found(self) -> list[Member]:
        """Return the members in the order of the handles."""
        return [member for members in self._found.values() for member in members]


def _parse_place(cursor: str, places: Sequence[str]) -> tuple[int, str]:
    """Return where to go on: the number of a place, and the cursor within."""
    if not cursor:
        return 0, ""
    place, _, inner = cursor.rpartition("|")
    if place not in places:
        raise UsageError(f"not a cursor: {cursor[:80]!r}; take it from the answer before")
    return places.index(place), inner


def _parse_sweep(cursor: str) -> tuple[int, int, str]:
    """Return when the sweep began, up to when a failure may be told in what was there, and the cursor within."""
    found = re.fullmatch(r"([0-9]{1,15})\+([0-9]{1,19})\|(.*)", cursor, re.ASCII | re.DOTALL)
    if found is None:
        raise UsageError(f"not a cursor: {cursor[:80]!r}; take it from the answer before")
    return int(found[1]), int(found[1]) + int(found[2]), found[3]
