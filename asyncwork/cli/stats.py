"""``asyncwork stats``: shows the queues, pools, sizes and problems of a namespace."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys

from .._jobs.printable import utc_time
from ..errors import RedisUnavailable
from . import settings, streams
from .logs import complain
from .session import Session
from .snapshot import Snapshot, as_json, lines, read_snapshot
from .terminal import is_terminal

# Moves the cursor to the start, and clears the screen.
_CLEAR = "\x1b[H\x1b[2J"


def stats(options: argparse.Namespace) -> int:
    """Run the command; return the exit code.

    :raises UsageError: when an option is invalid.
    :raises RedisUnavailable: when Redis refuses, or cannot be reached; with --watch only at first.
    :raises OutputError: when standard output cannot be written.
    """
    every = None if options.watch is None else settings.read("--watch", options.watch, settings.interval)
    asyncio.run(_show(options, Session(options), every))
    return 0


async def _show(options: argparse.Namespace, session: Session, every: float | None) -> None:
    read_at, away = 0.0, False
    async with session.client:
        while True:
            try:
                snapshot = await read_snapshot(session.client)
            except RedisUnavailable as error:
                if not read_at:
                    raise
                if not away:
                    complain(options, f"not read since {utc_time(read_at)}: {error}")
                away = True
            else:
                read_at, away = snapshot.at, False
                text = _text(session, snapshot, as_document=options.json, watched=every is not None)
                streams.print_escaped(text, f"namespace {session.namespace} was read")
            if every is None:
                return
            await asyncio.sleep(every)


def _text(session: Session, snapshot: Snapshot, *, as_document: bool, watched: bool) -> str:
    if as_document:
        return json.dumps(as_json(session, snapshot), indent=None if watched else 2)
    text = "\n".join(lines(session, snapshot))
    return f"{_CLEAR if is_terminal(sys.stdout) else ''}{text}\n" if watched else text
