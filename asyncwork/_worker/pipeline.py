"""A connection to Redis on which one batch is in flight at a time.

While the connection works, no task takes part: replies are processed as they arrive, and the next batch is sent after
the workers have run, so that it holds more. Waking a task for each batch would cost as much as some jobs.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Protocol

from .._redis.commands import CommandBatch
from .._redis.connection import Connection
from .._redis.errors import REDIS_ERRORS, ErrorReply, ScriptMissing, is_out_of_connections
from .._redis.work_queue import WorkQueue
from .services.outage import Outage


class CommandSource(Protocol):
    """Makes batches and processes the replies to them."""

    closing: bool
    """Whether there will be no more batches once there is none."""

    jobs_first: bool
    """Whether a pipeline has replies whose jobs are about to run, and sends its next batch afterwards."""

    async def wait_for_batch(self) -> CommandBatch | None:
        """Return the next batch as soon as there is one; ``None`` when there will be no more."""

    def next_batch(self) -> CommandBatch | None:
        """Return the next batch if there is one now."""

    def add_idle(self, wakeup: Callable[[], None]) -> None:
        """Call ``wakeup`` once when there may be a batch, for one idle pipeline at a time."""

    def wake_idle(self) -> None:
        """Wake one idle pipeline."""

    def on_replies(self, batch: CommandBatch, replies: list[Any]) -> ErrorReply | None:
        """Process the replies to a batch; return an error reply, if there was one."""

    def on_lost(self, batch: CommandBatch) -> None:
        """Have a batch that Redis may have executed sent again."""

    def reduce_connections(self, error: BaseException) -> None:
        """Give up connections, because Redis has refused one: ``error`` says how."""


class Pipeline:
    """One of the pipelines of a pool.

    :param outage: logs, once for all pipelines, that Redis is away.
    :param refused: logs, once for all pipelines, that Redis accepts no more connections. Unlike an outage, this does
        not end when another pipeline has a reply.
    :param timeout: seconds that a reply may take until the connection is given up.
    """

    def __init__(
        self, work_queue: WorkQueue, source: CommandSource, outage: Outage, refused: Outage, timeout: float
    ) -> None:
        self._work_queue = work_queue
        self._source = source
        self._outage = outage
        self._refused = refused
        self._was_refused = False
        self._was_connected = False
        self._timeout = timeout
        self._connection: Connection | None = None
        self._loop = asyncio.get_running_loop()
        self._batch: CommandBatch | None = None
        # Done when a series of batches on one connection has ended: with the error that ended it, if there was one.
        self._series_ended: asyncio.Future[BaseException | None] = self._loop.create_future()

    async def run(self) -> None:
        """Send batches until there will be no more. Goes on after Redis was away."""
        try:
            while (batch := await self._source.wait_for_batch()) is not None:
                error = await self._send_series(batch)
                if isinstance(error, ScriptMissing) and self._connection is not None:
                    error = await self._load_scripts(self._connection)
                if error is not None:
                    await asyncio.sleep(self._on_failed(error))
        finally:
            if self._connection is not None:
                await self._connection.close()

    def _on_failed(self, error: BaseException) -> float:
        """Log a failure; return the seconds to wait until the next try."""
        if not is_out_of_connections(error):
            return self._outage.failed(error)
        self._was_refused = True
        self._source.reduce_connections(error)
        return self._refused.failed(error)

    async def _send_series(self, batch: CommandBatch) -> BaseException | None:
        """Send a batch, and others as they come, until the connection fails; return the error, if there was one."""
        self._batch = batch
        try:
            if self._connection is None or self._connection.closed:
                self._connection = await self._work_queue.open(self._timeout, again=self._was_connected)
                self._was_connected = True
                if self._was_refused:
                    self._was_refused = False
                    self._refused.over()
            self._series_ended = self._loop.create_future()
            self._send(self._connection, batch)
            return await self._series_ended
        except REDIS_ERRORS as error:
            return error
        finally:
            if self._batch is not None:
                self._lose()

    async def _load_scripts(self, connection: Connection) -> BaseException | None:
        try:
            await connection.load_scripts()
        except REDIS_ERRORS as error:
            return error
        return None

    def _send(self, connection: Connection, batch: CommandBatch) -> None:
        self._batch = batch
        commands = self._work_queue.encode.batch(batch)
        connection.send(commands, len(commands), self)

    def _lose(self) -> None:
        batch, self._batch = self._batch, None
        if self._connection is not None:
            self._connection.drop()
            self._connection = None
        if batch is not None:
            self._source.on_lost(batch)

    def _on_wakeup(self) -> None:
        """Send the next batch after a time without one, in which the connection may have been closed."""
        if self._series_ended.done():
            self._source.wake_idle()
        elif self._connection is None or self._connection.closed:
            self._end_series(None)
        else:
            self._send_next()

    def _send_next(self) -> None:
        """Send the next batch; if there is none, wait for one without a task."""
        self._source.jobs_first = False
        if self._series_ended.done() or self._connection is None:
            return
        try:
            if (batch := self._source.next_batch()) is not None:
                self._send(self._connection, batch)
            elif self._source.closing:
                self._end_series(None)
            else:
                self._source.add_idle(self._on_wakeup)
        except REDIS_ERRORS as error:
            self._lose()
            self._end_series(error)
        except Exception as defect:
            self._fail(defect)

    def _end_series(self, error: BaseException | None) -> None:
        # It is done already if the task was cancelled.
        if not self._series_ended.done():
            self._series_ended.set_result(error)

    def _fail(self, defect: Exception) -> None:
        """Have the task raise an exception that is not Redis's."""
        if not self._series_ended.done():
            self._series_ended.set_exception(defect)

    def on_replies(self, replies: list[Any]) -> None:
        """Process the replies to the batch in flight.

        If two pipelines have replies at once, those of the second wait until the first has sent its next batch.
        Otherwise that batch would hold the results of both, and Redis would reply to both at once again: it and the
        workers would take turns, instead of working at the same time.
        """
        if self._source.jobs_first:
            self._loop.call_soon(self.on_replies, replies)
            return
        batch, self._batch = self._batch, None
        if batch is None:
            return
        try:
            error = self._source.on_replies(batch, replies)
            if error is not None:
                self._end_series(error)
                return
            if self._outage.active:
                self._outage.over()
            self._source.jobs_first = True
            self._loop.call_soon(self._send_next)
        except Exception as defect:
            self._fail(defect)

    def on_error(self, error: Exception) -> None:
        """Give up the batch in flight, and the connection."""
        if self._batch is not None:
            self._lose()
            self._end_series(error)
