"""``asyncwork unique``: shows which jobs hold keys until they have ended, and frees the key of one."""

from __future__ import annotations

import argparse
import asyncio
import time
from collections.abc import Sequence
from dataclasses import asdict

from .._jobs.printable import printable
from ..errors import UsageError
from ..models.unique_holder import UniqueHolder
from . import json_text
from .errors import NothingMatches
from .session import Session
from .table import Column, Row, table
from .times import age

_COLUMNS = (
    Column("JOB"),
    Column("NAME", shrinks=True),
    Column("HELD", right=True),
    Column("UNTIL"),
    Column("NEXT"),
)
# The most holders that are listed.
_MOST = 1_000


def unique(options: argparse.Namespace) -> int:
    """Run the command; return the exit code.

    :raises UsageError: when an option is invalid.
    :raises NothingMatches: when the job holds no key.
    :raises RedisUnavailable: when Redis refuses, or cannot be reached.
    :raises OutputError: when standard output cannot be written.
    """
    session = Session(options)
    if options.verb == "free":
        if len(options.words) != 2:
            raise UsageError("free needs the name and the id of a job, as `asyncwork unique` shows them")
        if options.json:
            raise UsageError("--json is for ls")
        asyncio.run(_free(session, *options.words))
    else:
        if len(options.words) > 1:
            raise UsageError("ls takes one name of jobs at most")
        asyncio.run(_list(session, options.words, as_document=options.json))
    return 0


async def _list(session: Session, names: Sequence[str], *, as_document: bool) -> None:
    async with session.client:
        found = await session.client.unique_holders(*names, limit=_MOST)
    if as_document:
        holders = (json_text.object_text(asdict(each)) for each in found)
        lines = [json_text.document_text(session.target, holders=holders)]
    elif found:
        now = time.time()
        lines = table(_COLUMNS, [_row(each, now) for each in found], session.width, colors=session.colors)
    else:
        lines = ["no job holds a key until it has ended"]
    session.print_lines(lines, f"namespace {session.namespace} was read")


def _row(each: UniqueHolder, now: float) -> Row:
    return Row([each.job_id, each.name, age(min(each.since, now), now), each.until, each.next_id or "-"])


async def _free(session: Session, name: str, job_id: str) -> None:
    async with session.client:
        if not await session.client.free_unique(name, job_id):
            raise NothingMatches(f"job {printable(job_id)} of {printable(name)} holds no key")
    line = f"the key of job {printable(job_id)} is free"
    session.print_lines([line], line)
