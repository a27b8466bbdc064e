"""Where an idle pool waits: one blocking pop per queue, each on a connection of its own.

Redis wakes exactly one pool per job. A wait is ended by unblocking it in Redis and reading its answer, never by closing
the connection: the answer may be a job.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress

from ..store.connection import REDIS_TROUBLE
from ..store.floor import Floor, Seat
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
        self._taken: dict[Queue, Seat] = {}
        self._idle: list[Seat] = []

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
            self._taken.pop(queue, None)
            self._arrived(queue, payload, trouble)

    async def _pop(self, queue: Queue) -> bytes | None:
        seat = self._idle.pop() if self._idle else await self._floor.open_seat(self._timeout)
        self._taken[queue] = seat
        try:
            payload = await self._floor.pop(seat.wire, queue, _BLOCK)
        except BaseException:
            await seat.wire.close()
            raise
        self._idle.append(seat)
        return payload

    async def unpark(self) -> None:
        """End all waits. Each calls ``arrived`` before this returns, some of them perhaps with a job."""
        with suppress(TimeoutError):
            async with asyncio.timeout(_UNPARK_LIMIT):
                await self._unblock()
        for task in list(self._waits.values()):
            task.cancel()
        if self._waits:
            await asyncio.wait(self._waits.values())

    async def _unblock(self) -> None:
        pause = 0.001
        while self._waits:
            # Again and again: a pop that has not reached Redis yet cannot be unblocked.
            await self._floor.unblock(list(self._taken.values()))
            if self._waits:
                await asyncio.wait(self._waits.values(), timeout=pause)
            pause = min(pause * 2, 0.1)

    async def close(self) -> None:
        """End all waits and close the connections."""
        await self.unpark()
        while self._idle:
            await self._idle.pop().wire.close()
