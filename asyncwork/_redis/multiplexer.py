"""One connection shared by many tasks: commands sent at the same time go out in one write."""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any

from .client import RedisClient
from .connection import Connection
from .discovery import resend_if_moved
from .errors import REDIS_ERRORS, ConnectionBroken, mark_unsent
from .queued_requests import Commands, Pushes, QueuedRequest

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
        self._queued: deque[QueuedRequest] = deque()
        # By key, the pushes among the queued requests that more payloads may join.
        self._pushes: dict[bytes, Pushes] = {}
        self._replied_at = 0.0
        # One timer for all requests: as long as they end in time, it is only moved on now and then.
        self._timer: asyncio.TimerHandle | None = None

    def send(self, commands: Sequence[bytes]) -> Coroutine[Any, Any, list[Any]]:
        """Send packed commands and return their replies, with errors in their places.

        :raises RedisError, OSError: when Redis cannot be reached, the connection broke, or no reply came in time.
        """
        return resend_if_moved(self._send, commands)

    def push(self, key: bytes, payload: bytes) -> Coroutine[Any, Any, None]:
        """Add a payload to a queue, in one command with those that other tasks add to it meanwhile.

        :raises RedisError, OSError: as :meth:`send`, and when Redis refuses it.
        """
        # Not a coroutine function of its own, which would cost time with every job that is enqueued.
        return resend_if_moved(self._push, key, payload)

    async def close(self) -> None:
        """Close the connection; requests without replies fail. A request made afterwards opens a new connection."""
        self._fail_queued(ConnectionBroken("this connection was closed"))
        if self._exchange is not None:
            self._exchange.on_error(ConnectionBroken("this connection was closed"))
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
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
        request: Commands | None = None
        try:
            if not self._is_ready():
                await self._prepare()
            request = Commands(commands, self.loop.create_future(), self._deadline())
            # Jobs that are pushed from now on must not overtake it.
            self._pushes.clear()
            self._add(request)
            return await request.replies
        except REDIS_ERRORS as error:
            if request is None or not request.sent:
                mark_unsent(error)
            raise

    def _push(self, key: bytes, payload: bytes) -> Awaitable[None]:
        if key in self._pushes or self._is_ready():
            return self._add_push(key, payload)
        return self._push_when_ready(key, payload)

    async def _push_when_ready(self, key: bytes, payload: bytes) -> None:
        await self._prepare()
        await self._add_push(key, payload)

    def _add_push(self, key: bytes, payload: bytes) -> asyncio.Future[None]:
        future: asyncio.Future[None] = self.loop.create_future()
        pushes = self._pushes.get(key)
        if pushes is not None and not pushes.full:
            pushes.add(payload, future, self._deadline())
        else:
            pushes = self._pushes[key] = Pushes(key)
            pushes.add(payload, future, self._deadline())
            self._add(pushes)
        return future

    def _is_ready(self) -> bool:
        """Return whether a request may be queued at once, without :meth:`_prepare`."""
        if self._redis.may_move:
            return False
        return self._exchange is not None or self._connection is None or self.loop.time() - self._replied_at <= _IDLE

    async def _prepare(self) -> None:
        """Learn whether Redis has moved, or has closed the connection.

        :raises RedisError, OSError: when Redis cannot be found.
        """
        await self._redis.refresh_discovery()
        if self._exchange is None and self._connection is not None and self.loop.time() - self._replied_at > _IDLE:
            # An event loop that did not run meanwhile learns of closed connections in this turn, after the tasks
            # that are ready to run.
            await asyncio.sleep(0)
            await asyncio.sleep(0)

    def _add(self, request: QueuedRequest) -> None:
        self._queued.append(request)
        if self._exchange is None:
            self._send_queued()

    def _deadline(self) -> float:
        """Return when it is too late for the replies to a request that is made now, and have the timer set for it."""
        deadline = self.loop.time() + self._redis.timeout
        timer = self._timer
        if timer is None or timer.when() > deadline:
            if timer is not None:
                timer.cancel()
            self._timer = self.loop.call_at(deadline, self._check_deadlines)
        return deadline

    def _check_deadlines(self) -> None:
        self._timer = None
        requests = [*self._exchange.requests, *self._queued] if self._exchange is not None else self._queued
        now = self.loop.time()
        next_deadline = min((request.expire(now) for request in requests), default=math.inf)
        if next_deadline < math.inf:
            self._timer = self.loop.call_at(next_deadline, self._check_deadlines)

    def _send_queued(self) -> None:
        """Send queued requests if the connection is open; otherwise open one."""
        if self._connection is None or self._connection.closed:
            if self._queued and self._opening is None:
                self._opening = self.loop.create_task(self._open(), name="asyncwork opens a connection to enqueue")
        elif requests := self._next_requests():
            self._exchange = _Exchange(self._connection, requests, self._on_exchange_end)

    def _next_requests(self) -> list[tuple[QueuedRequest, Sequence[bytes]]]:
        """Return the requests of the next write, each with its commands."""
        requests: list[tuple[QueuedRequest, Sequence[bytes]]] = []
        size = 0
        while self._queued and size < _MAX_WRITE:
            request = self._queued.popleft()
            if isinstance(request, Pushes):
                self._pushes.pop(request.key, None)
            # Skip requests whose tasks were all cancelled or have run out of time.
            if commands := request.take():
                requests.append((request, commands))
                size += sum(map(len, commands))
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
        self._pushes.clear()
        while self._queued:
            self._queued.popleft().fail(error)


class _Exchange:
    """Sends requests in one write, and hands each its replies.

    :param requests: each with its commands.
    :param on_end: called when the replies have come, or the exchange has failed.
    :ivar requests: the requests that wait for the replies.
    """

    def __init__(
        self,
        connection: Connection,
        requests: Sequence[tuple[QueuedRequest, Sequence[bytes]]],
        on_end: Callable[[], None],
    ) -> None:
        self._connection = connection
        self.requests = [request for request, _ in requests]
        self._sizes = [len(commands) for _, commands in requests]
        self._on_end = on_end
        self._done = False
        connection.send([each for _, commands in requests for each in commands], sum(self._sizes), self)

    def on_replies(self, replies: list[Any]) -> None:
        if self._done:
            return
        self._done = True
        at = 0
        for request, size in zip(self.requests, self._sizes, strict=True):
            start, at = at, at + size
            request.on_replies(replies[start:at])
        self._on_end()

    def on_error(self, error: Exception) -> None:
        if self._done:
            return
        self._done = True
        self._connection.drop()
        for request in self.requests:
            request.fail(error)
        self._on_end()
