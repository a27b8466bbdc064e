"""Blocking pops: while a pool is idle, one per queue waits in Redis, each on a connection of its own.

Redis wakes exactly one pool per job. A wait is ended by unblocking it in Redis and reading its reply, never by closing
the connection, because the reply may be a job.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import TypeAlias

from .._redis.errors import REDIS_ERRORS, is_out_of_connections
from .._redis.keys import Queue
from .._redis.work_queue import BlockingConnection, Popped, WorkQueue

logger = logging.getLogger("asyncwork")

# Seconds that unblocking may take; then the connections are closed, and the reconciler finds what they took.
_UNBLOCK_TIMEOUT = 3.0

# Seconds that a pop may block if it cannot be unblocked, because a stop and the jobs of other queues wait for it.
_SHORT_BLOCK = 0.5

# Called with the queue, the popped job and when the pop was sent (the event loop's clock, seconds).
OnPopped: TypeAlias = Callable[[Queue, Popped, float], None]
# Called with the queue, and with the error if the pop failed.
OnEnded: TypeAlias = Callable[[Queue, BaseException | None], None]


class BlockingPops:
    """The blocking pops of one pool.

    :param on_popped: called when a pop has taken a job.
    :param on_ended: called when a pop has ended without a job, as far as is known.
    :param block: seconds that a pop may block; then it is sent again.
    :param timeout: seconds that a reply may take beside that.
    :param most: number of connections that may block at once.
    """

    def __init__(
        self,
        work_queue: WorkQueue,
        on_popped: OnPopped,
        on_ended: OnEnded,
        *,
        block: float,
        timeout: float,
        most: int,
    ) -> None:
        self._work_queue = work_queue
        self._on_popped = on_popped
        self._on_ended = on_ended
        self._block = block
        self._timeout = timeout
        self._most = most
        self._may_unblock = True
        self._loop = asyncio.get_running_loop()
        self._pops: dict[Queue, asyncio.Task[None]] = {}
        self._blocked: dict[Queue, BlockingConnection] = {}
        self._idle: list[BlockingConnection] = []
        # Connections whose pops were cancelled instead of unblocked: Redis may still serve them.
        self._cancelled: list[BlockingConnection] = []

    @property
    def room(self) -> int:
        """How many more connections may block."""
        return max(0, self._most - len(self._pops))

    def limit(self, most: int, reason: str) -> None:
        """Have fewer connections block at once, so that other clients of Redis find room; at least one may block.

        :param most: number of connections; nothing changes if it is no lower than before.
        :param reason: is logged.
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
        while self._idle and len(self._idle) + len(self._pops) > most:
            self._idle.pop().connection.drop()

    def halve(self, error: BaseException) -> None:
        """Keep half of the connections from now on, because Redis has refused one."""
        if held := len(self._pops) + len(self._idle):
            self.limit(held // 2, f"Redis refuses connections: {error}")

    def start(self, queue: Queue) -> None:
        """Wait for a job of a queue; either callback is called once."""
        pop = asyncio.create_task(self._pop(queue), name=f"asyncwork blocking pop of {queue.name}")
        self._pops[queue] = pop
        # A task that is cancelled before it has started runs nothing, so that it cannot do this itself.
        pop.add_done_callback(partial(self._on_task_done, queue))

    def _forget(self, queue: Queue) -> None:
        del self._pops[queue]
        self._blocked.pop(queue, None)

    def _on_task_done(self, queue: Queue, pop: asyncio.Task[None]) -> None:
        error = asyncio.CancelledError() if pop.cancelled() else pop.exception()
        if error is not None:
            if is_out_of_connections(error):
                self.halve(error)
            if self._pops.get(queue) is pop:
                self._forget(queue)
                self._on_ended(queue, error)
            if not isinstance(error, (*REDIS_ERRORS, asyncio.CancelledError)):
                raise error  # a defect, which asyncio logs

    async def _pop(self, queue: Queue) -> None:
        blocking = self._idle.pop() if self._idle else await self._open()
        seconds = self._block if blocking.client_id is not None else min(self._block, _SHORT_BLOCK)
        self._blocked[queue] = blocking
        requested_at = self._loop.time()
        try:
            popped = await self._work_queue.pop(blocking.connection, queue, seconds)
        except BaseException as error:
            if isinstance(error, asyncio.CancelledError):
                self._cancelled.append(blocking)
            await blocking.connection.close()
            raise
        if len(self._idle) + len(self._pops) <= self._most:
            self._idle.append(blocking)
        else:
            blocking.connection.drop()
        # Not when the task is done: the job would start a turn of the event loop later.
        self._forget(queue)
        if popped is None:
            self._on_ended(queue, None)
        else:
            self._on_popped(queue, popped, requested_at)

    async def _open(self) -> BlockingConnection:
        blocking = await self._work_queue.open_blocking_connection(self._timeout)
        if blocking.client_id is None and self._may_unblock:
            self._may_unblock = False
            text = "blocking pops last %g s instead of %g s: the Redis user may not call CLIENT UNBLOCK to end them"
            logger.info(text, min(self._block, _SHORT_BLOCK), self._block)
        return blocking

    async def end_all(self) -> None:
        """End all pops. A callback is called for each before this returns.

        A job that was taken by a pop that had to be cancelled is in progress in Redis when this returns, and no pop
        takes another.
        """
        with suppress(TimeoutError):
            async with asyncio.timeout(_UNBLOCK_TIMEOUT):
                await self._unblock_all()
        for task in list(self._pops.values()):
            task.cancel()
        if self._pops:
            await asyncio.wait(self._pops.values())
        cancelled, self._cancelled = self._cancelled, []
        if cancelled:
            with suppress(TimeoutError):
                async with asyncio.timeout(_UNBLOCK_TIMEOUT):
                    await self._work_queue.unblock(cancelled)

    async def _unblock_all(self) -> None:
        pause = 0.001
        while self._pops:
            # Repeatedly, because a pop that has not reached Redis yet cannot be unblocked.
            await self._work_queue.unblock(list(self._blocked.values()))
            if self._pops:
                await asyncio.wait(self._pops.values(), timeout=pause)
            pause = min(pause * 2, 0.1)

    async def close(self) -> None:
        """End all pops and close the connections."""
        await self.end_all()
        while self._idle:
            await self._idle.pop().connection.close()
