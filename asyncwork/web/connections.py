"""Limits on the server's connections: how many may be open, and how long each may take for a request."""

from __future__ import annotations

import asyncio
import logging
import math
import resource
import time
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

logger: logging.Logger = logging.getLogger("asyncwork.web")

# Length of the listen queue. asyncio also accepts this many connections at a time.
BACKLOG = 64
# Bounds of the number of open connections; the limit on open files decides between them.
_MAX_CONNECTIONS = 500
_MIN_CONNECTIONS = 16
# Other open files: connections to Redis, log files, and the connections that one accept takes beyond the limit.
_OTHER_FILES = 64 + BACKLOG

# Seconds that a client has to send the head of a request, and then its body.
_HEAD_TIMEOUT = 10.0
_BODY_TIMEOUT = 20.0
# Seconds that a client may go without reading the response.
_READ_TIMEOUT = 30.0
# The limit counts as no longer reached when at most this share of it is in use.
_RECOVERED_SHARE = 0.8
# Minimum seconds between two such warnings: new connections can arrive as fast as old ones are closed.
_WARN_INTERVAL = 60.0


def connection_limit() -> int:
    """Return how many connections may be open at once, given the limit on open files."""
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if files == resource.RLIM_INFINITY:
        return _MAX_CONNECTIONS
    return max(_MIN_CONNECTIONS, min(_MAX_CONNECTIONS, files - _OTHER_FILES))


class Connections:
    """The open connections. At the limit, a new one replaces the one that has waited longest for a request.

    :param limit: the maximum number of open connections.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._waiting: dict[LimitedProtocol, None] = {}
        self._open: set[LimitedProtocol] = set()
        self._at_limit = self._warned = False
        self._no_warning_until = -math.inf

    def opened(self, connection: LimitedProtocol) -> None:
        """Register a new connection; beyond the limit, close the one that has waited longest for a request."""
        self._open.add(connection)
        self._waiting[connection] = None
        if len(self._open) <= self._limit:
            return
        if not self._at_limit:
            self._at_limit = True
            self._warned = (now := time.monotonic()) >= self._no_warning_until
            if self._warned:
                self._no_warning_until = now + _WARN_INTERVAL
                logger.warning(
                    "reached the limit of %d connections; closing those without a complete request for new ones",
                    self._limit,
                )
        oldest = next(iter(self._waiting))
        self.closed(oldest)
        oldest.abort()

    def busy(self, connection: LimitedProtocol) -> None:
        """Protect a connection from being closed, because its request is complete."""
        self._waiting.pop(connection, None)

    def idle(self, connection: LimitedProtocol) -> None:
        """Record that a connection now waits for its next request."""
        if connection in self._open:
            self._waiting.pop(connection, None)
            self._waiting[connection] = None

    def closed(self, connection: LimitedProtocol) -> None:
        """Remove a connection."""
        self._waiting.pop(connection, None)
        self._open.discard(connection)
        if self._at_limit and len(self._open) <= self._limit * _RECOVERED_SHARE:
            self._at_limit = False
            if self._warned:
                logger.info("dropped below the connection limit: %d connections are open", len(self._open))


class LimitedProtocol(H11Protocol):
    """uvicorn's HTTP/1.1 protocol with timeouts for a request's head, its body, and a client that does not read.

    It relies on undocumented parts of uvicorn's protocol: ``cycle`` with its ``more_body`` and
    ``response_complete``, ``transport``, ``loop``, and ``on_response_complete``.
    """

    # Set by :func:`limited_protocol`.
    open_connections: Connections

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._receive_timer: asyncio.TimerHandle | None = None
        self._awaited_part = ""
        self._read_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start the timeout for the first request."""
        super().connection_made(transport)
        self.open_connections.opened(self)
        self._set_receive_timeout("head", _HEAD_TIMEOUT)

    def connection_lost(self, exc: Exception | None) -> None:
        """Cancel all timeouts."""
        super().connection_lost(exc)
        self.open_connections.closed(self)
        self._clear_receive_timeout()
        self.resume_writing()

    def data_received(self, data: bytes) -> None:
        """Process received data, then set the timeout for the rest of the request."""
        super().data_received(data)
        self._update_receive_timeout()

    def on_response_complete(self) -> None:
        """Set the timeout for the next request."""
        self._clear_receive_timeout()
        super().on_response_complete()
        if self.cycle.response_complete:
            # uvicorn has its own timeout until the first byte of the next request.
            self.open_connections.idle(self)
        else:
            self._update_receive_timeout()

    def _update_receive_timeout(self) -> None:
        """Set the timeout for the part of the request that the client has to send next."""
        if self.transport.is_closing():
            self._clear_receive_timeout()
        elif self.cycle is None or self.cycle.response_complete:
            self._set_receive_timeout("head", _HEAD_TIMEOUT)
        elif self.cycle.more_body:
            self._set_receive_timeout("body", _BODY_TIMEOUT)
        else:
            self.open_connections.busy(self)
            self._clear_receive_timeout()

    def _set_receive_timeout(self, part: str, timeout: float) -> None:
        """Close the connection unless a part of the request is complete in time. A running timeout is kept."""
        if part == self._awaited_part:
            return
        self._clear_receive_timeout()
        self._awaited_part = part
        self._receive_timer = self.loop.call_later(timeout, self.abort)

    def _clear_receive_timeout(self) -> None:
        if self._receive_timer is not None:
            self._receive_timer.cancel()
        self._awaited_part, self._receive_timer = "", None

    def abort(self) -> None:
        """Close the connection at once."""
        if not self.transport.is_closing():
            self.transport.abort()

    def pause_writing(self) -> None:
        """Start the timeout for a client that does not read."""
        super().pause_writing()
        if self._read_timer is None:
            self._read_timer = self.loop.call_later(_READ_TIMEOUT, self.abort)

    def resume_writing(self) -> None:
        """Cancel that timeout, because the client reads again."""
        super().resume_writing()
        if self._read_timer is not None:
            self._read_timer.cancel()
            self._read_timer = None


def limited_protocol(limit: int) -> type[LimitedProtocol]:
    """Return a protocol class for a server with at most ``limit`` connections."""
    return type("_Limited", (LimitedProtocol,), {"open_connections": Connections(limit)})
