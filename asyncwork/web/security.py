"""Security middleware: checks every request before it is handled, and sets the headers of every response."""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Collection
from contextlib import suppress
from functools import partial
from urllib.parse import quote as quote_path

from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .audit_log import log_rejection, log_value
from .auth import VIEW, AllowedHosts, Authorizer, Credentials, cross_origin_text, is_same_origin
from .errors import error_response
from .links import path_below_root
from .responses import JsonResponse
from .throttle import TOKEN_LIFETIME, LogLimit, PasswordThrottle

logger: logging.Logger = logging.getLogger("asyncwork.web")

# Maximum size of a request's body in bytes.
MAX_BODY = 1_000_000

_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "X-Frame-Options": "DENY",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
_SAFE_METHODS = ("GET", "HEAD")
# Holds the token of a client that gave the right password. It only skips delays; the password is still required.
_COOKIE = "asyncwork_known"
_PASSWORD_REQUIRED = "a user name and password are required"
_CHALLENGE = {"WWW-Authenticate": 'Basic realm="asyncwork", charset="UTF-8"'}


class _ResponseComplete(Exception):
    """Ends the handling of a request whose response is complete."""


class SecurityMiddleware:
    """ASGI middleware that authenticates requests, limits bodies, sets headers, and responds to unexpected errors.

    It sets ``request.state.user``, the user's name or an empty text; ``request.state.is_allowed(action)``, which
    returns whether to offer an action; and ``request.state.require(action)``, which raises HTTPException when the
    user may not do it.

    :param credentials: required from every request; ``None`` requires none.
    :param hosts: host names that requests may address; ``None`` allows any.
    :param open_paths: paths that need no password, allowed host name or permission to be read.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        authorizer: Authorizer,
        credentials: Credentials | None,
        hosts: AllowedHosts | None,
        open_paths: Collection[str],
    ) -> None:
        self._app = app
        self._open_paths = open_paths
        self._authorizer = authorizer
        self._credentials = credentials
        self._hosts = hosts
        self._throttle = PasswordThrottle()
        self._rejection_log_limit = LogLimit()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
        elif scope["type"] == "http":
            # Copy the state, so that an application that mounts this one does not see ours.
            with suppress(_ResponseComplete):
                await self._handle({**scope, "state": dict(scope.get("state", ()))}, receive, send)
        else:
            await send({"type": "websocket.close", "code": 1000})

    async def _handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = False

        async def send_with_headers(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                _set_headers(scope, message)
                if request.state.token and not _is_asset(scope):
                    MutableHeaders(raw=message["headers"]).append("Set-Cookie", _cookie(scope, request.state.token))
            await send(message)
            if message["type"] == "http.response.start" and scope["method"] == "HEAD":
                # Otherwise a stream would run on although its events are discarded.
                await send({"type": "http.response.body", "body": b""})
                raise _ResponseComplete

        receive = _limit_body(scope, receive)
        request = Request(scope, receive, send_with_headers)
        request.state.token = ""
        try:
            app = await self._rejection(request) or self._app
            await app(scope, receive, send_with_headers)
        except _ResponseComplete:
            raise
        except ClientDisconnect:
            logger.debug("client disconnected")
        except Exception as error:
            if not isinstance(error, HTTPException):
                logger.exception("%s %s failed", log_value(request.method), log_value(scope["path"]))
            if not started:
                response = await error_response(request, error)
                await response(scope, receive, send_with_headers)

    async def _rejection(self, request: Request) -> Response | None:
        """Return the response to a request that must not be handled, or ``None``.

        :raises HTTPException: when the request is not allowed, and may get an error page.
        """
        state = request.state
        state.user = ""
        state.rejection_log_limit = self._rejection_log_limit
        state.authorized = False
        state.is_allowed = partial(self._authorizer.is_allowed, request)
        state.require = partial(self._authorizer.require, request)
        if request.method in _SAFE_METHODS and path_below_root(request.scope) in self._open_paths:
            return None
        # Rejections of this kind are no pages, which would reveal details and could not load their static files.
        host = request.headers.get("host", "")
        if self._hosts is not None and not self._hosts.allows(host):
            log_rejection(request, "host name is not allowed")
            return PlainTextResponse(self._hosts.error_text(host), 403)
        if self._credentials is not None:
            rejection = await self._password_rejection(request, self._credentials)
            if rejection is not None:
                return rejection
            state.user = self._credentials.user
        if request.method not in _SAFE_METHODS:
            if not is_same_origin(request.headers):
                log_rejection(request, "page of another origin")
                raise HTTPException(403, cross_origin_text(request.headers))
        elif not _is_asset(request.scope):
            await self._authorizer.require(request, VIEW)
        return None

    async def _password_rejection(self, request: Request, credentials: Credentials) -> Response | None:
        """Return the response to a request without the right password, or ``None``.

        After some wrong passwords the check is delayed, also for the right password unless the client gave it before.
        If only wrong ones were delayed, a missing immediate response would reveal that the password is wrong.
        """
        header = request.headers.get("authorization")
        if header is None:
            return JsonResponse({"error": _PASSWORD_REQUIRED}, 401, _CHALLENGE)
        address = request.client.host if request.client else ""
        known = self._throttle.is_valid_token(request.cookies.get(_COOKIE, ""))
        if not known:
            delay = self._throttle.delay(address)
            if delay == math.inf:
                log_rejection(request, "too many wrong passwords")
                error = "too many wrong passwords from your address; try again in 5 seconds"
                return JsonResponse({"error": error}, 429, {"Retry-After": "5"})
            await asyncio.sleep(delay)
        if not credentials.matches(header):
            self._throttle.record_failure(address)
            log_rejection(request, "wrong user name or password")
            return JsonResponse({"error": _PASSWORD_REQUIRED}, 401, _CHALLENGE)
        if not known:
            request.state.token = self._throttle.issue_token()
        return None


def _cookie(scope: Scope, token: str) -> str:
    path = quote_path(scope.get("root_path", "")) or "/"
    return f"{_COOKIE}={token}; Path={path}; Max-Age={TOKEN_LIFETIME}; HttpOnly; SameSite=Strict"


def _set_headers(scope: Scope, message: Message) -> None:
    headers = MutableHeaders(raw=message.setdefault("headers", []))
    headers.update(_HEADERS)
    if not _is_asset(scope) or message["status"] >= 400:
        headers["Cache-Control"] = "no-store"


def _is_asset(scope: Scope) -> bool:
    return path_below_root(scope).startswith("/static/")


def _limit_body(scope: Scope, receive: Receive) -> Receive:
    """Return a ``receive`` that raises HTTPException (413) when the body is too large."""
    length = dict(scope["headers"]).get(b"content-length", b"0")
    announced = int(length) if length.isdigit() and len(length) < 20 else MAX_BODY + 1
    left = MAX_BODY

    async def receive_limited() -> Message:
        nonlocal left
        if announced > MAX_BODY:
            raise HTTPException(413, f"the body may have at most {MAX_BODY:,} bytes")
        message = await receive()
        left -= len(message.get("body", b""))
        if left < 0:
            raise HTTPException(413, f"the body may have at most {MAX_BODY:,} bytes")
        return message

    return receive_limited
