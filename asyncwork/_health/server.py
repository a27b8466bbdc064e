"""The health port: answers ``/livez``, ``/readyz`` and ``/metrics`` over HTTP.

It runs in a thread with an event loop of its own, so that it answers while a handler blocks the event loop of the pool.
Each connection has one request, and a few seconds for it.
"""

from __future__ import annotations

import asyncio
import json
import logging
import threading
import time
from contextlib import suppress
from http import HTTPStatus
from typing import NamedTuple, Protocol

from .._jobs import forks
from .._jobs.error_text import describe_error
from .exposition import CONTENT_TYPE
from .listening import ListenAddress, open_listener, throttle_accept_errors
from .process_metrics import process_metrics
from .report import HealthReport, ProcessReport

logger = logging.getLogger("asyncwork")

# Seconds that a client has to send its request and to read the response.
_TIME_LIMIT = 10.0
# Bytes of the head of a request.
_MAX_HEAD = 8192
# Open connections. Beyond them, a new one replaces the oldest.
_MAX_CONNECTIONS = 64
_BACKLOG = 64
# Seconds for which the metrics are kept, because any client may request them any number of times.
_KEPT_FOR = 0.5
# Seconds between readings of the health without a request, so that the time of a change is known.
_CHECK_PERIOD = 1.0
# Seconds that the thread has to end.
_STOP_LIMIT = 5.0

_JSON_TYPE = "application/json"
_TEXT_TYPE = "text/plain; charset=utf-8"


class Source(Protocol):
    """The source of the server's answers. Its methods are called in the server's thread."""

    def health(self) -> HealthReport:
        """Return the health now. It must be cheap."""

    def report(self) -> ProcessReport:
        """Return the report now."""


class _Answer(NamedTuple):
    status: HTTPStatus
    body: str
    content_type: str = _TEXT_TYPE
    allow: str = ""


class HealthServer:
    """Serves the health and the metrics of one process, or of several.

    :param address: port 0 picks a free port.
    :raises OSError: when it cannot listen there; ``errno.EADDRINUSE`` when another program does.
    """

    def __init__(self, address: ListenAddress, source: Source) -> None:
        self._source = source
        self._socket = open_listener(*address.resolve(), _BACKLOG)
        self.address: ListenAddress = ListenAddress(address.host, self._socket.getsockname()[1])
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopping: asyncio.Event | None = None
        self._running = threading.Event()
        self._connections: dict[_Connection, None] = {}
        self._metrics = ""
        self._read_at = float("-inf")
        self._has_failed = False
        self._thread = threading.Thread(target=self._main, name="asyncwork health", daemon=True)
        # A child that a job forks must not keep the port after the end of its parent.
        forks.owned.add(self)

    def start(self) -> None:
        """Start to answer, in a thread."""
        self._thread.start()

    def stop(self) -> None:
        """Stop answering, and close the port."""
        if self._thread.ident is not None:
            self._running.wait(_STOP_LIMIT)
            if self._loop is not None and self._stopping is not None:
                with suppress(RuntimeError):  # the thread has ended
                    self._loop.call_soon_threadsafe(self._stopping.set)
            self._thread.join(_STOP_LIMIT)
        self._socket.close()

    def forked(self) -> None:
        """Close the port in a forked child. Its parent keeps it."""
        self._socket.close()

    def _main(self) -> None:
        try:
            asyncio.run(self._run())
        except Exception:
            logger.exception("health port closed by an unexpected error")

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        self._stopping, self._loop = asyncio.Event(), loop
        throttle_accept_errors(loop, logger)
        server = await loop.create_server(lambda: _Connection(self), sock=self._socket, backlog=_BACKLOG)
        self._running.set()
        try:
            while not self._stopping.is_set():
                self.answer("GET", "/livez")
                with suppress(TimeoutError):
                    async with asyncio.timeout(_CHECK_PERIOD):
                        await self._stopping.wait()
        finally:
            server.close()
            for connection in list(self._connections):
                connection.abort()

    def opened(self, connection: _Connection) -> None:
        """Register a connection; close the oldest if there are too many."""
        self._connections[connection] = None
        if len(self._connections) > _MAX_CONNECTIONS:
            oldest = next(iter(self._connections))
            self.closed(oldest)
            oldest.abort()

    def closed(self, connection: _Connection) -> None:
        """Remove a connection."""
        self._connections.pop(connection, None)

    def answer(self, method: str, path: str) -> _Answer:
        """Return the answer to a request. An unexpected error is logged once."""
        try:
            answer = self._answer(method, path)
        except Exception as error:
            if not self._has_failed:
                self._has_failed = True
                logger.exception("health port failed to answer %s (%s)", path, describe_error(error))
            return _Answer(HTTPStatus.INTERNAL_SERVER_ERROR, "internal error; the log of the process shows it\n")
        self._has_failed = False
        return answer

    def _answer(self, method: str, path: str) -> _Answer:
        if path not in ("/livez", "/readyz", "/metrics"):
            return _Answer(HTTPStatus.NOT_FOUND, "there are only /livez, /readyz and /metrics here\n")
        if method not in ("GET", "HEAD"):
            return _Answer(HTTPStatus.METHOD_NOT_ALLOWED, "only GET and HEAD are allowed\n", allow="GET, HEAD")
        if path == "/metrics":
            return _Answer(HTTPStatus.OK, self._fresh_metrics(), CONTENT_TYPE)
        health = self._source.health()
        well = health["live"] if path == "/livez" else health["ready"]
        status = HTTPStatus.OK if well else HTTPStatus.SERVICE_UNAVAILABLE
        return _Answer(status, json.dumps(health) + "\n", _JSON_TYPE)

    def _fresh_metrics(self) -> str:
        if time.monotonic() - self._read_at >= _KEPT_FOR:
            self._metrics, self._read_at = process_metrics(self._source.report()), time.monotonic()
        return self._metrics


class _Connection(asyncio.Protocol):
    """One connection of a client, with one request."""

    def __init__(self, server: HealthServer) -> None:
        self._server = server
        self._received = bytearray()
        self._answered = False
        self._transport: asyncio.Transport | None = None
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Start the time limit of the connection."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._timer = asyncio.get_running_loop().call_later(_TIME_LIMIT, self.abort)
        self._server.opened(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        if self._timer is not None:
            self._timer.cancel()
        self._server.closed(self)

    def abort(self) -> None:
        """Close the connection at once."""
        if self._transport is not None:
            self._transport.abort()

    def data_received(self, data: bytes) -> None:
        """Answer when the head of the request is complete. The rest is ignored."""
        if self._answered:
            return
        self._received += data
        head, end, _ = self._received.partition(b"\r\n\r\n")
        if len(head) > _MAX_HEAD:
            self._send(_Answer(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, "the request is too long\n"))
        elif end:
            words = bytes(head).lstrip(b"\r\n").partition(b"\r\n")[0].split(b" ")
            if len(words) != 3 or not words[2].startswith(b"HTTP/1."):
                self._send(_Answer(HTTPStatus.BAD_REQUEST, "this is not a request of HTTP/1.1\n"))
                return
            method, target, _ = (word.decode("latin-1") for word in words)
            self._send(self._server.answer(method, target.partition("?")[0]), with_body=method != "HEAD")

    def _send(self, answer: _Answer, *, with_body: bool = True) -> None:
        assert self._transport is not None
        self._answered, self._received = True, bytearray()
        body = answer.body.encode()
        head = [
            f"HTTP/1.1 {answer.status.value} {answer.status.phrase}",
            f"Content-Type: {answer.content_type}",
            f"Content-Length: {len(body)}",
            "Cache-Control: no-store",
            "X-Content-Type-Options: nosniff",
            "Connection: close",
            *([f"Allow: {answer.allow}"] if answer.allow else ()),
        ]
        self._transport.write("\r\n".join([*head, "", ""]).encode() + (body if with_body else b""))
        # Closed by the client, or by the time limit. Closing it with a request that is not read to its end would reset
        # the connection, and the client might lose the answer.
        if self._transport.can_write_eof():
            self._transport.write_eof()
