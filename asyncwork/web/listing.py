"""Lists of jobs on pages: one page of a location, or what a search found within its time limit."""

from __future__ import annotations

from dataclasses import dataclass

from .._admin.lookup import pages_of
from .._admin.query import JobQuery
from ..models.job_record import JobRecord, SearchResult
from .params import Params
from .render import PageRequest

_PER_PAGE = 25
# Seconds that a search may take for a new page, and for the live sections of an open page.
_SEARCH_TIMEOUT = 0.1
_LIVE_SEARCH_TIMEOUT = 0.02
# Bound of the number of checked jobs that a URL may claim; no namespace has that many jobs.
MAX_JOBS = 10**12


@dataclass(frozen=True, slots=True)
class SearchProgress:
    """How far a search has got.

    :ivar cursor: continues the search; empty when all jobs were checked.
    :ivar seen: how many jobs were checked for earlier pages.
    :ivar looked: how many jobs have been checked in total, including this page.
    :ivar partial: whether the open page already shows more than this.
    """

    cursor: str = ""
    seen: int = 0
    looked: int = 0
    partial: bool = False


@dataclass(frozen=True, slots=True)
class Listing:
    """A page of jobs.

    :ivar total: the number of jobs in the location, matching or not.
    :ivar page, pages: the number of this page, and of all pages; not used by a search.
    :ivar search: the progress of a search; ``None`` when all jobs are listed.
    """

    location: str
    job_query: JobQuery
    records: list[JobRecord]
    total: int
    order: str = ""
    page: int = 1
    pages: int = 1
    search: SearchProgress | None = None

    @property
    def cursor(self) -> str:
        """Continues a search; empty when all jobs were checked, or all are listed."""
        return self.search.cursor if self.search else ""

    @property
    def partial(self) -> bool:
        """Whether the open page already shows more than this."""
        return self.search is not None and self.search.partial


async def list_jobs(page: PageRequest, location: str, job_query: JobQuery, *, newest_first: bool) -> Listing:
    """Return the requested page of a location's jobs.

    :param newest_first: the default order; the page's parameters may override it.
    """
    if location.startswith("queue:"):
        newest_first = False
    elif location != "quarantine":
        newest_first = page.params.newest_first(newest_first)
    if job_query:
        return await _search(page, location, job_query, newest_first)
    client, per_page = page.client, page.params.per_page(_PER_PAGE)
    found = await client.jobs(location, page.params.page(), per_page=per_page, newest_first=newest_first)
    pages = pages_of(found.total, per_page)
    if found.page > pages:
        # The list has become shorter since the link was made.
        found = await client.jobs(location, pages, per_page=per_page, newest_first=newest_first)
    order = "newest" if newest_first else "oldest"
    return Listing(location, job_query, found.jobs, found.total, order, found.page, pages)


async def _search(page: PageRequest, location: str, job_query: JobQuery, newest_first: bool) -> Listing:
    per_page, seen = page.params.per_page(_PER_PAGE), already_seen(page.params)
    found = await page.client.search(
        location,
        job_query,
        cursor=page.params.text("cursor"),
        limit=per_page,
        seconds=_LIVE_SEARCH_TIMEOUT if page.live else _SEARCH_TIMEOUT,
        newest_first=newest_first,
    )
    looked = min(seen + found.looked, found.total)
    order = "newest" if newest_first else "oldest"
    return Listing(location, job_query, found.jobs, found.total, order, search=_progress(page, found, seen, looked))


async def find_jobs(page: PageRequest, text: str) -> Listing:
    """Return the result of a search in all locations."""
    per_page, seen = page.params.per_page(_PER_PAGE), already_seen(page.params)
    seconds = _LIVE_SEARCH_TIMEOUT if page.live else _SEARCH_TIMEOUT
    found = await page.client.find(text, cursor=page.params.text("cursor"), limit=per_page, seconds=seconds)
    looked = seen + found.looked
    search = _progress(page, found, seen, looked)
    return Listing("", JobQuery(text=text), found.jobs, max(found.total, looked), search=search)


def _progress(page: PageRequest, found: SearchResult, seen: int, looked: int) -> SearchProgress:
    partial = page.live and bool(found.cursor) and len(found.jobs) < page.params.per_page(_PER_PAGE)
    return SearchProgress(found.cursor, seen, looked, partial)


def already_seen(params: Params) -> int:
    """Return how many jobs were checked for earlier pages, according to the URL."""
    return params.integer("seen", 0, low=0, high=MAX_JOBS)
