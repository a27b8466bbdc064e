"""Adapter that mounts the web UI in an aiohttp application::

import asyncwork.web.aiohttp

app.add_subapp("/work", asyncwork.web.aiohttp.subapp(asyncwork.web.create_app(namespace="my_app")))
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from functools import partial
from urllib.parse import unquote

from aiohttp import web
from multidict import CIMultiDict
from starlette.applications import Starlette
from starlette.types import Message, Scope

# Seconds between checks whether the client of an idle stream has disconnected.
_DISCONNECT_CHECK = 0.5
_TAIL = "/{tail:.*}"
_CLOSING = web.AppKey("asyncwork.closing", asyncio.Event)


def subapp(app: Starlette) -> web.Application:
    """Return an aiohttp application that serves an ASGI application under the prefix that it is added with.

    The ASGI lifespan runs from startup to cleanup; streams end when the server shuts down.
    """
    adapter = web.Application()
    adapter[_CLOSING] = closing = asyncio.Event()

    async def lifespan(_: web.Application) -> AsyncIterator[None]:
        closing.clear()
        async with app.router.lifespan_context(app):
            yield

    async def close(_: web.Application) -> None:
        closing.set()

    adapter.cleanup_ctx.append(lifespan)
    adapter.on_shutdown.append(close)
    adapter.router.add_route("*", "", _to_root)
    adapter.router.add_route("*", _TAIL, partial(_serve, app))
    return adapter


async def _to_root(request: web.Request) -> web.StreamResponse:
    _, question_mark, query = request.raw_path.partition("?")
    raise web.HTTPTemporaryRedirect(f"{_prefix(request)}/{question_mark}{query}")


async def _serve(app: Starlette, request: web.Request) -> web.StreamResponse:
    exchange = _Exchange(request, request.app[_CLOSING])
    await app(_scope(request), exchange.receive, exchange.send)
    return await exchange.end()


def _prefix(request: web.Request) -> str:
    """Return the raw path prefix of the application, with the prefixes of the applications that contain it."""
    resource = request.match_info.route.resource
    assert resource is not None
    return resource.canonical.removesuffix("/{tail}")


def _scope(request: web.Request) -> Scope:
    path, _, query = request.raw_path.partition("?")
    if not path.startswith("/"):
        path = request.rel_url.raw_path
    transport = request.transport
    peer = transport.get_extra_info("peername") if transport is not None else None
    server = transport.get_extra_info("sockname") if transport is not None else None
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": f"{request.version.major}.{request.version.minor}",
        "method": request.method,
        "scheme": request.scheme,
        "path": unquote(path),
        "raw_path": path.encode("utf-8", "surrogateescape"),
        "query_string": query.encode("utf-8", "surrogateescape"),
        "root_path": unquote(_prefix(request)),
        "headers": [(name.lower(), value) for name, value in request.raw_headers],
        "client": (request.remote or "", peer[1] if isinstance(peer, tuple) else 0),
        "server": server[:2] if isinstance(server, tuple) else None,
        "state": {},
    }


class _Exchange:
    """One request and its response, with the ``receive`` and ``send`` of ASGI."""

    def __init__(self, request: web.Request, closing: asyncio.Event) -> None:
        self._request = request
        self._closing = closing
        self._received = False
        self._disconnected = False
        self._complete = False
        self._response: web.StreamResponse | None = None

    async def receive(self) -> Message:
        """Return the next part of the body; after the last, wait until the client disconnects or the server closes."""
        if not self._received:
            try:
                part = await self._request.content.readany()
            except (ConnectionError, web.RequestPayloadError):
                self._disconnected = True
                return {"type": "http.disconnect"}
            self._received = self._request.content.at_eof()
            return {"type": "http.request", "body": part, "more_body": not self._received}
        while not self._is_disconnected() and not self._closing.is_set():
            with suppress(TimeoutError):
                await asyncio.wait_for(self._closing.wait(), _DISCONNECT_CHECK)
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        """Send the head or a part of the response; ignore it when the client has disconnected."""
        if message["type"] == "http.response.start":
            headers = CIMultiDict(
                (name.decode("latin-1"), value.decode("latin-1")) for name, value in message["headers"]
            )
            self._response = web.StreamResponse(status=message["status"], headers=headers)
            return
        response, part = self._response, message.get("body", b"")
        assert response is not None, "the response must start before its body"
        try:
            if not response.prepared:
                await response.prepare(self._request)
            if part and self._request.method != "HEAD":
                await response.write(part)
        except ConnectionError:
            self._disconnected = True
        self._complete = not message.get("more_body", False)

    async def end(self) -> web.StreamResponse:
        """Return the response after the application has finished."""
        if self._response is None:
            raise web.HTTPInternalServerError
        if not self._complete and not self._closing.is_set() and self._request.transport is not None:
            # Abort the connection, so that the client does not take a truncated response for complete.
            self._request.transport.abort()
        return self._response

    def _is_disconnected(self) -> bool:
        transport = self._request.transport
        return self._disconnected or transport is None or transport.is_closing()
