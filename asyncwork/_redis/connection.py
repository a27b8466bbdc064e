"""A dedicated connection to Redis, which does without redis-py, because its round trips cost several times more."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any, Protocol

import hiredis
from redis.asyncio import Connection as RedisPyConnection
from redis.asyncio.connection import DefaultParser

from . import scripts
from .discovery import reconnect_if_moved
from .errors import ConnectionBroken, ErrorReply, RedisError, is_out_of_connections
from .urls import NodeAddress

_INCOMPLETE = object()


class OnUnusable(Protocol):
    """Called when a connection can no longer be used."""

    def __call__(self, *, lost: bool) -> None: ...


class ReplyHandler(Protocol):
    """Receives the outcome of one request: exactly one of its methods is called, once.

    ``on_error`` is also called after the sender drops or closes the connection; a handler then ignores it.
    """

    def on_replies(self, replies: list[Any], /) -> None:
        """Receive one reply per command; an error reply is an :class:`ErrorReply` in its place."""

    def on_error(self, error: Exception, /) -> None:
        """Receive why there are no replies: the commands may have been executed or not."""


class Connection:
    """One connection that serves one request at a time.

    :param connection: a connection that redis-py has established; it is not used through redis-py from now on.
    :param timeout: seconds within which all replies to a request must arrive.
    """

    def __init__(self, connection: RedisPyConnection, timeout: float) -> None:
        self._unusable = False
        self._connection = connection
        self._timeout = timeout
        self._replies = _ReplyReader(self._on_unusable, self._check_errors)
        reader, writer = connection._reader, connection._writer
        assert reader is not None
        assert writer is not None
        self._transport = writer.transport
        self._transport.set_protocol(self._replies)
        # Redis can refuse a client before any command. The stream has no public way to read without waiting.
        if early := bytes(getattr(reader, "_buffer", b"")):
            self._replies.data_received(early)

    def _on_unusable(self, *, lost: bool) -> None:
        self._unusable = True
        if lost:
            # redis-py then regards it as closed.
            self._connection._reader = self._connection._writer = None

    @property
    def node(self) -> NodeAddress | None:
        """The host and port it leads to; ``None`` for a unix socket."""
        connection = self._connection
        return (connection.host, connection.port) if isinstance(connection, RedisPyConnection) else None

    @property
    def closed(self) -> bool:
        """Whether it is closed, so that nothing can be requested."""
        return self._unusable or self._transport.is_closing()

    @property
    def error(self) -> Exception:
        """Why it is closed."""
        return self._replies.error or ConnectionBroken("this connection was closed")

    async def request(self, commands: Iterable[bytes], replies: int, timeout: float | None = None) -> list[Any]:
        """Send packed commands in one write and return their replies.

        An error reply is an ``ErrorReply`` in its place, so that the other replies are not lost; if it means that Redis
        has moved, the connection is closed. It is also closed after any other failure: the commands may then have been
        executed or not.

        :param replies: number of replies.
        :param timeout: seconds within which the last reply must arrive, if not those of the connection.
        :raises RedisError, OSError: when the connection broke, or a reply did not arrive in time.
        """
        if not replies:
            # Nothing would come that ends the wait.
            return []
        handler = _FutureHandler(asyncio.get_running_loop().create_future())
        self.send(commands, replies, handler, timeout)
        try:
            return await handler.future
        except BaseException:
            await self.close()
            raise

    def send(
        self, commands: Iterable[bytes], replies: int, handler: ReplyHandler, timeout: float | None = None
    ) -> None:
        """Send packed commands in one write and pass their replies to a handler.

        :param replies: number of replies.
        :param timeout: seconds within which the last reply must arrive, if not those of the connection.
        :raises RedisError: when the connection is closed; nothing is sent, and the handler is not called.
        """
        if self.closed:
            raise self.error
        self._replies.expect(replies, self._timeout if timeout is None else timeout, handler)
        self._transport.write(b"".join(commands))

    def _check_errors(self, errors: Iterable[Exception]) -> Exception | None:
        """Drop the connection if error replies mean that this Redis must not be used; return one that is not an error
        of a command, such as that Redis is still loading its data.
        """
        for error in errors:
            if isinstance(error, ErrorReply):
                reconnect_if_moved(self._connection, error)
        fatal = next((each for each in errors if not isinstance(each, ErrorReply)), None)
        if fatal is not None or self._connection.should_reconnect():  # type: ignore[no-untyped-call]
            self.drop()
        return fatal

    def drop(self) -> None:
        """Close the connection at once."""
        self._transport.abort()
        self._on_unusable(lost=True)

    def abandon(self) -> None:
        """Shut down the socket of a connection whose event loop is closed, as its transport no longer can."""
        self._unusable = True
        # uvloop has closed the socket with the loop, and refuses to shut it down.
        with suppress(OSError, TypeError, AttributeError):
            self._transport.get_extra_info("socket").shutdown(socket.SHUT_RDWR)

    async def load_scripts(self, *, fair: bool = True) -> None:
        """Load the scripts into Redis that it does not know; needed again after it was restarted or has flushed them.

        :param fair: whether to load the variants for fair queues, too.
        :raises RedisError, OSError: when Redis refuses one, or as for :meth:`request`.
        """
        names = [*scripts.names(), *(scripts.variants() if fair else ())]
        # All sources together have a megabyte.
        (known,) = await self.request([scripts.exists_command(names)], 1)
        if isinstance(known, ErrorReply):  # a user who may load scripts, but not ask for them
            known = [0] * len(names)
        commands = [scripts.load_command(name) for name, found in zip(names, known, strict=True) if not found]
        for reply in await self.request(commands, len(commands)):
            if isinstance(reply, ErrorReply):
                raise reply

    async def close(self) -> None:
        """Close the connection; never raises what Redis or the network may report."""
        self._unusable = True
        with suppress(RedisError, OSError):
            await self._connection.disconnect(nowait=True)


class _FutureHandler:
    """Passes the outcome of a request to a task that awaits it, unless the task was cancelled."""

    __slots__ = ("future",)

    def __init__(self, future: asyncio.Future[list[Any]]) -> None:
        self.future = future

    def on_replies(self, replies: list[Any]) -> None:
        if not self.future.done():
            self.future.set_result(replies)

    def on_error(self, error: Exception) -> None:
        if not self.future.done():
            self.future.set_exception(error)


class _ReplyReader(asyncio.Protocol):
    """Reads the replies to one request after the other.

    :param on_unusable: called when no more can be requested, and again when the connection is lost.
    :param check_errors: called with the error replies to a request; returns one that is fatal, if any.
    :ivar error: why the connection was closed, if not by this side.
    """

    def __init__(self, on_unusable: OnUnusable, check_errors: Callable[[list[Exception]], Exception | None]) -> None:
        self.error: Exception | None = None
        self._on_unusable = on_unusable
        self._check_errors = check_errors
        self._refusal: Exception | None = None
        self._errors: list[Exception] = []
        self._loop = asyncio.get_running_loop()
        self._reader = hiredis.Reader(replyError=self._parse_error, notEnoughData=_INCOMPLETE)
        self._handler: ReplyHandler | None = None
        self._expected = 0
        self._received: list[Any] = []
        # One timer for all requests: as long as they end in time, it is only moved on now and then.
        self._deadline = 0.0
        self._timer: asyncio.TimerHandle | None = None

    def expect(self, replies: int, timeout: float, handler: ReplyHandler) -> None:
        """Pass the next replies to a handler, or an error if they do not arrive within ``timeout`` seconds."""
        self._expected, self._received, self._handler = replies, [], handler
        self._deadline = deadline = self._loop.time() + timeout
        if self._timer is None or self._timer.when() > deadline:
            if self._timer is not None:
                self._timer.cancel()
            self._timer = self._loop.call_at(deadline, self._check_deadline)

    def _check_deadline(self) -> None:
        self._timer = None
        if self._handler is None:
            return
        if self._loop.time() >= self._deadline:
            self._report(TimeoutError("Redis did not reply in time"))
        else:
            self._timer = self._loop.call_at(self._deadline, self._check_deadline)

    def data_received(self, data: bytes) -> None:
        try:
            self._reader.feed(data)
            while (reply := self._reader.gets(False)) is not _INCOMPLETE:
                self._received.append(reply)
        except hiredis.ProtocolError as error:
            self._fail(ConnectionBroken(f"what Redis sent is not a reply: {error}"))
            return
        if self._refusal is not None:
            self._fail(self._refusal)
        elif len(self._received) > self._expected:
            self._fail(ConnectionBroken("Redis, or a proxy before it, has sent more replies than were requested"))
        elif len(self._received) == self._expected and self._handler is not None:
            self._complete(self._handler)

    def _complete(self, handler: ReplyHandler) -> None:
        # First, because closing the connection from here on must not call the handler a second time.
        self._handler = None
        if self._errors:
            errors, self._errors = self._errors, []
            if (fatal := self._check_errors(errors)) is not None:
                handler.on_error(fatal)
                return
        handler.on_replies(self._received)

    def _parse_error(self, text: str) -> Exception:
        error: Exception = DefaultParser.parse_error(text)  # type: ignore[no-untyped-call]
        self._errors.append(error)
        if is_out_of_connections(error) or text.startswith("DENIED "):
            # Redis sends this instead of accepting the client, and then closes the connection.
            self._refusal = error
        return error

    def connection_lost(self, error: Exception | None) -> None:
        text = "the connection was closed by Redis" if error is None else f"the connection broke: {error}"
        self._fail(ConnectionBroken(text))
        self._on_unusable(lost=True)

    def _fail(self, error: Exception) -> None:
        self._on_unusable(lost=False)
        self.error = self.error or error
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._report(error)

    def _report(self, error: Exception) -> None:
        handler, self._handler = self._handler, None
        if handler is not None:
            handler.on_error(error)
