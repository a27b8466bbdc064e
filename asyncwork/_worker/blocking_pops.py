"""Where an idle pool waits: one blocking pop per queue, each on a connection of its own.

Redis wakes exactly one pool per job. A wait is ended by unblocking it in Redis and reading its answer, never by closing
the connection: the answer may be a job.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from functools import partial

from .._redis.errors import REDIS_ERRORS, is_out_of_connections
from .._redis.keys import Queue
from .._redis.work_queue import BlockingConnection, Popped, WorkQueue

logger = logging.getLogger("asyncwork")

# Seconds that unblocking may take; then the connections are closed and what they held is looked for.
_UNPARK_LIMIT = 3.0

# Seconds that a pop may wait in Redis where it cannot be ended: a stop, and jobs of other queues, wait for it.
_SHORT_BLOCK = 0.5

# Called with the queue and a job, None when the wait ended without one, or what went wrong.
Arrived = Callable[[Queue, Popped | None, BaseException | None], None]


class BlockingPops:
    """The parked connections of one pool.

    :param comes_late: tells whether a job of a pop that was begun then, by the loop's clock, may not start before Redis
        was asked about it.
    :param block: how long a pop may wait in Redis, seconds; then it is begun anew.
    :param timeout: how long an answer of Redis may take beside that, seconds.
    :param most: how many connections may wait at once.
    """

    def __init__(
        self,
        work_queue: WorkQueue,
        arrived: Arrived,
        comes_late: Callable[[float], bool],
        *,
        block: float,
        timeout: float,
        most: int,
    ) -> None:
        self._work_queue = work_queue
        self._arrived = arrived
        self._block = block
        self._comes_late = comes_late
        self._timeout = timeout
        self._most = most
        self._may_unblock = True
        self._waits: dict[Queue, asyncio.Task[None]] = {}
        self._taken: dict[Queue, BlockingConnection] = {}
        self._idle: list[BlockingConnection] = []
        # Whose waits were cancelled instead of ended in Redis, which may take them for waiting still.
        self._left: list[BlockingConnection] = []

    def __len__(self) -> int:
        return len(self._waits)

    def __contains__(self, queue: Queue) -> bool:
        return queue in self._waits

    @property
    def room(self) -> int:
        """How many more connections may wait."""
        return max(0, self._most - len(self._waits))

    def limit(self, most: int, reason: str) -> None:
        """Have fewer connections wait at once, but one at least, so that other clients of Redis find room.

        :param most: how many may; nothing changes when it is no less than before.
        :param reason: for the log, which tells it.
        """
        most = max(1, most)
        if most >= self._most:
            return
        logger.warning(
            "blocking pops limited to %d of %d connections (%s): other idle queues are polled every second",
            most,
            self._most,
            reason,
        )
        self._most = most
        while self._idle and len(self._idle) + len(self._waits) > most:
            self._idle.pop().wire.drop()

    def give_room(self, refusal: BaseException) -> None:
        """Keep half of the connections from now on."""
        if held := len(self._waits) + len(self._idle):
            self.limit(held // 2, f"Redis refuses connections: {refusal}")

    def park(self, queue: Queue) -> None:
        """Wait for a job of a queue; ``arrived`` is called once, whatever comes."""
        wait = asyncio.create_task(self._pop(queue), name=f"asyncwork parked on {queue.name}")
        self._waits[queue] = wait
        # Not the task itself: one that is cancelled before it has begun does nothing.
        wait.add_done_callback(partial(self._failed, queue))

    def _ended(self, queue: Queue, popped: Popped | None, trouble: BaseException | None = None) -> None:
        del self._waits[queue]
        self._taken.pop(queue, None)
        self._arrived(queue, popped, trouble)

    def _failed(self, queue: Queue, wait: asyncio.Task[None]) -> None:
        trouble = asyncio.CancelledError() if wait.cancelled() else wait.exception()
        if trouble is not None:
            if is_out_of_connections(trouble):
                self.give_room(trouble)
            if self._waits.get(queue) is wait:
                self._ended(queue, None, trouble)
            if not isinstance(trouble, (*REDIS_ERRORS, asyncio.CancelledError)):
                raise trouble  # a defect, for asyncio to tell of

    async def _pop(self, queue: Queue) -> None:
        seat = self._idle.pop() if self._idle else await self._open_seat()
        block = self._block if seat.client_id is not None else min(self._block, _SHORT_BLOCK)
        self._taken[queue] = seat
        begun = asyncio.get_running_loop().time()
        try:
            popped = await self._work_queue.pop(seat.wire, queue, block)
        except BaseException as error:
            if isinstance(error, asyncio.CancelledError):
                self._left.append(seat)
            await seat.wire.close()
            raise
        if len(self._idle) + len(self._waits) <= self._most:
            self._idle.append(seat)
        else:
            seat.wire.drop()
        if popped is not None and self._comes_late(begun):
            popped = popped._replace(admitted=False)
        # Here and not once the task has ended: a job would start a turn of the event loop later.
        self._ended(queue, popped)

    async def _open_seat(self) -> BlockingConnection:
        seat = await self._work_queue.open_blocking_connection(self._timeout)
        if seat.client_id is None and self._may_unblock:
            self._may_unblock = False
            text = "blocking pops last %g s instead of %g s: the Redis user may not call CLIENT UNBLOCK to end them"
            logger.info(text, min(self._block, _SHORT_BLOCK), self._block)
        return seat

    async def unpark(self) -> None:
        """End all waits. Each calls ``arrived`` before this returns, some of them perhaps with a job.

        What a wait that had to be cancelled may have taken is in progress in Redis when this returns, and nothing more
        is taken by it.
        """
        with suppress(TimeoutError):
            async with asyncio.timeout(_UNPARK_LIMIT):
                await self._end_waits()
        for task in list(self._waits.values()):
            task.cancel()
        if self._waits:
            await asyncio.wait(self._waits.values())
        left, self._left = self._left, []
        if left:
            with suppress(TimeoutError):
                async with asyncio.timeout(_UNPARK_LIMIT):
                    await self._work_queue.unblock(left)

    async def _end_waits(self) -> None:
        pause = 0.001
        while self._waits:
            # Again and again: a pop that has not reached Redis yet cannot be unblocked.
            await self._work_queue.unblock(list(self._taken.values()))
            if self._waits:
                await asyncio.wait(self._waits.values(), timeout=pause)
            pause = min(pause * 2, 0.1)

    async def close(self) -> None:
        """End all waits and close the connections."""
        await self.unpark()
        while self._idle:
            await self._idle.pop().wire.close()
