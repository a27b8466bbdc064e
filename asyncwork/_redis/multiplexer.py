"""One connection shared by many tasks: commands sent at the same time go out in one write."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from .client import RedisClient
from .connection import Connection
from .discovery import resend_if_moved
from .errors import REDIS_ERRORS, ConnectionBroken, mark_unsent

# Bytes after which a write takes no more requests, so that small ones do not wait for the replies to many large ones.
_MAX_WRITE = 1_000_000
# Seconds without a reply after which Redis may have closed the connection without the event loop having noticed yet.
_IDLE = 0.1


class Multiplexer:
    """A connection of one event loop that is opened when first needed, and again after it broke.

    While one write awaits its replies, the requests of other tasks are queued and go out with the next write. Each task
    gets its own replies. When the connection breaks, the requests that were sent fail, and those that were queued go
    out on a new connection. So nothing is sent twice, unless Redis has refused it because Redis has moved.

    :ivar opened: how many connections were opened so far.
    :ivar registered_until: by job name, until when it need not be registered again on this connection, by
        ``time.monotonic``. Empty on a new connection, because Redis may have lost its data.
    """

    def __init__(self, redis: RedisClient) -> None:
        self.loop = asyncio.get_running_loop()
        self._redis = redis
        self.opened = 0
        self.registered_until: dict[str, float] = {}
        self._connection: Connection | None = None
        self._opening: asyncio.Task[None] | None = None
        self._exchange: _Exchange | None = None
        self._queued: deque[_Request] = deque()
        self._replied_at = 0.0

    def send(self, commands: Sequence[bytes]) -> Coroutine[Any, Any, list[Any]]:
        """Send packed commands and return their replies, with errors in their places.

        :raises RedisError, OSError: when Redis cannot be reached, the connection broke, or no reply came in time.
        """
        # Not a coroutine function of its own, which would cost time with every job that is enqueued.
        return resend_if_moved(self._send, commands)

    async def close(self) -> None:
        """Close the connection; requests without replies fail. A request made afterwards opens a new connection."""
        self._fail_queued(ConnectionBroken("this connection was closed"))
        if self._exchange is not None:
            self._exchange.on_error(ConnectionBroken("this connection was closed"))
        if self._opening is not None:
            self._opening.cancel()
            await asyncio.wait([self._opening])
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.close()

    def abandon(self) -> None:
        """End the connection of an event loop that was closed."""
        if self._connection is not None:
            self._connection.abandon()

    async def _send(self, commands: Sequence[bytes]) -> list[Any]:
        request = _Request(commands, self.loop.create_future())
        try:
            await self._redis.refresh_discovery()
            if self._exchange is None and self._connection is not None and self.loop.time() - self._replied_at > _IDLE:
                # An event loop that did not run meanwhile learns of closed connections in this turn, after the tasks
                # that are ready to run.
                await asyncio.sleep(0)
                await asyncio.sleep(0)
            self._queued.append(request)
            if self._exchange is None:
                self._send_queued()
            if request.sent:
                return await request.replies
            try:
                async with asyncio.timeout(self._redis.timeout):
                    return await request.replies
            except TimeoutError as error:
                text = "Redis did not reply in time" if request.sent else "the request was not sent in time"
                raise TimeoutError(str(error) or text) from error
        except REDIS_ERRORS as error:
            if not request.sent:
                mark_unsent(error)
            raise

    def _send_queued(self) -> None:
        """Send queued requests if the connection is open; otherwise open one."""
        if self._connection is None or self._connection.closed:
            if self._queued and self._opening is None:
                self._opening = self.loop.create_task(self._open(), name="asyncwork opens a connection to enqueue")
        elif requests := self._next_requests():
            self._exchange = _Exchange(self._connection, requests, self._on_exchange_end)

    def _next_requests(self) -> list[_Request]:
        requests, size = [], 0
        while self._queued and size < _MAX_WRITE:
            request = self._queued.popleft()
            # Skip cancelled and timed-out requests.
            if not request.replies.done():
                request.sent = True
                requests.append(request)
                size += sum(map(len, request.commands))
        return requests

    def _on_exchange_end(self) -> None:
        self._exchange = None
        self._replied_at = self.loop.time()
        if self._queued:
            self._send_queued()

    async def _open(self) -> None:
        try:
            self._connection = await self._redis.open(self._redis.timeout, with_scripts=False)
            if self._connection.closed:
                raise self._connection.error
            self.opened += 1
            self.registered_until.clear()
        except Exception as error:
            self._fail_queued(error)
        except asyncio.CancelledError:
            self._fail_queued(ConnectionBroken("this connection was closed before it was open"))
            raise
        finally:
            self._opening = None
        self._send_queued()

    def _fail_queued(self, error: Exception) -> None:
        """Fail the queued requests; nothing of them was sent."""
        while self._queued:
            self._queued.popleft().fail(error)


class _Request:
    """The commands of one task, and a future for their replies."""

    __slots__ = ("commands", "replies", "sent")

    def __init__(self, commands: Sequence[bytes], replies: asyncio.Future[list[Any]]) -> None:
        self.commands = commands
        self.replies = replies
        self.sent = False

    def fail(self, error: Exception) -> None:
        if not self.replies.done():
            self.replies.set_exception(error)


class _Exchange:
    """Sends requests in one write, and hands each its replies.

    :param on_end: called when the replies have come, or the exchange has failed.
    """

    def __init__(self, connection: Connection, requests: Sequence[_Request], on_end: Callable[[], None]) -> None:
        self._connection = connection
        self._requests = requests
        self._on_end = on_end
        self._done = False
        commands = [command for request in requests for command in request.commands]
        connection.send(commands, len(commands), self)

    def on_replies(self, replies: list[Any]) -> None:
        if self._done:
            return
        self._done = True
        at = 0
        for request in self._requests:
            start, at = at, at + len(request.commands)
            if not request.replies.done():
                request.replies.set_result(replies[start:at])
        self._on_end()

    def on_error(self, error: Exception) -> None:
        if self._done:
            return
        self._done = True
        self._connection.drop()
        for request in self._requests:
            request.fail(error)
        self._on_end()
