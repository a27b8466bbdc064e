"""Lists the jobs of ``asyncwork jobs ls``, ``show``, ``errors`` and ``find``."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, replace

from .._jobs.printable import plural, printable
from ..models.job_record import ErrorKind, JobRecord
from . import json_text
from .errors import NothingMatches
from .job_selection import STEP_SECONDS, Selection
from .job_text import full_lines, list_lines, record_json
from .progress_bar import ProgressBar, progress
from .session import Session
from .table import Column, Row, table
from .times import age

_COLUMNS = (
    Column("JOBS", right=True),
    Column("LAST", right=True),
    Column("NAMES", shrinks=True),
    Column("ERROR", shrinks=True),
)


class JobListing:
    """Prints jobs as a table, with all that is known of them, or as JSON."""

    def __init__(self, session: Session, selection: Selection, *, as_document: bool) -> None:
        self._session = session
        self._selection = selection
        self._as_document = as_document

    async def run(self, verb: str) -> None:
        """Print the jobs.

        :raises NothingMatches: when ``show`` or ``find`` finds none.
        """
        async with progress("reading") as bar:
            if verb == "errors":
                kinds = await self._error_kinds(bar)
            else:
                records, total = await self._selection.records(self._session.client, bar)
        if verb == "errors":
            self._print_kinds(kinds)
            return
        if not records and verb != "ls":
            where = "any location" if verb == "find" else self._selection.words()
            raise NothingMatches(f"no job in {where} matches")
        if self._as_document:
            head: dict[str, object] = {**self._session.target}
            if verb != "find":
                head |= {"location": self._selection.location, "total": total}
            document = json_text.document_text(head, jobs=map(record_json, records))
            self._print([document])
        elif verb == "show":
            self._print(self._full(records))
        else:
            self._print(self._listed(records, total, with_location=verb == "find"))

    def _print(self, lines: Sequence[str]) -> None:
        self._session.print_lines(lines, f"namespace {self._session.namespace} was read")

    def _full(self, records: Sequence[JobRecord]) -> list[str]:
        lines: list[str] = []
        for number, record in enumerate(records):
            lines += [*([""] if number else []), *full_lines(self._session, record)]
        return lines

    def _listed(self, records: Sequence[JobRecord], total: int, *, with_location: bool) -> list[str]:
        where = self._selection.words()
        if not records:
            return [f"no job in {where}{' matches' if self._selection.query else ''}"]
        lines = list_lines(self._session, records, with_location=with_location)
        if self._selection.query or with_location:
            more = " at least; --all shows all" if len(records) == self._selection.limit else ""
            return [*lines, f"{plural(len(records), 'job')} found{more}"]
        if len(records) < total:
            lines.append(f"{len(records):,} of {plural(total, 'job')} in {where}; --all shows all")
        return lines

    async def _error_kinds(self, bar: ProgressBar) -> list[ErrorKind]:
        kinds: dict[str, ErrorKind] = {}
        cursor = ""
        while True:
            found = await self._session.client.error_kinds(
                self._selection.location, self._selection.query, cursor=cursor, seconds=STEP_SECONDS
            )
            bar.done, bar.total, cursor = bar.done + found.looked, found.total, found.cursor
            for each in found.kinds:
                kinds[each.kind] = _sum(kinds[each.kind], each) if each.kind in kinds else each
            if not cursor:
                return sorted(kinds.values(), key=lambda kind: -kind.count)[: self._selection.limit]

    def _print_kinds(self, kinds: Sequence[ErrorKind]) -> None:
        if self._as_document:
            head = {**self._session.target, "location": self._selection.location}
            objects = (json_text.object_text(asdict(each)) for each in kinds)
            self._print([json_text.document_text(head, errors=objects)])
            return
        now = time.time()
        rows = [
            Row(
                [
                    f"{each.count:,}",
                    age(each.newest, now) if each.newest else "-",
                    ", ".join(map(printable, each.names)),
                    each.kind or "none",
                ]
            )
            for each in kinds
        ]
        if not rows:
            self._print([f"no job in {self._selection.words()}{' matches' if self._selection.query else ''}"])
            return
        self._print(table(_COLUMNS, rows, self._session.width, colors=self._session.colors))


def _sum(one: ErrorKind, other: ErrorKind) -> ErrorKind:
    names = {
        name: one.names.get(name, 0) + other.names.get(name, 0) for name in dict.fromkeys([*one.names, *other.names])
    }
    oldest = min((each.oldest for each in (one, other) if each.oldest), default=0.0)
    newest = max(one.newest, other.newest)
    return replace(one, count=one.count + other.count, names=names, newest=newest, oldest=oldest)
