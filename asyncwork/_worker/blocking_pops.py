"""Blocking pops: while a pool is idle, one per queue waits in Redis, each on a connection of its own.

Redis wakes exactly one pool per job. A wait is ended by unblocking it in Redis and reading its reply, never by closing
the connection, because the reply may be a job.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection
from contextlib import suppress
from functools import partial
from typing import Any, TypeAlias

from .._redis.errors import REDIS_ERRORS
from .._redis.queue import Queue
from .._redis.work_queue import BlockingConnection, NotOpen, Popped, WorkQueue

logger = logging.getLogger("asyncwork")

# Seconds that unblocking may take; then the connections are closed, and the reconciler finds what they took.
_UNBLOCK_TIMEOUT = 3.0

# Seconds that a pop may block if it cannot be unblocked, because a stop and the jobs of other queues wait for it.
_SHORT_BLOCK = 0.5

# Seconds that a pop of a fair queue's bell may block. Other programs push to the plain list, and ring no bell.
FAIR_BLOCK = 0.25

# Called with the queue, the popped job and when the pop was sent (the event loop's clock, seconds).
OnPopped: TypeAlias = Callable[[Queue, Popped, float], None]
# Called with the queue, and with the error if the pop failed, or nothing may be taken from the queue.
OnEnded: TypeAlias = Callable[[Queue, BaseException | None], None]

# Called with a fair queue, and in how many seconds the next of its tenants may go on; 0 if none waits for that.
OnOpening: TypeAlias = Callable[[Queue, float], None]


class BlockingPops:
    """The blocking pops of one pool.

    :param on_popped: called when a pop has taken a job.
    :param on_ended: called when a pop has ended without a job, as far as is known.
    :param on_opening: called when a pop of a fair queue has found that its tenants have rates or rest.
    :param block: seconds that a pop may block; then it is sent again.
    :param timeout: seconds that a reply may take; that of a pop, beyond the time for which it blocks.
    :param most: number of connections that may block at once.
    """

    def __init__(
        self,
        work_queue: WorkQueue,
        on_popped: OnPopped,
        on_ended: OnEnded,
        on_opening: OnOpening,
        *,
        block: float,
        timeout: float,
        most: int,
    ) -> None:
        self._work_queue = work_queue
        self._on_popped = on_popped
        self._on_ended = on_ended
        self._on_opening = on_opening
        self._block = block
        self._timeout = timeout
        self._most = most
        self._may_unblock = True
        self._loop = asyncio.get_running_loop()
        self._opening: dict[Queue, asyncio.Task[None]] = {}
        self._blocked: dict[Queue, _Pop] = {}
        self._idle: list[BlockingConnection] = []
        # The queues whose pops are to end, as long as they have not.
        self._ending: set[Queue] = set()
        self._all_ended = asyncio.Event()
        # The same pop is sent again and again.
        self._commands: dict[tuple[Queue, float, bool], tuple[bytes, ...]] = {}

    def __len__(self) -> int:
        """Return the number of pops."""
        return len(self._blocked) + len(self._opening)

    @property
    def connections(self) -> int:
        """Number of connections, including idle ones."""
        return len(self) + len(self._idle)

    def limit(self, most: int) -> None:
        """Keep no more than this number of connections; those that block stay."""
        self._most = most
        while self._idle and len(self._idle) + len(self) > most:
            self._idle.pop().connection.drop()

    def start(self, queue: Queue, *, limited: bool = False) -> None:
        """Wait for a job of a queue; one of the callbacks is called once, not before this returns.

        :param limited: whether the queue may have a rate, so that the job takes a token.
        """
        if self._idle:
            try:
                self._send(queue, self._idle.pop(), limited)
            except REDIS_ERRORS as error:
                self._loop.call_soon(self._on_ended, queue, error)
        else:
            sending = self._open_and_send(queue, limited)
            opening = asyncio.create_task(sending, name=f"asyncwork blocking pop of {queue.name}")
            self._opening[queue] = opening
            # A task that is cancelled before it has started runs nothing, so that it cannot do this itself.
            opening.add_done_callback(partial(self._on_opening_done, queue))

    def _send(self, queue: Queue, blocking: BlockingConnection, limited: bool) -> None:
        seconds = self._block if blocking.client_id is not None else min(self._block, _SHORT_BLOCK)
        if queue.fair:
            seconds = min(seconds, FAIR_BLOCK)
        pop = _Pop(self, queue, blocking, self._loop.time(), limited)
        commands = self._commands.get((queue, seconds, limited))
        if commands is None:
            commands = self._work_queue.encode.blocking_pop(queue, seconds, limited=limited)
            self._commands[queue, seconds, limited] = commands
        blocking.connection.send(commands, len(commands), pop, seconds + self._timeout)
        self._blocked[queue] = pop

    async def _open_and_send(self, queue: Queue, limited: bool) -> None:
        blocking = await self._work_queue.open_blocking_connection(self._timeout)
        if blocking.client_id is None and self._may_unblock:
            self._may_unblock = False
            text = "blocking pops last %g s instead of %g s: the Redis user may not call CLIENT UNBLOCK to end them"
            logger.info(text, min(self._block, _SHORT_BLOCK), self._block)
        self._send(queue, blocking, limited)

    def _on_opening_done(self, queue: Queue, opening: asyncio.Task[None]) -> None:
        del self._opening[queue]
        error = asyncio.CancelledError() if opening.cancelled() else opening.exception()
        if error is not None:
            self._on_failed(queue, error)
            if not isinstance(error, (*REDIS_ERRORS, asyncio.CancelledError)):
                raise error  # a defect, which asyncio logs

    def _on_failed(self, queue: Queue, error: BaseException) -> None:
        self._note_ended(queue)
        self._on_ended(queue, error)

    def _note_ended(self, queue: Queue) -> None:
        self._ending.discard(queue)
        if not self._ending:
            self._all_ended.set()

    def on_replies(self, pop: _Pop, replies: list[Any]) -> None:
        """Pass on the job that a pop has taken, or that it has taken none."""
        if not self._forget(pop):
            return
        ended_by: NotOpen | None = None
        try:
            popped = self._work_queue.parse_popped(replies, limited=pop.limited)
        except NotOpen as closed:
            popped, ended_by = None, closed
        except REDIS_ERRORS as error:
            pop.blocking.connection.drop()
            self._on_failed(pop.queue, error)
            return
        if len(self._idle) + len(self) < self._most:
            self._idle.append(pop.blocking)
        else:
            pop.blocking.connection.drop()
        self._note_ended(pop.queue)
        if pop.queue.fair and (seconds := self._work_queue.parse_opening(replies)) is not None:
            self._on_opening(pop.queue, seconds)
        if popped is None:
            self._on_ended(pop.queue, ended_by)
        else:
            self._on_popped(pop.queue, popped, pop.requested_at)

    def on_error(self, pop: _Pop, error: BaseException) -> None:
        """Report a pop that has failed: it may have taken a job or not."""
        if self._forget(pop):
            pop.blocking.connection.drop()
            self._on_failed(pop.queue, error)

    def _forget(self, pop: _Pop) -> bool:
        """Return whether a pop was still waited for; its queue may have another one by now."""
        if self._blocked.get(pop.queue) is not pop:
            return False
        del self._blocked[pop.queue]
        return True

    async def end_all(self) -> None:
        """End all pops that there are now. A callback is called for each before this returns.

        A job that was taken by a pop whose connection had to be closed is in progress in Redis when this returns, and
        none of these pops takes another. Those that are started meanwhile go on.
        """
        self._ending.update(self._opening, self._blocked)
        with suppress(TimeoutError):
            async with asyncio.timeout(_UNBLOCK_TIMEOUT):
                await self._unblock_all()
        if opening := [self._opening[queue] for queue in self._ending if queue in self._opening]:
            for each in opening:
                each.cancel()
            await asyncio.wait(opening)
        unanswered = [self._blocked[queue] for queue in self._ending if queue in self._blocked]
        for pop in unanswered:
            self.on_error(pop, TimeoutError("a blocking pop could not be ended in time"))
        if unanswered:
            # Redis may not have noticed that the connections were closed, and still serve them.
            with suppress(TimeoutError):
                async with asyncio.timeout(_UNBLOCK_TIMEOUT):
                    await self._work_queue.unblock([pop.blocking for pop in unanswered])

    async def end_some(self, queues: Collection[Queue]) -> None:
        """End the pops of these queues. One that cannot be ended in time ends by itself."""
        with suppress(TimeoutError):
            async with asyncio.timeout(_UNBLOCK_TIMEOUT):
                if opening := [self._opening[queue] for queue in queues if queue in self._opening]:
                    await asyncio.wait(opening)
                pops = [self._blocked[queue] for queue in queues if queue in self._blocked]
                pause = 0.001
                while pops := [pop for pop in pops if self._blocked.get(pop.queue) is pop]:
                    await self._work_queue.unblock([pop.blocking for pop in pops])
                    await asyncio.sleep(pause)
                    pause = min(pause * 2, 0.1)

    async def _unblock_all(self) -> None:
        pause = 0.001
        while self._ending:
            # Repeatedly, because a pop that has not reached Redis yet cannot be unblocked.
            self._all_ended.clear()
            pops = [self._blocked[queue] for queue in self._ending if queue in self._blocked]
            await self._work_queue.unblock([pop.blocking for pop in pops])
            if self._ending:
                with suppress(TimeoutError):
                    async with asyncio.timeout(pause):
                        await self._all_ended.wait()
            pause = min(pause * 2, 0.1)

    async def close(self) -> None:
        """End all pops and close the connections."""
        while self:
            await self.end_all()
        while self._idle:
            await self._idle.pop().connection.close()


class _Pop:
    """One blocking pop that waits for its reply.

    :ivar requested_at: when it was sent, by the event loop's clock, seconds.
    :ivar limited: whether its job takes a token.
    """

    __slots__ = ("_pops", "blocking", "limited", "queue", "requested_at")

    def __init__(
        self, pops: BlockingPops, queue: Queue, blocking: BlockingConnection, requested_at: float, limited: bool
    ) -> None:
        self._pops = pops
        self.queue = queue
        self.blocking = blocking
        self.requested_at = requested_at
        self.limited = limited

    def on_replies(self, replies: list[Any]) -> None:
        self._pops.on_replies(self, replies)

    def on_error(self, error: Exception) -> None:
        self._pops.on_error(self, error)
