"""Connections to the web UI's server: how many there may be, and how long each may take over its request."""

from __future__ import annotations

import asyncio
import logging
import math
import resource
import time
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

logger = logging.getLogger("asyncwork.web")

# Connections that wait to be accepted, and as many are accepted in one go.
BACKLOG = 64
# Connections at once, where the limit on open files allows so many.
_MOST = 500
_LEAST = 16
# Files that are open besides: connections to Redis, log files, those accepted in one go beyond the limit.
_OTHER_FILES = 64 + BACKLOG

# Seconds that the head of a request may take, and its body after that.
_HEAD_WITHIN = 10.0
_BODY_WITHIN = 20.0
# Seconds for which a client may read nothing of what is sent to it.
_READS_WITHIN = 30.0
# An outage of connections is over when no more than this part of them is taken.
_RELIEVED = 0.8
# Seconds for which further ones are not told: connections may come as fast as they are closed.
_QUIET = 60.0


def connection_limit() -> int:
    """Return how many connections there may be at once, below the limit on open files."""
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if files == resource.RLIM_INFINITY:
        return _MOST
    return max(_LEAST, min(_MOST, files - _OTHER_FILES))


class Connections:
    """The open connections, the one that has waited longest for a request first.

    :param limit: how many there may be.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._waiting: dict[LimitedProtocol, None] = {}
        self._open: set[LimitedProtocol] = set()
        self._exhausted = self._told = False
        self._quiet_until = -math.inf

    def opened(self, connection: LimitedProtocol) -> None:
        """Take in a new connection; if there are too many, close the one that has waited longest for a request."""
        self._open.add(connection)
        self._waiting[connection] = None
        if len(self._open) <= self._limit:
            return
        if not self._exhausted:
            self._exhausted = True
            self._told = (now := time.monotonic()) >= self._quiet_until
            if self._told:
                self._quiet_until = now + _QUIET
                logger.warning(
                    "connection limit reached: %d are open; those without a complete request are closed for new ones",
                    self._limit,
                )
        oldest = next(iter(self._waiting))
        self.closed(oldest)
        oldest.end()

    def busy(self, connection: LimitedProtocol) -> None:
        """Keep a connection: it has sent a request."""
        self._waiting.pop(connection, None)

    def idle(self, connection: LimitedProtocol) -> None:
        """Note that a connection waits for its next request, from now on."""
        if connection in self._open:
            self._waiting.pop(connection, None)
            self._waiting[connection] = None

    def closed(self, connection: LimitedProtocol) -> None:
        """Forget a connection."""
        self._waiting.pop(connection, None)
        self._open.discard(connection)
        if self._exhausted and len(self._open) <= self._limit * _RELIEVED:
            self._exhausted = False
            if self._told:
                logger.info("connections below the limit again: %d are open", len(self._open))


class LimitedProtocol(H11Protocol):
    """uvicorn's HTTP/1.1, with a time limit for each request's head and body and for a client that does not read.

    It builds on these parts of uvicorn's protocol that are not documented: ``cycle`` with its ``more_body`` and
    ``response_complete``, ``transport``, ``loop``, and ``on_response_complete``.
    """

    # Set by :func:`limited`.
    open_connections: Connections

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._deadline: asyncio.TimerHandle | None = None
        self._waits_for = ""
        self._stalled: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for a request."""
        super().connection_made(transport)
        self.open_connections.opened(self)
        self._expect("head", _HEAD_WITHIN)

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop all timers."""
        super().connection_lost(exc)
        self.open_connections.closed(self)
        self._expect("")
        self.resume_writing()

    def data_received(self, data: bytes) -> None:
        """Take what came, and limit the time for what is still missing."""
        super().data_received(data)
        self._look()

    def on_response_complete(self) -> None:
        """Wait for the next request."""
        self._expect("")
        super().on_response_complete()
        if self.cycle.response_complete:
            # uvicorn itself limits the time until a byte of the next request comes.
            self.open_connections.idle(self)
        else:
            self._look()

    def _look(self) -> None:
        """Limit the time of whatever the client has to send now."""
        if self.transport.is_closing():
            self._expect("")
        elif self.cycle is None or self.cycle.response_complete:
            self._expect("head", _HEAD_WITHIN)
        elif self.cycle.more_body:
            self._expect("body", _BODY_WITHIN)
        else:
            self.open_connections.busy(self)
            self._expect("")

    def _expect(self, part: str, within: float = 0.0) -> None:
        """Limit the time for a part of the request; none for an empty one. What is limited already stays as it is."""
        if part and part == self._waits_for:
            return
        if self._deadline is not None:
            self._deadline.cancel()
        self._waits_for = part
        self._deadline = self.loop.call_later(within, self.end) if part else None

    def end(self) -> None:
        """Close the connection, whatever it is amid."""
        if not self.transport.is_closing():
            self.transport.abort()

    def pause_writing(self) -> None:
        """Limit the time for which the client reads nothing."""
        super().pause_writing()
        if self._stalled is None:
            self._stalled = self.loop.call_later(_READS_WITHIN, self.end)

    def resume_writing(self) -> None:
        """Lift the limit: the client reads."""
        super().resume_writing()
        if self._stalled is not None:
            self._stalled.cancel()
            self._stalled = None


def limited(limit: int) -> type[LimitedProtocol]:
    """Return the protocol of a server that has so many connections at most."""
    return type("_Limited", (LimitedProtocol,), {"open_connections": Connections(limit)})


def quiet_about_exhaustion(loop: asyncio.AbstractEventLoop) -> None:
    """Have one line logged, not one each second, while no connection can be accepted for want of files."""
    last = -60.0

    def handle(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        nonlocal last
        if "socket.accept()" not in context.get("message", ""):
            loop.default_exception_handler(context)
            return
        now = loop.time()
        if now - last >= 60:
            logger.error("accepting connections failed: %s", context.get("exception"))
        last = now

    loop.set_exception_handler(handle)
