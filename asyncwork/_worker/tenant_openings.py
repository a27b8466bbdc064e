"""The timers of fair queues whose tenants wait for a token, or rest."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from .._redis.commands import OpenTenants
from .._redis.queue import Queue
from .open_queues import OpenQueues
from .pending_results import PendingResults

# Seconds between two checks for tenants that may go on, so that many of them are given a turn at once.
_SHORTEST_WAIT = 0.002
# Seconds after which the next check is made at the latest: Redis's clock may have been set forward.
_LONGEST_WAIT = 10.0


class TenantOpenings:
    """Gives the tenants of a pool's fair queues a turn when their next token comes.

    That rings the bell of the queue, so any idle pool may take their jobs. Pools that have more jobs than workers give
    these turns with each fetch.

    :param wake: called when there may be a batch to send.
    """

    def __init__(self, queues: OpenQueues, results: PendingResults, wake: Callable[[], None]) -> None:
        self._queues = queues
        self._results = results
        self._wake = wake
        self._loop = asyncio.get_running_loop()
        # By queue, when to check, by the event loop's clock, and the timer of that.
        self._timers: dict[Queue, tuple[float, asyncio.TimerHandle]] = {}
        self._requested: set[Queue] = set()
        self._stopped = False

    def note(self, queue: Queue, seconds: float) -> None:
        """Take note that the tenants of a queue have rates or rest.

        :param seconds: after which the next one may go on; 0 if none waits for that.
        """
        self._queues.limited.note_tenants(queue)
        if not seconds or self._stopped or queue in self._requested:
            return
        at = self._loop.time() + min(max(seconds, _SHORTEST_WAIT), _LONGEST_WAIT)
        if (planned := self._timers.get(queue)) is not None:
            if planned[0] <= at:
                return
            planned[1].cancel()
        self._timers[queue] = at, self._loop.call_at(at, self._open, queue)

    def _open(self, queue: Queue) -> None:
        del self._timers[queue]
        self._requested.add(queue)

        def on_reply(reply: Any) -> None:
            opened, micros = reply
            self._requested.discard(queue)
            if opened:
                self._queues.on_opened(queue)
            self.note(queue, micros / 1_000_000)
            self._wake()

        self._results.add(OpenTenants(queue, ()), on_reply)

    def resume(self) -> None:
        """Set timers again after :meth:`stop`, which the next fetch begins."""
        self._stopped = False

    def stop(self) -> None:
        """Cancel the timers, and set no others, because the pool takes nothing more."""
        self._stopped = True
        for _, timer in self._timers.values():
            timer.cancel()
        self._timers.clear()
