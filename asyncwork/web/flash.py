"""The note on what a form has just done, made of the codes that an action puts into the URL and of nothing else."""

from __future__ import annotations

import re
from dataclasses import dataclass

from .formatting import plural
from .params import Fields


@dataclass(frozen=True, slots=True)
class Note:
    """What was done.

    :ivar text: in words.
    :ivar undo: takes it back; empty when nothing does.
    """

    text: str
    undo: str


_WORDS = {
    "retry": "{} put back on the queue.",
    "delete": "{} deleted.",
    "empty": "{} deleted.",
    "restore": "{} restored.",
    "pause": "The queue is paused.",
    "unpause": "The queue runs again.",
    "cap": "The limit is set.",
    "forget": "The queue is forgotten.",
}


def note(fields: Fields) -> Note | None:
    """Return the note that a page's parameters ask for, or ``None``."""
    words = _WORDS.get(fields.text("done"))
    if words is None:
        return None
    count = fields.text("n") if re.fullmatch(r"\d{1,12}", fields.text("n"), re.ASCII) else "0"
    undo = fields.text("undo") if re.fullmatch(r"[\w.~:-]{1,200}", fields.text("undo"), re.ASCII) else ""
    return Note(words.format(plural(int(count), "job")), undo)
