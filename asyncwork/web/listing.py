"""Lists of jobs: a page of a place, or what a search of it found within its time."""

from __future__ import annotations

from dataclasses import dataclass

from .._admin.query import Criteria
from ..models import JobRecord
from .params import Fields
from .render import Ask

_PER_PAGE = 25
# Seconds that a search for a page takes at most, and one for the live parts of a page that is open.
_PATIENCE = 0.1
_AGAIN = 0.02
# More jobs than anybody has; how many a page says that it has looked at comes from its URL.
_MOST = 10**12


@dataclass(frozen=True, slots=True)
class Listing:
    """Some of the jobs in a place.

    :ivar total: how many there are, whether sought or not.
    :ivar searched: whether only some of them are sought.
    :ivar page, pages: which page of how many; a search has none.
    :ivar cursor: where a search goes on; empty when everything has been looked at.
    :ivar seen: how many jobs were looked at for the pages before this one.
    :ivar looked: how many were looked at so far, with those of this page.
    :ivar partial: whether the page that is open already shows more than this.
    """

    place: str
    criteria: Criteria
    records: list[JobRecord]
    total: int
    order: str = ""
    page: int = 1
    pages: int = 1
    searched: bool = False
    cursor: str = ""
    seen: int = 0
    looked: int = 0
    partial: bool = False


async def look(ask: Ask, place: str, criteria: Criteria, *, newest_first: bool) -> Listing:
    """Return the part of a place that a page asks for.

    :param newest_first: which end is first unless the page asks for another.
    """
    if place.startswith("queue:"):
        newest_first = False
    elif place != "quarantine":
        newest_first = ask.fields.newest_first(newest_first)
    if criteria:
        return await _search(ask, place, criteria, newest_first)
    client, per_page = ask.client, ask.fields.per_page(_PER_PAGE)
    found = await client.jobs(place, ask.fields.page(), per_page=per_page, newest_first=newest_first)
    pages = max(1, -(-found.total // per_page))
    if found.page > pages:
        # The list has become shorter since.
        found = await client.jobs(place, pages, per_page=per_page, newest_first=newest_first)
    order = "newest" if newest_first else "oldest"
    return Listing(place, criteria, found.jobs, found.total, order, found.page, pages)


async def _search(ask: Ask, place: str, criteria: Criteria, newest_first: bool) -> Listing:
    per_page, seen = ask.fields.per_page(_PER_PAGE), already_seen(ask.fields)
    found = await ask.client.search(
        place,
        criteria,
        cursor=ask.fields.text("cursor"),
        limit=per_page,
        seconds=_AGAIN if ask.live else _PATIENCE,
        newest_first=newest_first,
    )
    return Listing(
        place,
        criteria,
        found.jobs,
        found.total,
        order="newest" if newest_first else "oldest",
        searched=True,
        cursor=found.cursor,
        seen=seen,
        looked=min(seen + found.looked, found.total),
        partial=ask.live and bool(found.cursor) and len(found.jobs) < per_page,
    )


async def find(ask: Ask, text: str) -> Listing:
    """Return what a search of all places has found."""
    per_page, seen = ask.fields.per_page(_PER_PAGE), already_seen(ask.fields)
    seconds = _AGAIN if ask.live else _PATIENCE
    found = await ask.client.find(text, cursor=ask.fields.text("cursor"), limit=per_page, seconds=seconds)
    looked = seen + found.looked
    return Listing(
        "",
        Criteria(text=text),
        found.jobs,
        max(found.total, looked),
        searched=True,
        cursor=found.cursor,
        seen=seen,
        looked=looked,
        partial=ask.live and bool(found.cursor) and len(found.jobs) < per_page,
    )


def already_seen(fields: Fields) -> int:
    """Return how many jobs were looked at before, as a page's URL says."""
    return fields.whole("seen", 0, low=0, high=_MOST)
