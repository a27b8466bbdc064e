"""``asyncwork limits``: shows the limits that job types and other code share, and changes one."""

from __future__ import annotations

import argparse
import asyncio
from dataclasses import asdict

from .._environment import number
from .._jobs.printable import printable, shown
from ..errors import UsageError
from ..limit import check_limit_name
from ..models.limits import LimitInfo
from ..rate import Rate
from . import json_text, settings
from .errors import NothingMatches
from .session import Session
from .table import Column, Row, table

_COLUMNS = (
    Column("LIMIT"),
    Column("RATE"),
    Column("TOKENS", right=True),
    Column("RUNNING", right=True),
    Column("SLOTS", right=True),
    Column("MOST", right=True),
    Column("SET"),
    Column("JOBS", shrinks=True),
)


def limits(options: argparse.Namespace) -> int:
    """Run the command; return the exit code.

    :raises UsageError: when an option is invalid.
    :raises RedisUnavailable: when Redis refuses, or cannot be reached.
    :raises OutputError: when standard output cannot be written.
    :raises NothingMatches: when there is no such limit.
    """
    session = Session(options)
    if options.verb != "set" and (options.rate is not None or options.concurrency is not None):
        raise UsageError("--rate and --concurrency are for set")
    if options.verb == "ls":
        if options.names:
            raise UsageError("ls takes no name")
        asyncio.run(_list(session, as_document=options.json))
        return 0
    if options.json:
        raise UsageError("--json is for ls")
    if len(options.names) != 1:
        raise UsageError(f"{options.verb} needs the name of one limit, such as {options.verb} openai")
    name = check_limit_name(options.names[0])
    if options.verb == "reset":
        asyncio.run(_reset(session, name))
        return 0
    if options.rate is None and options.concurrency is None:
        raise UsageError("set needs --rate, --concurrency, or both")
    rate = None if options.rate is None else settings.read("--rate", options.rate, Rate.parse)
    most = 0 if options.concurrency is None else settings.read("--concurrency", options.concurrency, _whole)
    asyncio.run(_set(session, name, rate, most))
    return 0


def _whole(text: str) -> int:
    return number(text, int, "a whole number")


async def _list(session: Session, *, as_document: bool) -> None:
    async with session.client:
        found = await session.client.limits()
    if as_document:
        lines = [
            json_text.document_text(session.target, limits=(json_text.object_text(asdict(each)) for each in found))
        ]
    elif found:
        lines = table(_COLUMNS, [_row(each) for each in found], session.width, colors=session.colors)
    else:
        lines = ["no job types share a limit"]
    session.print_lines(lines, f"namespace {session.namespace} was read")


def _row(each: LimitInfo) -> Row:
    tokens, most = str(each.tokens) if each.rate else "-", str(each.concurrency) if each.concurrency else "-"
    used = (str(each.running), str(each.slots))
    return Row([each.name, each.rate or "-", tokens, *used, most, "yes" if each.is_set else "-", ", ".join(each.jobs)])


async def _set(session: Session, name: str, rate: Rate | None, concurrency: int) -> None:
    async with session.client:
        await session.client.set_limit(name, rate=rate, concurrency=concurrency)
    numbers = [rate.label] if rate is not None else []
    numbers += [f"{concurrency:,} at once"] if concurrency else []
    line = f"limit {printable(name)} is {' and '.join(numbers) or 'none'} over all pools, until it is reset"
    session.print_lines([line], line)


async def _reset(session: Session, name: str) -> None:
    async with session.client as client:
        known = any(each.name == name for each in await client.limits())
        await client.reset_limit(name)
        has_code = any(each.name == name for each in await client.limits())
    if not known:
        raise NothingMatches(f"there is no limit {shown(name)} in this namespace")
    line = f"limit {printable(name)} has the numbers of the code"
    if not has_code:
        line = f"limit {printable(name)} is no longer set, and there are no numbers of code"
    session.print_lines([line], line)
