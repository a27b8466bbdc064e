"""Keeps pages that are open up to date: server-sent events with those of their live parts that have changed."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from urllib.parse import unquote

import orjson
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from ..errors import RedisUnusable, UsageError
from .pages import VIEWERS
from .render import Viewer, blocks
from .responses import JsonResponse

# Seconds from one look to the next, and after which something is said although nothing has changed.
_PERIOD = 2.0
_SILENCE = 10.0
# A look that took long is followed by a rest of so many times that.
_REST = 10
# Seconds for which one request is served; then the browser sends another, and whether it may look is asked again.
_LASTS = 60.0
# Streams at once; whoever comes too late is told to come again.
_MOST_STREAMS = 200
# Milliseconds after which a browser comes again.
_AGAIN = 2_000

_HEADERS = {"cache-control": "no-store", "x-accel-buffering": "no"}


class EventStream(Response):
    """Sends events until there are no more, or until the client has gone."""

    media_type = "text/event-stream"

    def __init__(self, events: AsyncGenerator[bytes, None]) -> None:
        super().__init__(headers=_HEADERS)
        del self.headers["content-length"]
        self._events = events

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve the stream."""
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        _streams.add(self)
        sending = asyncio.ensure_future(self._send(send))
        leaving = asyncio.ensure_future(_disconnection(receive))
        try:
            await asyncio.wait((sending, leaving), return_when=asyncio.FIRST_COMPLETED)
        finally:
            for each in (sending, leaving):
                each.cancel()
            await asyncio.gather(sending, leaving, return_exceptions=True)
            _streams.discard(self)
        if not sending.cancelled():
            sending.result()

    async def _send(self, send: Send) -> None:
        async with aclosing(self._events):
            async for event in self._events:
                await send({"type": "http.response.body", "body": event, "more_body": True})
        await send({"type": "http.response.body", "body": b""})


async def _disconnection(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _event(kind: str, value: object) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (kind.encode(), orjson.dumps(value))


# All that are open.
_streams: set[EventStream] = set()


async def _events(request: Request, viewer: Viewer) -> AsyncGenerator[bytes, None]:
    """Yield what has changed, whenever something has: ``blocks``; ``trouble`` when Redis is out of reach; ``end`` when
    there is nothing to be seen; and ``again`` when the page is to send another request.
    """
    yield b"retry: %d\n\n" % _AGAIN
    sent: dict[str, str] = {}
    began = said = time.monotonic()
    while time.monotonic() - began < _LASTS:
        look = await _look(request, viewer)
        if look.kind == "end":
            yield _event("end", {"text": look.text})
            return
        if look.kind == "trouble":
            sent.clear()
            event = _event("trouble", {"text": look.text})
        else:
            changed = {name: html for name, html in look.blocks.items() if sent.get(name) != html}
            sent |= changed
            event = _event("blocks", {"blocks": changed})
            if not changed and time.monotonic() - said < _SILENCE:
                event = b""
        if event:
            said = time.monotonic()
            yield event
        await asyncio.sleep(look.rest)
    yield _event("again", {})


@dataclass(frozen=True, slots=True)
class _Look:
    """What a look at a page came to.

    :ivar kind: ``blocks``, ``trouble`` or ``end``.
    :ivar blocks: the live parts of the page, by their ids.
    :ivar rest: seconds until the next look.
    """

    kind: str
    blocks: dict[str, str]
    text: str
    rest: float


async def _look(request: Request, viewer: Viewer) -> _Look:
    began, found = time.monotonic(), {}
    try:
        found = await blocks(request, viewer)
        kind, text = "blocks", ""
    except RedisUnusable:
        kind, text = "trouble", "Redis is out of reach."
    except (UsageError, HTTPException) as error:
        kind, text = "end", str(error)
    rest = max(_PERIOD, _REST * (time.monotonic() - began))
    return _Look(kind, {name: _sendable(html) for name, html in found.items()}, text, rest)


def _sendable(html: str) -> str:
    return html.encode("utf-8", "backslashreplace").decode()


def _page(request: Request) -> tuple[Request, Viewer]:
    """Return the page whose path is given as ``path``; the other parameters are the page's own."""
    path, _, query = request.scope["query_string"].partition(b"&")
    viewer = VIEWERS.get(unquote(path.removeprefix(b"path=").decode("latin-1")))
    if viewer is None:
        raise HTTPException(404, "there is no such page")
    return Request({**request.scope, "query_string": query}, request.receive), viewer


async def _live(request: Request) -> Response:
    """Return the stream for a page."""
    page, viewer = _page(request)
    if len(_streams) >= _MOST_STREAMS:
        return Response(status_code=503, headers={"retry-after": "10"})
    if request.method == "HEAD":
        return Response(headers=_HEADERS, media_type=EventStream.media_type)
    return EventStream(_events(page, viewer))


async def _once(request: Request) -> Response:
    """Return the live parts of a page as they are now, and after how many seconds to ask again.

    A browser opens six connections to a server over HTTP/1.1: of its tabs one has a stream, and the others ask here.
    What has not changed since the answer whose ``tag`` is given as If-None-Match is not sent again.
    """
    look = await _look(*_page(request))
    told: dict[str, object] = {"kind": look.kind, "text": look.text, "rest": look.rest}
    if look.kind == "blocks":
        told["tag"] = tag = hashlib.sha256(orjson.dumps(look.blocks)).hexdigest()[:20]
        told["blocks"] = {} if request.headers.get("if-none-match") == tag else look.blocks
    return JsonResponse(told)


routes = [Route("/live", _live), Route("/live/once", _once)]
