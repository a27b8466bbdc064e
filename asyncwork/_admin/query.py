"""Queries for jobs, and the kinds of their errors."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from types import NoneType
from typing import Any

from .._jobs.names import Named, name_of
from .._jobs.option_checks import check_type
from .._json import codec
from .._json.walk import groups
from ..models.job_record import JobRecord

# Characters of an error that its kind may have.
_LONGEST_KIND = 160

_VARIABLE = re.compile(
    r"""
    0x[0-9a-fA-F]+
    | (?<![^\W_])[0-9a-fA-F]{8,}(?:-[0-9a-fA-F]{4,})*(?![^\W_])
    | \d+(?:\.\d+)*
    | '[^']*' | "[^"]*"
    """,
    re.VERBOSE,
)


def error_kind(err: str) -> str:
    """Return what errors that differ only in their values have in common.

    It is the first line of the text, with numbers, ids and quoted texts as ``…``, at most 160 characters of it.
    """
    line = err.strip().partition("\n")[0][: 4 * _LONGEST_KIND]
    return _VARIABLE.sub("…", line)[:_LONGEST_KIND].strip()


@dataclass(frozen=True, slots=True)
class JobQuery:
    """Conditions on a job. A job matches when every condition holds, so an empty query matches every job.

    :ivar name: its name, exactly. A task may be passed for it.
    :ivar error: the :func:`error_kind` of its error; empty for jobs without one.
    :ivar text: a text in its id, name, arguments or error, regardless of case.
    :ivar id: its id, exactly.
    :ivar args: values of its arguments by name, as JSON has them. Other arguments may have any value. Numbers are
        compared by their value, so 7 matches 7.0.
    :raises UsageError: when the name is neither text nor a task, ``args`` is not a mapping, or another value not text.
    """

    name: str | Named | None = None
    error: str | None = None
    text: str = ""
    id: str | None = None
    args: Mapping[str, Any] = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        check_type(self.error, "error", (str, NoneType), "the kind of an error, as error_kinds returns it")
        check_type(self.text, "text", str, "text to search for")
        check_type(self.id, "id", (str, NoneType), "the id of a job")
        check_type(self.args, "args", Mapping, "values of arguments by name")
        if self.name is not None:
            object.__setattr__(self, "name", name_of(self.name))

    def __bool__(self) -> bool:
        texts = (self.name, self.error, self.id)
        return any(each is not None for each in texts) or bool(self.text) or bool(self.args)

    def match(self, record: JobRecord) -> bool:
        """Return whether a record matches."""
        if self.name is not None and record.name != self.name:
            return False
        if self.id is not None and record.id != self.id:
            return False
        if self.error is not None and error_kind(record.err or record.reason) != self.error:
            return False
        if self.args and not has_args(codec.decode(record.args), self.args):
            return False
        return not self.text or any(self.text.lower() in each.lower() for each in _texts(record))


EVERYTHING = JobQuery()


def has_args(args: object, wanted: Mapping[str, Any]) -> bool:
    """Return whether the arguments of a job have these values."""
    return isinstance(args, dict) and all(key in args and _equal(args[key], value) for key, value in wanted.items())


def _equal(one: object, other: object) -> bool:
    # In Python, True equals 1.
    return isinstance(one, bool) is isinstance(other, bool) and one == other


def _texts(record: JobRecord) -> Iterator[str]:
    """Yield the texts of a record that a query searches."""
    yield from (record.id, record.name, record.err, record.reason, record.text)
    yield record.args.decode()
    if b"\\" in record.args:
        # Also as people read them, where JSON escapes quotes, backslashes, and what a writer chose to escape.
        yield from _texts_within(codec.decode(record.args))


def _texts_within(value: object) -> Iterator[str]:
    for group in groups((value,)):
        for each in group:
            if isinstance(each, str):
                yield each
            elif isinstance(each, dict):
                yield from each
