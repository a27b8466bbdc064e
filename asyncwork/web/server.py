"""The web UI as a server of its own."""

from __future__ import annotations

import asyncio
import ipaddress
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import uvicorn
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ..errors import UsageError
from .auth import Proxies
from .connections import BACKLOG, connection_limit, limited, quiet_about_exhaustion

# Seconds that requests may take to end when the server is told to stop. Streams end at once.
_PATIENCE = 1
_STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@dataclass(frozen=True, slots=True)
class Address:
    """Where to listen."""

    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> Address:
        """Read ``HOST:PORT``, with brackets around the host if it is an IPv6 address.

        :raises UsageError: when it is not of that form.
        """
        host, colon, port = text.rpartition(":")
        bracketed = host.startswith("[") and host.endswith("]")
        bare = host[1:-1] if bracketed else host
        if not colon or not bare or (":" in bare) != bracketed:
            raise UsageError(
                f"{text!r} is not HOST:PORT: write 127.0.0.1:5040, [::1]:5040, or 0.0.0.0:5040 for every address"
            )
        if not port.isascii() or not port.isdigit() or int(port) > 65535:
            raise UsageError(f"a port is a number up to 65535, not {port!r}")
        return cls(bare, int(port))

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class Listener:
    """A socket that listens: whoever connects from now on is served when somebody serves it.

    :param address: port 0 takes any that is free.
    :param anywhere: whether other machines may reach it.
    :raises UsageError: when they could, and must not.
    :raises OSError: when the address cannot be had; ``errno.EADDRINUSE`` when another program has it.
    """

    def __init__(self, address: Address, *, anywhere: bool) -> None:
        found = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        # Of the two addresses of localhost every program tries the older one.
        family, *_, where = min(found, key=lambda each: each[0] != socket.AF_INET)
        self.is_loopback = ipaddress.ip_address(where[0]).is_loopback
        if not self.is_loopback and not anywhere:
            raise UsageError(
                f"at {address} everybody could reach it: give --auth USER:PASSWORD (or ASYNCWORK_WEB_AUTH), or "
                "--insecure if something in front of it lets in only those who may"
            )
        # asyncio sends without delay (TCP_NODELAY) only on sockets that name their protocol.
        self.socket = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            self.socket.bind(where)
            self.socket.listen(BACKLOG)
        except OSError:
            self.socket.close()
            raise
        self.address = Address(address.host, self.socket.getsockname()[1])


def serve(
    app: ASGIApp,
    listener: Listener,
    *,
    root_path: str = "",
    proxies: Proxies | None = None,
    access_log: bool = False,
    on_start: Callable[[], None],
) -> None:
    """Serve an application until SIGINT, SIGTERM or SIGHUP.

    :param on_start: called when it is served, and signals are heard.
    :param root_path: the path under which a proxy has it, whether or not the proxy takes that off.
    :param proxies: those that are trusted; the others' ``X-Forwarded-`` headers count for nothing.
    """
    if root_path:
        app = _Rooted(app, root_path)
    if proxies is not None:
        app = _Proxied(app, proxies)
    stoppable = _Stoppable(app)
    config = uvicorn.Config(
        stoppable,
        log_config=None,
        access_log=access_log,
        server_header=False,
        lifespan="on",
        http=limited(connection_limit()),
        ws="none",
        backlog=BACKLOG,
        # Who calls is what a trusted proxy says (see `Proxies`), and nobody else.
        proxy_headers=False,
        timeout_graceful_shutdown=_PATIENCE,
    )
    asyncio.run(_Server(config, stoppable, on_start).serve([listener.socket]))


class _Server(uvicorn.Server):
    """Stops at a signal, cleanly, instead of passing it on in the end."""

    def __init__(self, config: uvicorn.Config, stoppable: _Stoppable, on_start: Callable[[], None]) -> None:
        super().__init__(config)
        self._stoppable = stoppable
        self._on_start = on_start

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, and tell so."""
        quiet_about_exhaustion(asyncio.get_running_loop())
        await super().startup(sockets)
        self._on_start()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Listen to signals meanwhile, but for those that whoever started us wants ignored."""
        loop = asyncio.get_running_loop()
        heard = [number for number in _STOPPING if signal.getsignal(number) is not signal.SIG_IGN]
        for number in heard:
            loop.add_signal_handler(number, self._stop)
        try:
            yield
        finally:
            for number in heard:
                loop.remove_signal_handler(number)

    def _stop(self) -> None:
        self.force_exit = self.should_exit
        self.should_exit = True
        self._stoppable.stopping.set()


class _Stoppable:
    """ASGI middleware: when the server is to stop, each request is told that its client has gone. Streams end by it."""

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

        async def send_and_note(message: Message) -> None:
            nonlocal unfinished
            await send(message)
            unfinished = message["type"] == "http.response.start" or message.get("more_body", False)

        await self._app(scope, receive_until_stop, send_and_note)
        if unfinished and self.stopping.is_set():
            # Of a stream whose client has gone nobody expects an end, but this one has not.
            await send({"type": "http.response.body", "body": b""})


class _Proxied:
    """ASGI middleware that takes the client's address and the server's name from the proxies that are trusted."""

    def __init__(self, app: ASGIApp, proxies: Proxies) -> None:
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


class _Rooted:
    """ASGI middleware for an application that a proxy has under a path, and may or may not take that path off."""

    def __init__(self, app: ASGIApp, root_path: str) -> None:
        self._app = app
        self._root_path = root_path

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            root, path = self._root_path, scope["path"]
            kept = path == root or path.startswith(f"{root}/")
            scope = {**scope, "root_path": root, "path": path if kept else root + path}
        await self._app(scope, receive, send)
