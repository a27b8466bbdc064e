"""Standalone HTTP server of the web UI."""

from __future__ import annotations

import asyncio
import ipaddress
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import uvicorn
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .._health.listening import ListenAddress, open_listener, throttle_accept_errors
from ..errors import UsageError
from .auth import TrustedProxies
from .connections import BACKLOG, connection_limit, limited_protocol, logger

# Seconds that running requests get to finish when the server stops. Streams end at once.
_SHUTDOWN_TIMEOUT = 1
_STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Listener:
    """A listening socket. Clients can connect at once; :func:`serve` then serves them.

    :param address: port 0 picks a free port.
    :param allow_remote: whether other machines may be able to reach the socket.
    :raises UsageError: when other machines could reach the socket, but ``allow_remote`` is false.
    :raises OSError: when the socket cannot be bound; ``errno.EADDRINUSE`` when another program uses the address.
    """

    def __init__(self, address: ListenAddress, *, allow_remote: bool) -> None:
        family, sockaddr = address.resolve()
        self.is_loopback: bool = ipaddress.ip_address(sockaddr[0]).is_loopback
        if not self.is_loopback and not allow_remote:
            raise UsageError(
                f"{address} can be reached from other machines; set --auth USER:PASSWORD (or ASYNCWORK_WEB_AUTH), or "
                "--insecure if a proxy in front of it controls access"
            )
        self.socket: socket.socket = open_listener(family, sockaddr, BACKLOG)
        self.address: ListenAddress = ListenAddress(address.host, self.socket.getsockname()[1])


def serve(
    app: ASGIApp,
    listener: Listener,
    *,
    root_path: str = "",
    proxies: TrustedProxies | None = None,
    access_log: bool = False,
    on_start: Callable[[], None],
) -> None:
    """Serve an application until SIGINT, SIGTERM or SIGHUP.

    :param root_path: the path prefix under which a proxy publishes the application. The proxy may strip it or not.
    :param proxies: the trusted proxies; ``X-Forwarded-`` headers from other addresses are ignored.
    :param on_start: called when the server accepts requests and handles signals.
    """
    if root_path:
        app = _RootPathMiddleware(app, root_path)
    if proxies is not None:
        app = _ProxyHeadersMiddleware(app, proxies)
    stop_middleware = _StopMiddleware(app)
    config = uvicorn.Config(
        stop_middleware,
        log_config=None,
        access_log=access_log,
        server_header=False,
        lifespan="on",
        http=limited_protocol(connection_limit()),
        ws="none",
        backlog=BACKLOG,
        # `_ProxyHeadersMiddleware` reads the headers of trusted proxies instead.
        proxy_headers=False,
        timeout_graceful_shutdown=_SHUTDOWN_TIMEOUT,
    )
    asyncio.run(_Server(config, stop_middleware, on_start).serve([listener.socket]))


class _Server(uvicorn.Server):
    """uvicorn server that stops cleanly at a signal, and does not raise the signal again afterwards."""

    def __init__(self, config: uvicorn.Config, stop_middleware: _StopMiddleware, on_start: Callable[[], None]) -> None:
        super().__init__(config)
        self._stop_middleware = stop_middleware
        self._on_start = on_start

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start the server, then call ``on_start``."""
        throttle_accept_errors(asyncio.get_running_loop(), logger)
        await super().startup(sockets)
        self._on_start()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Handle stop signals within the context, except those that the parent process set to be ignored."""
        loop = asyncio.get_running_loop()
        handled = [number for number in _STOP_SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]
        for number in handled:
            loop.add_signal_handler(number, self._stop)
        try:
            yield
        finally:
            for number in handled:
                loop.remove_signal_handler(number)

    def _stop(self) -> None:
        self.force_exit = self.should_exit
        self.should_exit = True
        self._stop_middleware.stopping.set()


class _StopMiddleware:
    """ASGI middleware that reports a disconnect to every request when the server stops, which ends streams."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self.stopping = asyncio.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def receive_until_stop() -> Message:
            message = asyncio.ensure_future(receive())
            stop = asyncio.ensure_future(self.stopping.wait())
            try:
                await asyncio.wait((message, stop), return_when=asyncio.FIRST_COMPLETED)
                return message.result() if message.done() else {"type": "http.disconnect"}
            finally:
                message.cancel()
                stop.cancel()

        unfinished = False

        async def send_and_track(message: Message) -> None:
            nonlocal unfinished
            await send(message)
            unfinished = message["type"] == "http.response.start" or message.get("more_body", False)

        await self._app(scope, receive_until_stop, send_and_track)
        if unfinished and self.stopping.is_set():
            # A stream sends no end after a disconnect, but this client is still connected and waits for it.
            await send({"type": "http.response.body", "body": b""})


class _ProxyHeadersMiddleware:
    """ASGI middleware that takes the client's address and the Host header from trusted proxies."""

    def __init__(self, app: ASGIApp, proxies: TrustedProxies) -> None:
        self._app = app
        self._proxies = proxies

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        peer = (scope.get("client") or ("", 0))[0]
        if scope["type"] == "http" and peer in self._proxies:
            headers = MutableHeaders(raw=list(scope["headers"]))
            scope = {**scope, "client": (self._proxies.client(headers, peer), 0)}
            host = self._proxies.host(headers)
            if host is not None:
                headers["host"] = host
                scope["headers"] = headers.raw
        await self._app(scope, receive, send)


class _RootPathMiddleware:
    """ASGI middleware for an application under a path prefix, which the proxy may strip or not."""

    def __init__(self, app: ASGIApp, root_path: str) -> None:
        self._app = app
        self._root_path = root_path

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            root, path = self._root_path, scope["path"]
            kept = path == root or path.startswith(f"{root}/")
            scope = {**scope, "root_path": root, "path": path if kept else root + path}
        await self._app(scope, receive, send)
