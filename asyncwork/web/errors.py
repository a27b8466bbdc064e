"""Answers to requests that came to nothing: a page for whoever looks at pages, JSON for programs."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from http import HTTPStatus

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from ..errors import RedisUnusable, UsageError
from . import params
from .render import error_page
from .responses import JsonResponse

logger = logging.getLogger("asyncwork.web")

_TITLES = {
    400: "This cannot be done",
    403: "Not allowed",
    404: "Not found",
    405: "Not possible here",
    413: "Too much at once",
    500: "Something went wrong",
    503: "Redis is out of reach",
}
_TEXTS = {404: "there is nothing at this address", 405: "this address takes no such request"}
EXPECTED = (HTTPException, UsageError, RedisUnusable)


def wants_page(request: Request) -> bool:
    """Tell whether the one who asks looks at pages."""
    if request.method in ("GET", "HEAD"):
        return "text/html" in request.headers.get("accept", "")
    return params.is_form(request)


async def answer_error(request: Request, error: Exception) -> Response:
    """Return the answer to a request that ended with one of the expected errors, or with any other: that is a defect,
    of which nobody is told anything."""
    if isinstance(error, HTTPException):
        if error.status_code < 400:
            return Response(status_code=error.status_code, headers=error.headers)
        # What the framework says by itself is the mere name of the status.
        told = error.detail != HTTPStatus(error.status_code).phrase
        text = error.detail if told else _TEXTS.get(error.status_code, error.detail)
        return await answer_failure(request, error.status_code, text, error.headers)
    if isinstance(error, UsageError):
        return await answer_failure(request, 400, str(error))
    if isinstance(error, RedisUnusable):
        return await answer_failure(request, 503, str(error))
    return await answer_failure(request, 500, "an error in the program; its log has the details")


async def answer_failure(
    request: Request, status: int, text: str, headers: Mapping[str, str] | None = None
) -> Response:
    """Return an answer that says what went wrong."""
    if wants_page(request):
        try:
            response = await error_page(request, status, _TITLES.get(status) or HTTPStatus(status).phrase, text)
        except Exception:
            logger.exception("the page that tells of an error has failed itself")
        else:
            response.headers.update(headers or {})
            return response
    return JsonResponse({"error": text}, status, headers)
