"""Live updates of open pages: server-sent events with the live sections that have changed."""

from __future__ import annotations

import asyncio
import hashlib
import re
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

from ..client import Client
from ..errors import RedisUnavailable, StreamLost, StreamTimeout, UsageError
from ..models.job_status import JobState
from . import job_status
from .context import app_context
from .formatting import escape_surrogates, quoted
from .links import has_page
from .pages import PAGES
from .render import PageHandler, render_sections
from .responses import JsonResponse, encode_json

# Seconds between two updates.
_INTERVAL = 2.0
# Seconds without a change after which an empty event is sent to keep the connection open.
_KEEPALIVE = 10.0
# A slow update is followed by a pause of this many times its duration, to limit the load.
_PAUSE_FACTOR = 10
# Seconds that a stream lasts. Then the browser opens another, and its permission is checked again.
_MAX_DURATION = 60.0
# Maximum number of open streams; further requests get 503.
_MAX_STREAMS = 200
# The ids of items of streams.
_EVENT_ID = re.compile(r"[0-9]{1,20}-[0-9]{1,20}")
# Milliseconds after which a browser reconnects.
_RECONNECT_MS = 2_000

_HEADERS = {"cache-control": "no-store", "x-accel-buffering": "no"}


class EventStream(Response):
    """Response that sends events until there are no more, or the client disconnects."""

    media_type = "text/event-stream"

    def __init__(self, events: AsyncGenerator[bytes, None]) -> None:
        super().__init__(headers=_HEADERS)
        del self.headers["content-length"]
        self._events = events

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the stream."""
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        _streams.add(self)
        sending = asyncio.ensure_future(self._send(send))
        disconnection = asyncio.ensure_future(_wait_for_disconnect(receive))
        try:
            await asyncio.wait((sending, disconnection), return_when=asyncio.FIRST_COMPLETED)
        finally:
            for each in (sending, disconnection):
                each.cancel()
            await asyncio.gather(sending, disconnection, return_exceptions=True)
            _streams.discard(self)
        if not sending.cancelled():
            sending.result()

    async def _send(self, send: Send) -> None:
        async with aclosing(self._events):
            async for event in self._events:
                await send({"type": "http.response.body", "body": event, "more_body": True})
        await send({"type": "http.response.body", "body": b""})


async def _wait_for_disconnect(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _event(kind: str, value: object) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (kind.encode(), orjson.dumps(value))


# The open streams.
_streams: set[EventStream] = set()


async def _events(request: Request, handler: PageHandler) -> AsyncGenerator[bytes, None]:
    """Yield events for a page.

    ``sections`` carries the live sections that have changed, ``unavailable`` reports that Redis cannot be reached,
    ``end`` that the page cannot be shown, and ``reconnect`` asks the browser to open a new stream.
    """
    yield b"retry: %d\n\n" % _RECONNECT_MS
    sent: dict[str, str] = {}
    began = last_event = time.monotonic()
    while time.monotonic() - began < _MAX_DURATION:
        update = await _read_update(request, handler)
        if update.kind == "end":
            yield _event("end", {"text": update.text})
            return
        if update.kind == "unavailable":
            sent.clear()
            event = _event("unavailable", {"text": update.text})
        else:
            changed = {name: html for name, html in update.sections.items() if sent.get(name) != html}
            sent |= changed
            event = _event("sections", {"sections": changed, "read": update.read_at})
            if not changed and time.monotonic() - last_event < _KEEPALIVE:
                event = b""
        if event:
            last_event = time.monotonic()
            yield event
        await asyncio.sleep(update.pause)
    yield _event("reconnect", {})


@dataclass(frozen=True, slots=True)
class _Update:
    """The current state of a page.

    :ivar kind: ``sections``, ``unavailable`` or ``end``.
    :ivar sections: the HTML of the live sections by id.
    :ivar read_at: when their state was read; see :class:`PageRequest`.
    :ivar text: the error text, unless ``kind`` is ``sections``.
    :ivar pause: seconds until the next update.
    """

    kind: str
    sections: dict[str, str]
    read_at: str
    text: str
    pause: float


async def _read_update(request: Request, handler: PageHandler) -> _Update:
    began = time.monotonic()
    sections: dict[str, str] = {}
    read_at = ""
    try:
        sections, read_at = await render_sections(request, handler)
        kind, text = "sections", ""
    except RedisUnavailable:
        kind, text = "unavailable", "Redis is unavailable."
    except (UsageError, HTTPException) as error:
        kind, text = "end", str(error)
    pause = max(_INTERVAL, _PAUSE_FACTOR * (time.monotonic() - began))
    return _Update(kind, {name: escape_surrogates(html) for name, html in sections.items()}, read_at, text, pause)


def _page(request: Request) -> tuple[Request, PageHandler]:
    """Return the request for the page named by the parameter ``path``; the other parameters are the page's own."""
    path, _, query = request.scope["query_string"].partition(b"&")
    name = unquote(path.removeprefix(b"path=").decode("latin-1"))
    handler = PAGES.get(name) or job_status.handler_of(unquote(name))
    if handler is None:
        raise HTTPException(404, "there is no such page")
    return Request({**request.scope, "query_string": query}, request.receive), handler


async def _live(request: Request) -> Response:
    """Return the event stream of a page."""
    page, handler = _page(request)
    return _stream(request, _events(page, handler))


async def _poll(request: Request) -> Response:
    """Return the current live sections of a page, and the seconds until the next poll.

    A browser opens at most six connections to a server over HTTP/1.1, so only one of its tabs has a stream and the
    others poll. Sections are left out if they have not changed since the response whose ``tag`` is in If-None-Match.
    """
    update = await _read_update(*_page(request))
    body: dict[str, object] = {"kind": update.kind, "text": update.text, "pause": update.pause, "read": update.read_at}
    if update.kind == "sections":
        body["tag"] = tag = hashlib.sha256(orjson.dumps(update.sections)).hexdigest()[:20]
        body["sections"] = {} if request.headers.get("if-none-match") == tag else update.sections
    return JsonResponse(body)


async def _chunks(client: Client, job_id: str, after: str) -> AsyncGenerator[bytes, None]:
    """Yield events for what a job emits.

    ``chunk`` carries what was emitted, and by which attempt; ``end`` says how the job has ended, and ``lost`` that the
    stream has expired before, or that there is none. A browser that reconnects sends the id of the last event, and gets
    what follows it.
    """
    yield b"retry: %d\n\n" % _RECONNECT_MS
    until = time.monotonic() + _MAX_DURATION
    while time.monotonic() < until:
        try:
            async with aclosing(client.stream_items(job_id, after=after, timeout=_KEEPALIVE)) as items:
                async for item in items:
                    after = item.id
                    value = {"state": item.end} if item.end else {"attempt": item.attempt, "chunk": item.chunk}
                    kind = b"end" if item.end else b"chunk"
                    yield b"id: %b\nevent: %b\ndata: %b\n\n" % (after.encode(), kind, encode_json(value))
                    if item.end:
                        return
                    if time.monotonic() >= until:
                        break
        except StreamTimeout:
            yield b": no news\n\n"
        except (StreamLost, UsageError) as error:
            yield _event("lost", {"text": str(error)})
            return
        except RedisUnavailable:
            # The browser reconnects.
            yield _event("unavailable", {"text": "Redis is unavailable."})
            return


async def job_stream(request: Request) -> Response:
    """Return what a job emits as server-sent events, from the beginning or after the event in Last-Event-ID."""
    client, job_id = app_context(request).client, request.path_params["job_id"]
    if client._redacts:
        raise HTTPException(403, "streams are not shown where values are redacted")
    if not has_page(job_id) or (
        not await client._last_items(job_id, 1) and (await client.status(job_id)).state is JobState.UNKNOWN
    ):
        raise HTTPException(404, "nothing is known of a job with this id, and it has no stream")
    after = request.headers.get("last-event-id", "")
    if after and not _EVENT_ID.fullmatch(after):
        raise UsageError(f"Last-Event-ID must be the id of an event, such as 1700000000000-0, not {quoted(after)}")
    return _stream(request, _chunks(client, job_id, after))


def _stream(request: Request, events: AsyncGenerator[bytes, None]) -> Response:
    if len(_streams) >= _MAX_STREAMS:
        return Response(status_code=503, headers={"retry-after": "10"})
    if request.method == "HEAD":
        return Response(headers=_HEADERS, media_type=EventStream.media_type)
    return EventStream(events)


routes: list[Route] = [Route("/live", _live), Route("/live/poll", _poll)]
