"""``asyncwork stats``: shows the queues, pools, sizes and problems of a namespace."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys

from . import settings, streams
from .session import Session
from .snapshot import as_json, lines, read_snapshot
from .terminal import is_terminal

# Moves the cursor to the start, and clears the screen.
_CLEAR = "\x1b[H\x1b[2J"


def stats(options: argparse.Namespace) -> int:
    """Run the command; return the exit code.

    :raises UsageError: when an option is invalid.
    :raises RedisUnavailable: when Redis refuses, or cannot be reached.
    :raises OutputError: when standard output cannot be written.
    """
    every = None if options.watch is None else settings.read("--watch", options.watch, settings.interval)
    asyncio.run(_show(Session(options), every, as_document=options.json))
    return 0


async def _show(session: Session, every: float | None, *, as_document: bool) -> None:
    async with session.client:
        while True:
            snapshot = await read_snapshot(session.client)
            if as_document:
                text = json.dumps(as_json(session, snapshot), indent=2 if every is None else None)
            else:
                text = "\n".join(lines(session, snapshot))
                if every is not None:
                    text = f"{_CLEAR if is_terminal(sys.stdout) else ''}{text}\n"
            streams.print_escaped(text, f"namespace {session.namespace} was read")
            if every is None:
                return
            await asyncio.sleep(every)
