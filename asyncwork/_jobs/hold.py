"""Holds: keys that jobs hold until they have ended, so that others of their name and key are kept out.

A job that holds a key says so in its payload, in a field that gocraft/work does not know: ``"hold":"done:HEX"``. HEX is
the SHA-256 of the values that it is unique by.
"""

from __future__ import annotations

import hashlib
import re
from typing import Any, NamedTuple

from .._json.go import encode as go_json
from ..errors import PayloadError
from ..job import Job

_MARK = re.compile(r"(done|success):([0-9a-f]{64})")
# In the payload of every job that holds a key, and of few others, so that most payloads need not be decoded.
MAY_HOLD = b'"hold"'


class Hold(NamedTuple):
    """A key that a job holds, or waits for.

    :ivar name: the job's name.
    :ivar digest: the SHA-256, in hex, of the values that it is unique by.
    :ivar until: ``done`` or ``success``: whether a dead job frees the key.
    :ivar job_id: the job's id.
    """

    name: str
    digest: str
    until: str
    job_id: str

    @property
    def dead_frees(self) -> bool:
        """Whether the key is free once the job is dead."""
        return self.until == "done"


def digest_of(values: object) -> str:
    """Return the SHA-256, in hex, of the values that distinguish jobs, as Go's JSON.

    :raises ArgumentEncodingError: when Go's JSON cannot hold them.
    """
    return hashlib.sha256(go_json({} if values is None else values)).hexdigest()


def mark_of(until: str, digest: str) -> str:
    """Return what the payload of a job says of the key that it holds."""
    return f"{until}:{digest}"


def hold_of(job: Job) -> Hold | None:
    """Return the key that a job holds until it has ended; ``None`` if it holds none."""
    mark: Any = job._hold
    found = _MARK.fullmatch(mark) if isinstance(mark, str) else None
    return None if found is None else Hold(job.name, found[2], found[1], job.id)


def read_hold(payload: bytes) -> Hold | None:
    """Return the key that the job of a payload holds; ``None`` also for a payload that is not a job."""
    if MAY_HOLD not in payload:
        return None
    try:
        return hold_of(Job.decode(payload))
    except PayloadError:
        return None
