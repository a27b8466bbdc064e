"""Checks of the arguments that several methods of the client take."""

from __future__ import annotations

from collections.abc import Iterable

from .._jobs.option_checks import check_type
from .._jobs.printable import shown
from ..errors import UsageError
from ..models.diagnosis import Diagnosis
from .query import JobQuery

_WANTED: dict[str, tuple[type, str]] = {
    "cursor": (str, "the cursor of the last result, or empty to begin"),
    "diagnosis": (Diagnosis, "what Client.diagnose has returned"),
    "job_id": (str, "the id of a job"),
    "query": (JobQuery, "a JobQuery(…)"),
    "refs": (Iterable, "a list of the refs of job records"),
    "reason": (str, "why the jobs are cancelled"),
    "text": (str, "text to search for"),
    "undo": (str, "the undo of an ActionResult"),
    "who": (str, "the name of the user who does this"),
}


def not_a_cursor(cursor: str) -> UsageError:
    """Return the error for a text that no result has had as its cursor."""
    return UsageError(f"not a cursor: {shown(cursor)}; pass the cursor of the last result")


def check_arguments(**given: object) -> None:
    """Check that arguments are of their types. The form of a text is checked where the text is read.

    :raises UsageError: when one is of another type.
    """
    for name, value in given.items():
        kind, wanted = _WANTED[name]
        check_type(value, name, kind, wanted)
        # A text is an iterable of its characters.
        if kind is Iterable and isinstance(value, (str, bytes)):
            raise UsageError(f"{name} must be {wanted}, not one text: {shown(value)}")
