"""A lane: a connection to Redis on which one batch is under way at a time.

While one batch follows the other no task has a part in it: what an answer brings is dealt out as it arrives, and the
next batch goes out once the workers have had their turn, so that it is the larger for it. To wake a task for each would
cost as much as to run some jobs.
"""

from __future__ import annotations

import asyncio
from typing import Any, Protocol

from .._redis.connection import Wire
from .._redis.errors import REDIS_ERRORS, ErrorReply, ScriptMissing, is_out_of_connections
from .._redis.work_queue import Batch, WorkQueue
from .priority_sampler import QueueSampler
from .services.outage import Outage


class Source(Protocol):
    """Who makes the batches and takes in the answers."""

    async def wait_for_batch(self, sweep: QueueSampler) -> Batch | None:
        """Return the next batch as soon as there is one; ``None`` when there will be none any more."""

    def next_batch(self, sweep: QueueSampler) -> Batch | None:
        """Return the next batch if there is one at once."""

    def answered(self, batch: Batch, answers: list[Any], sweep: QueueSampler) -> ErrorReply | None:
        """Take in the answers to a batch; return a refusal, if there was one, having taken back what it was for."""

    def lost(self, batch: Batch, sweep: QueueSampler) -> None:
        """Take a batch back of which Redis may have done something or nothing."""

    def give_room(self, refusal: BaseException) -> None:
        """Give up connections, for Redis has refused one."""


class Pipeline:
    """One of the lanes of a pool.

    :param outage: what the lanes of a pool have in common when Redis is away.
    :param refused: what they have in common when Redis accepts no more connections. Unlike an outage, that does not end
        with a batch of another lane.
    :param timeout: how long an answer of Redis may take until the connection is given up, seconds.
    """

    def __init__(
        self,
        work_queue: WorkQueue,
        source: Source,
        sweep: QueueSampler,
        outage: Outage,
        refused: Outage,
        timeout: float,
    ) -> None:
        self._work_queue = work_queue
        self._source = source
        self._sweep = sweep
        self._outage = outage
        self._refused = refused
        self._was_refused = False
        self._timeout = timeout
        self._wire: Wire | None = None
        self._loop = asyncio.get_running_loop()
        self._batch: Batch | None = None
        # What ended the row of batches that is under way.
        self._ended: asyncio.Future[BaseException | None] = self._loop.create_future()

    async def run(self) -> None:
        """Exchange batches until there will be none any more. Survives Redis being away."""
        try:
            while (batch := await self._source.wait_for_batch(self._sweep)) is not None:
                trouble = await self._exchange(batch)
                if isinstance(trouble, ScriptMissing) and self._wire is not None:
                    trouble = await self._reload(self._wire)
                if trouble is not None:
                    await asyncio.sleep(self._failed(trouble))
        finally:
            if self._wire is not None:
                await self._wire.close()

    def _failed(self, trouble: BaseException) -> float:
        """Note what went wrong; return how many seconds to wait until the next try."""
        if not is_out_of_connections(trouble):
            return self._outage.failed(trouble)
        self._was_refused = True
        self._source.give_room(trouble)
        return self._refused.failed(trouble)

    async def _exchange(self, batch: Batch) -> BaseException | None:
        """Exchange a batch and all that follow without a gap; return what went wrong with the last, if anything."""
        self._batch = batch
        try:
            if self._wire is None or self._wire.closed:
                self._wire = await self._work_queue.open(self._timeout)
                if self._was_refused:
                    self._was_refused = False
                    self._refused.over()
            self._ended = self._loop.create_future()
            self._send(self._wire, batch)
            return await self._ended
        except REDIS_ERRORS as error:
            return error
        finally:
            if self._batch is not None:
                self._lose()

    async def _reload(self, wire: Wire) -> BaseException | None:
        """Tell Redis the scripts that it forgot."""
        try:
            await wire.load_scripts()
        except REDIS_ERRORS as error:
            return error
        return None

    def _send(self, wire: Wire, batch: Batch) -> None:
        self._batch = batch
        commands = self._work_queue.commands(batch)
        wire.begin(commands, len(commands), self)

    def _lose(self) -> None:
        batch, self._batch = self._batch, None
        if self._wire is not None:
            self._wire.drop()
            self._wire = None
        if batch is not None:
            self._source.lost(batch, self._sweep)

    def _go_on(self) -> None:
        """Send the next batch; without one, give the task its turn again."""
        if self._ended.done():
            return
        wire = self._wire
        try:
            if wire is None or wire.closed or (batch := self._source.next_batch(self._sweep)) is None:
                self._end(None)
            else:
                self._send(wire, batch)
        except Exception as error:
            self._fail(error)

    def _end(self, trouble: BaseException | None) -> None:
        # It is done already when the task was cancelled.
        if not self._ended.done():
            self._ended.set_result(trouble)

    def _fail(self, error: Exception) -> None:
        """Have the task raise what nothing here was prepared for."""
        if not self._ended.done():
            self._ended.set_exception(error)

    # What the wire calls

    def done(self) -> bool:
        """Whether no answers are waited for."""
        return self._batch is None

    def set_result(self, answers: list[Any]) -> None:
        """Take in the answers to the batch that is under way."""
        batch, wire = self._batch, self._wire
        assert batch is not None
        assert wire is not None
        try:
            for error in wire.heed_errors():
                if not isinstance(error, ErrorReply):
                    # Such as that Redis is still reading its data.
                    self.set_exception(error)
                    return
            self._batch = None
            refusal = self._source.answered(batch, answers, self._sweep)
            if refusal is not None:
                self._end(refusal)
            else:
                self._outage.over()
                self._loop.call_soon(self._go_on)
        except Exception as error:
            self._fail(error)

    def set_exception(self, error: Exception) -> None:
        """Give up the batch that is under way, and the connection."""
        self._lose()
        self._end(error)
