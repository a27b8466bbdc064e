"""What jobs are sought among those that lie in Redis."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from .._jobs.location import QUARANTINE
from .._json import codec
from .._json.walk import groups
from ..errors import PayloadError
from ..job import Job
from ..models import JobRecord
from .job_records import read_record
from .redaction import Redact, Redaction

__all__ = ["EVERYTHING", "Criteria", "Redact", "Sieve", "error_kind"]

# Characters of an error that tell its kind.
_LONGEST_KIND = 160

# Text that JSON does not escape, unless as \uXXXX.
_STANDS_FOR_ITSELF = re.compile(r"""[^"\\/\x00-\x1f\x7f-\U0010ffff]+""")

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
class Criteria:
    """What must hold of a job that is sought, all of it.

    :ivar name: its name, exactly.
    :ivar error: the :func:`error_kind` of its error; empty for jobs without one.
    :ivar text: stands in its id, name, arguments or error, in whatever case.
    """

    name: str | None = None
    error: str | None = None
    text: str = ""

    def __bool__(self) -> bool:
        return self.name is not None or self.error is not None or bool(self.text)

    def match(self, record: JobRecord) -> bool:
        """Tell whether a record is sought."""
        if self.name is not None and record.name != self.name:
            return False
        if self.error is not None and error_kind(record.err or record.fault) != self.error:
            return False
        return not self.text or any(self.text.lower() in each.lower() for each in _texts(record))


EVERYTHING = Criteria()


def _texts(record: JobRecord) -> Iterator[str]:
    """Everything in a record that a text may stand in."""
    yield from (record.id, record.name, record.err, record.fault, record.text)
    yield record.args.decode()
    if b"\\" in record.args:
        # As people read them, where JSON escapes: quotes, backslashes, and whatever a writer chose to escape.
        yield from _texts_within(codec.decode(record.args))


def _texts_within(value: object) -> Iterator[str]:
    for group in groups((value,)):
        for each in group:
            if isinstance(each, str):
                yield each
            elif isinstance(each, dict):
                yield from each


class Sieve:
    """Decides on the payloads of a place, as quickly as can be: a record is made only where nothing less decides.

    :param key: the namespace's key for digests.
    :param redaction: what it hides is not found either.
    """

    def __init__(
        self, place: str, key: bytes, criteria: Criteria = EVERYTHING, redaction: Redaction | None = None
    ) -> None:
        self._place = place
        self._key = key
        self._criteria = criteria
        self._redaction = redaction or Redaction(None)
        self._slow = bool(criteria.text) or bool(redaction) or place == QUARANTINE
        needle = criteria.text.lower()
        # What is shown of a redacted payload need not stand in its bytes.
        self._needle = needle.encode() if _STANDS_FOR_ITSELF.fullmatch(needle) and not redaction else b""

    def record(self, raw: bytes, at: float | None = None, rank: int = 0) -> JobRecord:
        """Return the record of a payload, without what is to be hidden."""
        return self.shown(read_record(self._place, raw, self._key, at, rank))

    def shown(self, record: JobRecord) -> JobRecord:
        """Return a record without what is to be hidden."""
        return self._redaction.shown(record, self._key)

    def passes(self, raw: bytes) -> bool:
        """Tell whether a payload is sought."""
        criteria = self._criteria
        if self._needle and self._needle not in raw.lower() and b"\\u" not in raw:
            return False
        if not criteria:
            return True
        if self._slow:
            return criteria.match(self.record(raw))
        try:
            job = Job.decode(raw)
        except PayloadError:
            return criteria.match(self.record(raw))
        if criteria.name is not None and job.name != criteria.name:
            return False
        return criteria.error is None or error_kind(job.err) == criteria.error

    def error(self, raw: bytes) -> tuple[str, str]:
        """Return the name of the job that a payload is, and its error, without what is to be hidden."""
        if not self._slow:
            try:
                job = Job.decode(raw)
            except PayloadError:
                pass
            else:
                return job.name, job.err
        record = self.record(raw)
        return record.name, record.err or record.fault
