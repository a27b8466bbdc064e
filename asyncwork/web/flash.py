"""The message about a form's finished action, which a redirect passes to the next page as URL parameters."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import urlencode

from ..models.actions import ActionResult
from . import labels
from .links import has_page
from .params import Params

_PARAMS = ("done", "n", "undo", "job")


@dataclass(frozen=True, slots=True)
class Flash:
    """A message to show once.

    :ivar undo: the token that undoes the action; empty when it cannot be undone.
    :ivar job_id: the job that it is about; empty if it is about several, or has no page.
    """

    text: str
    undo: str
    job_id: str = ""


def read_flash(params: Params) -> Flash | None:
    """Return the message that a page's parameters describe, or ``None``.

    It takes only known actions, digits and tokens from the URL, because a crafted link could contain any text.
    """
    action = params.text("done")
    if action not in labels.MESSAGES:
        return None
    count = params.text("n") if re.fullmatch(r"\d{1,12}", params.text("n"), re.ASCII) else "0"
    undo = params.text("undo") if re.fullmatch(r"[\w.~:-]{1,200}", params.text("undo"), re.ASCII) else ""
    job_id = params.text("job") if has_page(params.text("job")) else ""
    return Flash(labels.message(action, int(count)), undo, job_id)


def with_flash(query: str, action: str, outcome: ActionResult, job_id: str = "") -> str:
    """Return a query string with the parameters of a finished action instead of those of an earlier one."""
    kept = [pair for pair in query.split("&") if pair and pair.partition("=")[0] not in _PARAMS]
    added = {"done": action, "n": str(outcome.done), "undo": outcome.undo, "job": job_id if has_page(job_id) else ""}
    added = {name: value for name, value in added.items() if value}
    return "&".join([*kept, urlencode(added)])
