"""Who did what, for the log."""

from __future__ import annotations

import logging
import re

from starlette.requests import Request

from ..models import Outcome
from .throttle import LineLimit

logger = logging.getLogger("asyncwork.web")

# Characters of a value.
_LONGEST = 200
_PLAIN = re.compile(r"[\w.:/@~+*-]+", re.ASCII)


def quote(value: object) -> str:
    """Return a value for a line of a log: quoted and escaped unless it is plain, so that it cannot pass for more."""
    text = str(value)
    if len(text) > _LONGEST:
        text = text[:_LONGEST] + "…"
    return text if _PLAIN.fullmatch(text) else ascii(text)


def note(request: Request, action: str, what: dict[str, object], outcome: Outcome) -> None:
    """Log what was done."""
    logger.info("%s done=%d %s", action, outcome.done, _describe(request, what))


def note_failure(request: Request, action: str, what: dict[str, object], error: Exception) -> None:
    """Log what was begun, and what has ended it; some of it may have been done."""
    logger.warning("%s failed %s error=%s", action, _describe(request, what), quote(error))


def note_refusal(request: Request, reason: str) -> None:
    """Log what somebody may not do, some of it a minute."""
    lines: LineLimit = request.state.refusals
    may_be_written, left_out = lines.admit()
    if left_out:
        logger.warning("refused %d more requests, which were not logged one by one", left_out)
    if not may_be_written:
        return
    what = {"method": request.method, "path": request.scope["path"], "reason": reason}
    logger.warning("refused %s", _describe(request, what))


def _describe(request: Request, what: dict[str, object]) -> str:
    client = request.client.host if request.client else ""
    named = {"who": request.state.who or "-", "client": client or "-", **what}
    return " ".join(f"{name}={quote(value)}" for name, value in named.items())
