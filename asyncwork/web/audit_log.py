"""Log lines about actions and rejected requests, with the user and the client address."""

from __future__ import annotations

import logging
import re

from starlette.requests import Request

from ..models.actions import ActionResult
from .formatting import quoted
from .throttle import LogLimit

logger: logging.Logger = logging.getLogger("asyncwork.web")

# Maximum number of characters of a logged value.
_MAX_LENGTH = 200
_PLAIN = re.compile(r"[\w.:/@~+*-]+", re.ASCII)


def log_value(value: object) -> str:
    """Return a value for a log line, quoted unless it is plain, so that it cannot imitate other fields or lines."""
    text = str(value)
    return text if len(text) <= _MAX_LENGTH and _PLAIN.fullmatch(text) else quoted(text, _MAX_LENGTH)


def log_action(request: Request, action: str, details: dict[str, object], outcome: ActionResult) -> None:
    """Log a finished action."""
    logger.info("%s done=%d %s", action, outcome.done, _describe(request, details))


def log_failed_action(request: Request, action: str, details: dict[str, object], error: Exception) -> None:
    """Log an action that an error ended; part of it may have been done."""
    logger.warning("%s failed %s error=%s", action, _describe(request, details), log_value(error))


def log_rejection(request: Request, reason: str) -> None:
    """Log a rejected request, up to a limit per minute."""
    limit: LogLimit = request.state.rejection_log_limit
    allowed, suppressed = limit.acquire()
    if suppressed:
        logger.warning("rejected %d more requests that were not logged one by one", suppressed)
    if not allowed:
        return
    details = {"method": request.method, "path": request.scope["path"], "reason": reason}
    logger.warning("rejected %s", _describe(request, details))


def _describe(request: Request, details: dict[str, object]) -> str:
    client = request.client.host if request.client else ""
    named = {"who": request.state.user or "-", "client": client or "-", **details}
    return " ".join(f"{name}={log_value(value)}" for name, value in named.items())
