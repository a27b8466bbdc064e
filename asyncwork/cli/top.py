"""``asyncwork top``: shows the queues and pools of a namespace live."""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from contextlib import suppress

from .._jobs.printable import printable, utc_time
from ..errors import RedisUnavailable, UsageError
from . import settings
from .errors import OutputError
from .screen import Screen
from .session import Session
from .snapshot import QueueRow, read_snapshot
from .terminal import is_terminal
from .top_view import View, read_details


def top(options: argparse.Namespace) -> int:
    """Run the command; return the exit code.

    :raises UsageError: when an option is invalid, or standard input and output are no terminal.
    :raises RedisUnavailable: when Redis refuses, or cannot be reached at first.
    :raises OutputError: when standard output cannot be written.
    """
    every = settings.read("--interval", options.interval, settings.interval)
    session = Session(options)
    if not (is_terminal(sys.stdin) and is_terminal(sys.stdout)):
        raise UsageError("top needs a terminal; `asyncwork stats` prints the same once")
    if os.environ.get("TERM") == "dumb":
        raise UsageError(
            "top needs a terminal with a cursor, and TERM is 'dumb'; `asyncwork stats` prints the same once"
        )
    return asyncio.run(_Top(session, every).run())


class _Top:
    """Reads the namespace again and again, and draws it.

    :param every: seconds between two readings.
    """

    def __init__(self, session: Session, every: float) -> None:
        self._session = session
        self._client = session.client
        self._every = every
        self._view = View(session)
        self._changed = asyncio.Event()
        self._read_now = asyncio.Event()
        self._code: int | None = None
        self._pausing: set[asyncio.Task[None]] = set()

    async def run(self) -> int:
        """Show the namespace until a key or a signal ends it; return the exit code."""
        async with self._client:
            self._view.show(await read_snapshot(self._client))
            screen = Screen(self._on_key, self._changed.set, lambda number: self._end(128 + number))
            try:
                with screen.entered():
                    return await self._draw_until_end(screen)
            except OSError as error:
                raise OutputError(f"the terminal is gone: {error}") from None

    async def _draw_until_end(self, screen: Screen) -> int:
        reading = asyncio.create_task(self._read_until_end())
        try:
            while self._code is None and not reading.done():
                self._changed.clear()
                screen.draw(self._view.lines(*screen.size))
                await self._changed.wait()
        finally:
            for task in (reading, *self._pausing):
                task.cancel()
            await asyncio.gather(*self._pausing, return_exceptions=True)
            # An exception of the reading is a defect, and is raised.
            with suppress(asyncio.CancelledError):
                await reading
        return self._code or 0

    async def _read_until_end(self) -> None:
        try:
            while True:
                self._read_now.clear()
                await self._read()
                self._changed.set()
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._read_now.wait(), self._every)
        finally:
            self._changed.set()

    async def _read(self) -> None:
        opened = self._view.opened
        try:
            snapshot = await read_snapshot(self._client)
            details = await read_details(self._client, opened) if opened else None
        except RedisUnavailable as error:
            self._view.problem = f"not read since {utc_time(self._view.at)[11:]}: {error}"
        else:
            self._view.problem = ""
            self._view.show(snapshot, details)

    def _end(self, code: int) -> None:
        self._code = code
        self._changed.set()

    def _on_key(self, key: str) -> None:
        self._view.message = ""
        if key in ("q", "\x03", "\x04"):
            self._end(0)
        elif key == "p":
            if (chosen := self._view.chosen) and not self._pausing:
                task = asyncio.create_task(self._pause(chosen))
                self._pausing.add(task)
                task.add_done_callback(self._pausing.discard)
        else:
            opened = self._view.opened
            self._view.on_key(key)
            if self._view.opened != opened:
                self._read_now.set()
        self._changed.set()

    async def _pause(self, chosen: QueueRow) -> None:
        queue = chosen.queue
        try:
            await (self._client.unpause if queue.paused else self._client.pause)(queue.name)
        except RedisUnavailable as error:
            self._view.message = f"queue {printable(queue.name)} is as it was: {error}"
        else:
            self._view.message = f"queue {printable(queue.name)} is {'not ' if queue.paused else ''}paused"
            # Until the new state is known, the key does nothing.
            await self._read()
        self._changed.set()
