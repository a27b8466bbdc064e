"""What every request goes through before anything looks at what it wants, and every answer on its way out."""

from __future__ import annotations

import asyncio
import logging
import math
from contextlib import suppress
from functools import partial
from urllib.parse import quote as quote_path

from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .audit_log import note_refusal, quote
from .auth import VIEW, Authority, Credentials, Hosts, foreign_origin_advice, is_own_request
from .errors import answer_error
from .health import is_health_check
from .responses import JsonResponse
from .throttle import KNOWN_FOR, LineLimit, Throttle

logger = logging.getLogger("asyncwork.web")

# Bytes of a request's body.
LONGEST_BODY = 1_000_000

_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "X-Frame-Options": "DENY",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
_SAFE = ("GET", "HEAD")
# Holds a token of a client that gave the right password. It opens nothing: the password is asked for all the same.
_COOKIE = "asyncwork_known"
_CHALLENGE = {"WWW-Authenticate": 'Basic realm="asyncwork", charset="UTF-8"'}


class _Answered(Exception):
    """Nothing more is to be sent."""


class Guard:
    """ASGI middleware: turns away who may not come in, limits bodies, sets headers, and answers for defects.

    It sets ``request.state.who``, the name of the user or empty; ``request.state.may(action)``, which tells whether
    that user may do something; and ``request.state.admit(action)``, which raises HTTPException when not.

    :param credentials: what every request must have; ``None`` for nothing.
    :param hosts: by which names the server may be called; ``None`` for any.
    """

    def __init__(
        self, app: ASGIApp, *, authority: Authority, credentials: Credentials | None, hosts: Hosts | None
    ) -> None:
        self._app = app
        self._authority = authority
        self._credentials = credentials
        self._hosts = hosts
        self._throttle = Throttle()
        self._refusals = LineLimit()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
        elif scope["type"] == "http":
            # A copy: what is noted in it is no concern of an application that this one is mounted in.
            with suppress(_Answered):
                await self._serve({**scope, "state": dict(scope.get("state", ()))}, receive, send)
        else:
            await send({"type": "websocket.close", "code": 1000})

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = False

        async def send_safely(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                _set_headers(scope, message)
                if request.state.token and not _is_asset(scope):
                    MutableHeaders(raw=message["headers"]).append("Set-Cookie", _cookie(scope, request.state.token))
            await send(message)
            if message["type"] == "http.response.start" and scope["method"] == "HEAD":
                # A stream would go on for ever without anybody seeing it.
                await send({"type": "http.response.body", "body": b""})
                raise _Answered

        receive = _limited(scope, receive)
        request = Request(scope, receive, send_safely)
        request.state.token = ""
        try:
            app = await self._refusal(request) or self._app
            await app(scope, receive, send_safely)
        except _Answered:
            raise
        except ClientDisconnect:
            logger.debug("the client has gone")
        except Exception as error:
            if not isinstance(error, HTTPException):
                logger.exception("%s %s failed", quote(request.method), quote(scope["path"]))
            if not started:
                response = await answer_error(request, error)
                await response(scope, receive, send_safely)

    async def _refusal(self, request: Request) -> Response | None:
        """Return the answer to a request that goes no further.

        :raises HTTPException: when it may not do what it wants.
        """
        state = request.state
        state.who = ""
        state.refusals = self._refusals
        state.admitted = False
        state.may = partial(self._authority.may, request)
        state.admit = partial(self._authority.admit, request)
        if is_health_check(request):
            return None
        # Whoever fails here gets no page: that would tell something, and could not load what belongs to it.
        if self._hosts is not None and not self._hosts.fit(request.headers.get("host", "")):
            note_refusal(request, "it calls the server by a name that is not allowed")
            return PlainTextResponse(self._hosts.refusal(request.headers.get("host", "")), 403)
        if self._credentials is not None:
            refusal = await self._refusal_of_credentials(request, self._credentials)
            if refusal is not None:
                return refusal
            state.who = self._credentials.user
        if request.method not in _SAFE:
            if not is_own_request(request.headers):
                note_refusal(request, "it comes from a page of another origin")
                raise HTTPException(403, foreign_origin_advice(request.headers))
        elif not _is_asset(request.scope):
            await self._authority.admit(request, VIEW)
        return None

    async def _refusal_of_credentials(self, request: Request, credentials: Credentials) -> Response | None:
        """Return the answer to a request without the right password.

        After some wrong ones a password is judged only after a while, the right one too, unless the client has given
        it before: a client that goes away when no answer comes at once would learn as much as from an answer.
        """
        given = request.headers.get("authorization")
        if given is None:
            return JsonResponse({"error": "user and password are needed"}, 401, _CHALLENGE)
        address = request.client.host if request.client else ""
        known = self._throttle.knows(request.cookies.get(_COOKIE, ""))
        if not known:
            wait = self._throttle.wait(address)
            if wait == math.inf:
                note_refusal(request, "too many wrong passwords")
                error = "too many wrong passwords came from your address; try again in some seconds"
                return JsonResponse({"error": error}, 429, {"Retry-After": "5"})
            await asyncio.sleep(wait)
        if not credentials.fit(given):
            self._throttle.failed(address)
            note_refusal(request, "wrong user or password")
            return JsonResponse({"error": "user and password are needed"}, 401, _CHALLENGE)
        if not known:
            request.state.token = self._throttle.token()
        return None


def _cookie(scope: Scope, token: str) -> str:
    path = quote_path(scope.get("root_path", "")) or "/"
    return f"{_COOKIE}={token}; Path={path}; Max-Age={KNOWN_FOR}; HttpOnly; SameSite=Strict"


def _set_headers(scope: Scope, message: Message) -> None:
    headers = MutableHeaders(raw=message.setdefault("headers", []))
    headers.update(_HEADERS)
    if not _is_asset(scope) or message["status"] >= 400:
        headers["Cache-Control"] = "no-store"


def _is_asset(scope: Scope) -> bool:
    path: str = scope["path"]
    root: str = scope.get("root_path", "")
    return (path.removeprefix(root) if path.startswith(f"{root}/") else path).startswith("/static/")


def _limited(scope: Scope, receive: Receive) -> Receive:
    """Return what receives a request's body, but no more of it than is accepted."""
    length = dict(scope["headers"]).get(b"content-length", b"0")
    announced = int(length) if length.isdigit() and len(length) < 20 else LONGEST_BODY + 1
    left = LONGEST_BODY

    async def receive_some() -> Message:
        nonlocal left
        if announced > LONGEST_BODY:
            raise HTTPException(413, f"a request may have {LONGEST_BODY:,} bytes")
        message = await receive()
        left -= len(message.get("body", b""))
        if left < 0:
            raise HTTPException(413, f"a request may have {LONGEST_BODY:,} bytes")
        return message

    return receive_some
