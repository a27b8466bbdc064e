"""Find members of a location by page, by job ref, or by time and id."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from .._jobs.location import JOB_SETS, check_location
from .._jobs.option_checks import check_whole
from .._redis.inspector import Inspector
from .._redis.job_scan import JobScan
from .._redis.located_payload import LocatedPayload
from ..errors import PayloadError
from ..job import Job
from ..models.job_record import JobRecord, Page
from .job_records import JobReader, JobReaders
from .job_ref import JobRef, ref_digest

_MOST_PER_PAGE = 200
# Members that are read around the rank in a ref.
_AROUND = 100


class JobLookup:
    """Finds members of a location.

    Every method raises RedisError or OSError when Redis refuses or cannot be reached.
    """

    def __init__(self, inspector: Inspector, readers: JobReaders) -> None:
        self._inspector = inspector
        self._readers = readers

    def page_of(self, records: Sequence[JobRecord], page: int, per_page: int) -> Page:
        """Return a page of some records.

        :raises UsageError: when a number is out of range.
        """
        start = start_of(page, per_page)
        return Page(list(records[start : start + per_page]), len(records), page, per_page)

    async def page(self, location: str, page: int, per_page: int, *, newest_first: bool) -> Page:
        """Return a page of the jobs in a location.

        :raises UsageError: when an argument is out of range, or the location is not one.
        """
        check_location(location)
        start = start_of(page, per_page)
        members, total = await self._inspector.members(location, start, per_page, newest_first=newest_first)
        reader = await self._readers.reader(location)
        return Page([reader.record(*each) for each in members], total, page, per_page)

    async def job(self, location: str, ref: str) -> JobRecord | None:
        """Return the record of the job with a ref; ``None`` when it is gone.

        :raises UsageError: when the ref is invalid, or the location is not one.
        """
        check_location(location)
        found = await self.by_ref(location, [JobRef.parse(ref)])
        reader = await self._readers.reader(location)
        return reader.record(*found[0]) if found else None

    async def by_ref(self, location: str, refs: Sequence[JobRef]) -> list[LocatedPayload]:
        """Return the members of a location with these refs, in the order of the refs, each once.

        It scans the location at most once. Members that are gone are left out.
        """
        in_set = location in JOB_SETS
        # Only the ref of a member of a sorted set has a score.
        search = _RefSearch(
            [each for each in refs if (each.at is not None) == in_set], await self._readers.digest_key.read()
        )
        await self._read_around(location, search)
        while search.missing and (not in_set or search.scores):
            # In a sorted set the score says where to read; a list must be scanned from its start to its end.
            cursor = f"{search.scores[0]!r}~0" if in_set else ""
            scan = JobScan(self._inspector, location, cursor, newest_first=not in_set)
            while search.missing and (members := await scan.step()):
                search.take(members)
                scan.mark_seen(members)
                if in_set and search.skip_to(members[-1].at):
                    break
            if not in_set or scan.ended:
                break
        return search.found()

    async def _read_around(self, location: str, search: _RefSearch) -> None:
        """Read the members around the ranks in the refs."""
        # Elements of a list move inwards as others are pushed; members of a sorted set move either way.
        before = _AROUND if location in JOB_SETS else 0
        read = -1
        for rank in search.ranks:
            start, end = max(read, rank - before, 0), rank - before + 2 * _AROUND
            if start < end and rank >= read:
                newest_first = location not in JOB_SETS
                members, _ = await self._inspector.members(location, start, end - start, newest_first=newest_first)
                search.take(members)
                read = end

    async def by_time(self, location: str, at: int, job_id: str) -> list[LocatedPayload]:
        """Return the members of a sorted set with the score ``at`` and this (redacted) job id.

        If there are none, return the members whose score is ``at`` plus a fraction, because whole seconds do not show
        the fraction.
        """
        scan, found = JobScan(self._inspector, location, f"{float(at)!r}~0", newest_first=False), []
        reader = await self._readers.reader(location, shows=False)
        while members := await scan.step():
            of_second = [each for each in members if each.at is not None and at <= each.at < at + 1]
            found += [each for each in of_second if self._id_of(each.raw, reader) == job_id]
            if len(of_second) < len(members):
                break
            scan.mark_seen(members)
        return [each for each in found if each.at == at] or found

    def _id_of(self, raw: bytes, reader: JobReader) -> str | None:
        try:
            return reader.record(raw).id if self._readers.redaction else Job.decode(raw).id
        except PayloadError:
            return None


def pages_of(total: int, per_page: int) -> int:
    """Return how many pages some items fill; 1 if there are none."""
    return max(1, -(-total // per_page))


def start_of(page: int, per_page: int) -> int:
    """Return the position of the first item of a page.

    :param page: from 1.
    :raises UsageError: when a number is out of its range.
    """
    check_whole(page, "page", 1, 2**40)
    check_whole(per_page, "per_page", 1, _MOST_PER_PAGE)
    return (page - 1) * per_page


class _RefSearch:
    """The members that are searched for by their refs, and those that were found.

    :ivar missing: the scores and digests of members that were not found yet.
    :ivar scores: the scores of the missing members in a sorted set, ascending.
    :ivar ranks: the ranks in the refs, ascending.
    """

    def __init__(self, refs: Sequence[JobRef], key: bytes) -> None:
        self._key = key
        self.ranks = sorted({each.rank for each in refs})
        # A list may hold the same bytes several times; each copy has its own rank.
        self._wanted = Counter((each.at, each.digest) for each in dict.fromkeys(refs))
        self._found: dict[tuple[float | None, str], list[LocatedPayload]] = {wanted: [] for wanted in self._wanted}
        self.missing = set(self._wanted)
        self._update_scores()

    def _update_scores(self) -> None:
        self.scores = sorted({at for at, _ in self.missing if at is not None})

    def take(self, members: Sequence[LocatedPayload]) -> None:
        """Take the missing members from among ``members``."""
        for member in members:
            wanted = (member.at, ref_digest(member.raw, self._key))
            if wanted in self.missing and member not in self._found[wanted]:
                self._found[wanted].append(member)
                if len(self._found[wanted]) == self._wanted[wanted]:
                    self.missing.discard(wanted)
        self._update_scores()

    def skip_to(self, at: float | None) -> bool:
        """Give up the members with a lower score than ``at``, the score of the last member read.

        :returns: whether all others have a higher score, so that members between can be skipped.
        """
        if at is None:
            return False
        self.missing = {each for each in self.missing if each[0] is not None and each[0] >= at}
        self._update_scores()
        return not self.scores or self.scores[0] > at

    def found(self) -> list[LocatedPayload]:
        """Return the members in the order of the refs."""
        return [member for members in self._found.values() for member in members]
