"""Where an idle pool waits: one blocking pop per queue, each on a connection of its own.

Redis wakes exactly one pool per job. A wait is ended by unblocking it in Redis and reading its answer, never by closing
the connection: the answer may be a job.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress

from ..store.connection import REDIS_TROUBLE, Wire
from ..store.floor import Floor
from ..store.keys import Queue

# Seconds. A pop returns after this, to show that its connection is alive.
_BLOCK = 5.0
# Seconds that unblocking may take; then the connections are closed and what they held is looked for.
_UNPARK_LIMIT = 3.0

# Called with the queue and a job's payload, None when the wait ended without one, or what went wrong.
Arrived = Callable[[Queue, bytes | None, BaseException | None], None]


class Parking:
    """The parked connections of one pool."""

    def __init__(self, floor: Floor, arrived: Arrived, timeout: float) -> None:
        self._floor = floor
        self._arrived = arrived
        self._timeout = timeout
        self._waits: dict[Queue, asyncio.Task[None]] = {}
        self._client_ids: dict[Queue, int] = {}
        self._idle: list[tuple[Wire, int]] = []

    def __len__(self) -> int:
        return len(self._waits)

    def __contains__(self, queue: Queue) -> bool:
        return queue in self._waits

    def park(self, queue: Queue) -> None:
        """Wait for a job of a queue; ``arrived`` is called once, whatever comes."""
        self._waits[queue] = asyncio.create_task(self._wait(queue), name=f"asyncwork parked on {queue.name}")

    async def _wait(self, queue: Queue) -> None:
        payload: bytes | None = None
        trouble: BaseException | None = None
        try:
            payload = await self._pop(queue)
        except REDIS_TROUBLE as error:
            trouble = error
        except BaseException as error:
            trouble = error
            raise
        finally:
            del self._waits[queue]
            self._client_ids.pop(queue, None)
            self._arrived(queue, payload, trouble)

    async def _pop(self, queue: Queue) -> bytes | None:
        if self._idle:
            wire, client_id = self._idle.pop()
        else:
            wire = await self._floor.open(self._timeout)
            client_id = await self._floor.client_id(wire)
        self._client_ids[queue] = client_id
        try:
            payload = await self._floor.pop(wire, queue, _BLOCK)
        except BaseException:
            await wire.close()
            raise
        self._idle.append((wire, client_id))
        return payload

    async def unpark(self) -> None:
        """End all waits. Each calls ``arrived`` before this returns, some of them perhaps with a job."""
        pause, waited = 0.001, 0.0
        while self._waits and waited < _UNPARK_LIMIT:
            # Again and again: a pop that has not reached Redis yet cannot be unblocked.
            with suppress(*REDIS_TROUBLE):
                await self._floor.unblock(list(self._client_ids.values()))
            if self._waits:
                await asyncio.wait(self._waits.values(), timeout=pause)
            waited, pause = waited + pause, min(pause * 2, 0.1)
        for task in list(self._waits.values()):
            task.cancel()
        if self._waits:
            await asyncio.wait(self._waits.values())

    async def close(self) -> None:
        """End all waits and close the connections."""
        await self.unpark()
        while self._idle:
            await self._idle.pop()[0].close()
