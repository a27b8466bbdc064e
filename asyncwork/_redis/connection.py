"""A connection of one's own, written to and read from without detours: a round trip costs a fraction of what it costs
on a pooled client."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any, Protocol

import hiredis
from redis.asyncio import Connection
from redis.asyncio.connection import DefaultParser

from . import scripts
from .discovery import reconnect_if_moved
from .errors import ConnectionBroken, ErrorReply, RedisError, is_out_of_connections
from .urls import NodeAddress

_NOT_YET = object()


class Waiter(Protocol):
    """What waits for the answers to an exchange: a future, or what is like one. It is told once for each exchange."""

    def done(self) -> bool: ...

    def set_result(self, answers: list[Any], /) -> None: ...

    def set_exception(self, error: Exception, /) -> None: ...


class Wire:
    """One connection on which one exchange is under way at a time.

    :param connection: one that is connected. redis-py has made it; what is said on it from now on is not its business.
    :param timeout: how long the answers to an exchange may take, seconds.
    """

    def __init__(self, connection: Connection, timeout: float) -> None:
        self._connection = connection
        self._timeout = timeout
        self._answers = _Answers(self._lost)
        reader, writer = connection._reader, connection._writer
        assert reader is not None
        assert writer is not None
        self._transport = writer.transport
        self._transport.set_protocol(self._answers)
        # Redis refuses a client before it was asked anything. The stream has no public way to look without waiting.
        if early := bytes(getattr(reader, "_buffer", b"")):
            self._answers.data_received(early)

    def _lost(self) -> None:
        # For redis-py to see that it is closed.
        self._connection._reader = self._connection._writer = None

    @property
    def node(self) -> NodeAddress | None:
        """The host and port that it leads to; ``None`` for a unix socket."""
        return (self._connection.host, self._connection.port) if isinstance(self._connection, Connection) else None

    @property
    def closed(self) -> bool:
        """Whether it was closed, and nothing can be asked any more."""
        return self._answers.closed or self._transport.is_closing()

    @property
    def trouble(self) -> Exception:
        """Why it was closed, for who asks something on it all the same."""
        return self._answers.trouble or ConnectionBroken("this connection was closed")

    async def ask(self, commands: Iterable[bytes], answers: int, timeout: float | None = None) -> list[Any]:
        """Send packed commands in one go and return as many answers.

        An error reply is returned in its place as a ``ErrorReply``, so that the other answers are not lost; when it
        means that Redis is elsewhere, the connection is closed. When anything else goes wrong it is closed, too: what
        was asked may have been done or not.

        :param timeout: how long the last answer may take, seconds, if not what the wire was opened with.
        :raises RedisError, OSError: when the connection broke or no answer came in time.
        """
        waiting: asyncio.Future[list[Any]] = asyncio.get_running_loop().create_future()
        self.begin(commands, answers, waiting, timeout)
        try:
            got = await waiting
        except BaseException:
            await self.close()
            raise
        for error in self.heed_errors():
            if not isinstance(error, ErrorReply):
                # Such as that Redis is still reading its data.
                raise error
        return got

    def begin(self, commands: Iterable[bytes], answers: int, waiter: Waiter, timeout: float | None = None) -> None:
        """Send packed commands in one go and have a waiter given as many answers: :meth:`ask` for who has no task.

        When there are any, :meth:`heed_errors` is to be called; when there are none, :meth:`drop`.

        :raises RedisError: when it was closed before; nothing is sent, and the waiter hears nothing.
        """
        if self.closed:
            raise self.trouble
        self._answers.expect(answers, self._timeout if timeout is None else timeout, waiter)
        self._transport.write(b"".join(commands))

    def heed_errors(self) -> list[Exception]:
        """Return the error replies among the answers; drop the connection if they mean that Redis is not to be used."""
        errors = self._answers.errors
        if errors:
            self._answers.errors = []
            for error in errors:
                if isinstance(error, ErrorReply):
                    reconnect_if_moved(self._connection, error)
            elsewhere = self._connection.should_reconnect()  # type: ignore[no-untyped-call]
            if elsewhere or not all(isinstance(each, ErrorReply) for each in errors):
                self.drop()
        return errors

    def drop(self) -> None:
        """Close the connection at once."""
        self._answers.closed = True
        self._transport.abort()
        self._lost()

    def abandon(self) -> None:
        """End the connection although its event loop was closed, which keeps the transport from closing it."""
        self._answers.closed = True
        # uvloop has closed it with the loop, and lets nobody shut it down.
        with suppress(OSError, TypeError, AttributeError):
            self._transport.get_extra_info("socket").shutdown(socket.SHUT_RDWR)

    async def load_scripts(self) -> None:
        """Tell Redis the scripts; needed again after it restarted or forgot them."""
        names = scripts.names()
        commands = [scripts.load_command(name) for name in names]
        for answer in await self.ask(commands, len(commands)):
            if isinstance(answer, ErrorReply):
                raise answer

    async def close(self) -> None:
        """Close the connection; never raises what Redis or the network may say to that."""
        self._answers.closed = True
        with suppress(RedisError, OSError):
            await self._connection.disconnect(nowait=True)


class _Answers(asyncio.Protocol):
    """Gathers the answers to one exchange after the other.

    :param lost: called when the connection is closed.
    :ivar errors: the error replies among them.
    :ivar trouble: why the connection was closed, if not by us.
    """

    def __init__(self, lost: Callable[[], None]) -> None:
        self.closed = False
        self.trouble: Exception | None = None
        self._lost = lost
        self._refusal: Exception | None = None
        self.errors: list[Exception] = []
        self._loop = asyncio.get_running_loop()
        self._reader = hiredis.Reader(replyError=self._read_error, notEnoughData=_NOT_YET)
        self._waiter: Waiter | None = None
        self._expected = 0
        self._got: list[Any] = []
        # One timer for all exchanges: while they end in time, it only looks on now and then.
        self._deadline = 0.0
        self._timer: asyncio.TimerHandle | None = None

    def expect(self, answers: int, timeout: float, waiter: Waiter) -> None:
        """Give a waiter the next so many answers, or an error if they do not come within so many seconds."""
        self._expected, self._got, self._waiter = answers, [], waiter
        self._deadline = deadline = self._loop.time() + timeout
        if self._timer is None or self._timer.when() > deadline:
            if self._timer is not None:
                self._timer.cancel()
            self._timer = self._loop.call_at(deadline, self._look)

    def _look(self) -> None:
        """Give up what is late."""
        self._timer = None
        if self._waiter is None or self._waiter.done():
            return
        if self._loop.time() >= self._deadline:
            self._tell_trouble(TimeoutError("no answer in time"))
        else:
            self._timer = self._loop.call_at(self._deadline, self._look)

    def data_received(self, data: bytes) -> None:
        try:
            self._reader.feed(data)
            while (answer := self._reader.gets(False)) is not _NOT_YET:
                self._got.append(answer)
        except hiredis.ProtocolError as error:
            self._fail(ConnectionBroken(f"what Redis said is no answer: {error}"))
            return
        if self._refusal is not None:
            self._fail(self._refusal)
        elif len(self._got) > self._expected:
            self._fail(ConnectionBroken("Redis, or what is before it, has answered more than was asked"))
        elif len(self._got) == self._expected and (waiter := self._waiter) is not None:
            # It may ask on another connection next, and would take what comes of this one for what comes of that.
            self._waiter = None
            if not waiter.done():
                waiter.set_result(self._got)

    def _read_error(self, text: str) -> Exception:
        error: Exception = DefaultParser.parse_error(text)  # type: ignore[no-untyped-call]
        self.errors.append(error)
        if is_out_of_connections(error) or text.startswith("DENIED "):
            # Not the answer to a command: Redis sends it in place of accepting the client, and closes the connection.
            self._refusal = error
        return error

    def connection_lost(self, error: Exception | None) -> None:
        self._fail(ConnectionBroken("the connection was closed by Redis" if error is None else f"it broke: {error}"))
        self._lost()

    def _fail(self, error: Exception) -> None:
        self.closed = True
        self.trouble = self.trouble or error
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._tell_trouble(error)

    def _tell_trouble(self, error: Exception) -> None:
        waiter, self._waiter = self._waiter, None
        if waiter is not None and not waiter.done():
            waiter.set_exception(error)
