"""Has the heartbeat say whether a pool looks ahead."""

from __future__ import annotations

import asyncio
from typing import Any

from .._redis.commands import BeginLookAhead, EndLookAhead
from .fetch_state import FetchState
from .look_ahead import KEPT, Announcement
from .pending_results import PendingResults


class LookAheadAnnouncer:
    """Writes the announcements of one pool, and passes the replies to its look-ahead.

    :param results: takes the commands.
    """

    def __init__(self, state: FetchState, results: PendingResults) -> None:
        self._state = state
        self._results = results
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._closed = False

    def announce(self) -> None:
        """Have the heartbeat say whether this pool looks ahead, if that has changed."""
        match self._state.next_announcement(self._loop.time()):
            case Announcement.BEGIN:
                self._results.add(BeginLookAhead(self._state.queues[0], []), self._on_begun)
            case Announcement.END:
                self._results.add(EndLookAhead(self._state.queues[0], []), self._on_ended)

    def close(self) -> None:
        """Announce nothing more by a timer."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()

    def _on_begun(self, paused: int) -> None:
        self._state.look_ahead.on_begun(paused / 1000, self._loop.time())
        if self._timer is not None:
            self._timer.cancel()
        self._check()

    def _check(self) -> None:
        """Have the announcement end, even while no replies come because the pool is idle or runs long jobs."""
        self.announce()
        if self._state.look_ahead.announced and not self._closed:
            self._timer = self._loop.call_later(KEPT, self._check)

    def _on_ended(self, _: Any) -> None:
        self._state.look_ahead.on_ended()
