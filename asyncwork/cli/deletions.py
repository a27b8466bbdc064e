"""``asyncwork deletions``: shows the deletions of jobs that can be undone, and undoes one."""

from __future__ import annotations

import argparse
import asyncio
import time
from collections.abc import Sequence

from .._jobs.printable import plural, printable
from ..errors import UsageError
from ..models.actions import Deletion
from . import json_text
from .errors import NothingMatches
from .job_text import record_json
from .session import Session
from .table import Column, Row, table
from .times import age, brief

_COLUMNS = (
    Column("TOKEN"),
    Column("JOBS", right=True),
    Column("LOCATION", shrinks=True),
    Column("DELETED", right=True),
    Column("LEFT", right=True),
    Column("BY", shrinks=True),
    Column("FIRST", shrinks=True),
)


def undo_line(session: Session, undo: str) -> str:
    """Return the line that says how a deletion is undone."""
    return f"undo: {session.hints.complete(f'asyncwork deletions restore {undo}')}"


def deletions(options: argparse.Namespace) -> int:
    """Run the command; return the exit code.

    :raises UsageError: when an option or a token is invalid.
    :raises NothingMatches: when there is no such deletion, or it is too late.
    :raises RedisUnavailable: when Redis refuses, or cannot be reached.
    :raises OutputError: when standard output cannot be written.
    """
    session = Session(options)
    if options.verb == "restore":
        if not options.tokens:
            raise UsageError("restore needs the token of a deletion, as `asyncwork deletions` shows it")
        if options.json:
            raise UsageError("--json is for ls")
        asyncio.run(_restore(session, options.tokens))
    else:
        if options.tokens:
            raise UsageError("ls takes no token")
        asyncio.run(_list(session, as_document=options.json))
    return 0


async def _list(session: Session, *, as_document: bool) -> None:
    async with session.client:
        found = await session.client.deletions()
    if as_document:
        lines = [json_text.document_text(session.target, deletions=map(_as_json, found))]
    elif found:
        now = time.time()
        lines = table(_COLUMNS, [_row(each, now) for each in found], session.width, colors=session.colors)
    else:
        lines = ["no deletion can be undone"]
    session.print_lines(lines, f"namespace {session.namespace} was read")


def _row(each: Deletion, now: float) -> Row:
    return Row(
        [
            each.undo,
            f"{each.count:,}",
            each.location,
            age(min(each.at, now), now),
            brief(max(0, round(each.until - now))),
            each.who or "-",
            each.first.name or "-",
        ]
    )


def _as_json(each: Deletion) -> str:
    fields = {
        "undo": each.undo,
        "location": each.location,
        "who": each.who,
        "at": round(each.at, 3),
        "until": round(each.until, 3),
        "count": each.count,
    }
    return json_text.object_text(fields, first=record_json(each.first))


async def _restore(session: Session, tokens: Sequence[str]) -> None:
    async with session.client:
        for token in tokens:
            count = await session.client.restore(token)
            if not count:
                raise NothingMatches(f"nothing can be restored by {printable(token)}: it was restored, or is too late")
            line = f"{plural(count, 'job')} restored"
            session.print_lines([line], line)
