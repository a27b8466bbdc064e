"""The selection of the jobs that a command shows or acts on."""

from __future__ import annotations

import argparse
from collections.abc import AsyncIterator
from typing import Any, NamedTuple

from .._admin.finished import FINISHED
from .._admin.query import JobQuery, error_kind
from .._jobs.location import BUSY, JobSet
from .._jobs.printable import printable, shown
from .._json import codec
from ..client import Client
from ..errors import PayloadError, UsageError
from ..models.job_record import JobRecord
from .job_text import record_of
from .progress_bar import ProgressBar

# Seconds for which one call searches or acts, between two versions of the progress bar.
STEP_SECONDS = 0.5
_PER_PAGE = 200


class Selection(NamedTuple):
    """The jobs that match.

    :ivar location: where they are; empty for all locations.
    :ivar query: what they must match.
    :ivar limit: how many of them; ``None`` for all.
    :ivar text: what is searched for in all locations.
    """

    location: str
    query: JobQuery
    limit: int | None
    text: str = ""

    @property
    def newest_first(self) -> bool:
        """Whether the last jobs are shown first: where jobs have come to rest."""
        return self.location in (JobSet.DEAD, "quarantine")

    def words(self) -> str:
        """Return the location as words."""
        return printable(self.location)

    async def records(self, client: Client, bar: ProgressBar) -> tuple[list[JobRecord], int]:
        """Return the jobs, and how many jobs there are in the location."""
        found: list[JobRecord] = []
        total = 0
        async for some, total in self._pages(client, bar):
            found += some
            if self.limit is not None and len(found) >= self.limit:
                return found[: self.limit], total
        return found, total

    async def _pages(self, client: Client, bar: ProgressBar) -> AsyncIterator[tuple[list[JobRecord], int]]:
        if not self.location:
            pages = self._found(client, bar)
        elif self.location == FINISHED:
            pages = self._finished(client, bar)
        elif self._searches:
            pages = self._matching(client, bar)
        else:
            pages = self._listed(client, bar)
        async for records, total in pages:
            # How many jobs there are in all locations is unknown until all were read.
            bar.total = total if self.location else 0
            yield records, total

    @property
    def _searches(self) -> bool:
        """Whether the jobs are searched for, which misses none while others come and go."""
        if self.location == BUSY:
            return False
        # A search reads a queue from its end, and a list shows it from its front.
        return bool(self.query) or (self.limit is None and not self.location.startswith("queue:"))

    async def _found(self, client: Client, bar: ProgressBar) -> AsyncIterator[tuple[list[JobRecord], int]]:
        cursor, limit, total = "", self.limit or _PER_PAGE, 0
        while True:
            result = await client.find(self.text, cursor=cursor, limit=limit, seconds=STEP_SECONDS)
            bar.done, total, cursor = bar.done + result.looked, max(total, result.total), result.cursor
            yield result.jobs, total
            if not cursor:
                return

    async def _matching(self, client: Client, bar: ProgressBar) -> AsyncIterator[tuple[list[JobRecord], int]]:
        cursor, limit = "", self.limit or _PER_PAGE
        while True:
            result = await client.search(
                self.location,
                self.query,
                cursor=cursor,
                limit=limit,
                seconds=STEP_SECONDS,
                newest_first=self.newest_first,
            )
            bar.done, cursor = bar.done + result.looked, result.cursor
            yield result.jobs, result.total
            if not cursor:
                return

    async def _finished(self, client: Client, bar: ProgressBar) -> AsyncIterator[tuple[list[JobRecord], int]]:
        page = 1
        while True:
            found = await client.finished(page, per_page=_PER_PAGE, name=self.query.name)
            records = map(record_of, found.jobs)
            bar.done += len(found.jobs)
            yield [each for each in records if self.query.match(each)], found.total
            if page >= found.pages:
                return
            page += 1

    async def _listed(self, client: Client, bar: ProgressBar) -> AsyncIterator[tuple[list[JobRecord], int]]:
        page, per_page = 1, min(_PER_PAGE, self.limit or _PER_PAGE)
        while True:
            found = await client.jobs(self.location, page, per_page=per_page, newest_first=self.newest_first)
            bar.done += len(found.jobs)
            yield [each for each in found.jobs if self.query.match(each)], found.total
            if page * per_page >= found.total:
                return
            page += 1


def query_of(options: argparse.Namespace) -> JobQuery:
    """Return the query of the options.

    :raises UsageError: when one is invalid.
    """
    error = None if options.error is None else error_kind(options.error)
    return JobQuery(
        name=options.name,
        error=error,
        text=options.text or "",
        id=options.id,
        args=dict(_argument(each) for each in options.arg),
    )


def _argument(text: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    if not name or not equals:
        raise UsageError(f"--arg: KEY=VALUE is needed, such as user=7, not {shown(text)}")
    try:
        return name, codec.decode(value.encode(errors="surrogateescape"))
    except PayloadError:
        return name, value
