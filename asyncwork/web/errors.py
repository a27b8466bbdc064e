"""Error responses: a page for browsers, JSON for programs."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from http import HTTPStatus

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from ..errors import RedisUnavailable, UniqueConflictError, UsageError
from . import params
from .render import error_page
from .responses import JsonResponse

logger: logging.Logger = logging.getLogger("asyncwork.web")

_TITLES = {
    400: "Invalid request",
    403: "Not allowed",
    404: "Not found",
    405: "Not possible here",
    409: "Not possible now",
    413: "Request too large",
    500: "Something went wrong",
    503: "Redis is unavailable",
}
_TEXTS = {404: "there is no such page or API path", 405: "this path does not accept the request's method"}
HANDLED_ERRORS = (HTTPException, UsageError, UniqueConflictError, RedisUnavailable)


def wants_page(request: Request) -> bool:
    """Return whether a browser should get a page as the response."""
    if request.method in ("GET", "HEAD"):
        return "text/html" in request.headers.get("accept", "")
    return params.is_form(request)


async def error_response(request: Request, error: Exception) -> Response:
    """Return the response for an error; the texts of unexpected errors are logged only."""
    if isinstance(error, HTTPException):
        # Starlette fills in the status phrase where no detail was given.
        has_detail = error.detail != HTTPStatus(error.status_code).phrase
        text = error.detail if has_detail else _TEXTS.get(error.status_code, error.detail)
        return await _response(request, error.status_code, text, error.headers)
    if isinstance(error, UsageError):
        return await _response(request, 400, str(error))
    if isinstance(error, UniqueConflictError):
        return await _response(request, 409, str(error))
    if isinstance(error, RedisUnavailable):
        return await _response(request, 503, str(error))
    return await _response(request, 500, "an internal error; see the server's log for details")


async def _response(request: Request, status: int, text: str, headers: Mapping[str, str] | None = None) -> Response:
    if wants_page(request):
        try:
            response = await error_page(request, status, _TITLES.get(status) or HTTPStatus(status).phrase, text)
        except Exception:
            logger.exception("failed to render the error page")
        else:
            response.headers.update(headers or {})
            return response
    return JsonResponse({"error": text}, status, headers)
