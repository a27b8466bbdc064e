"""The value of a unique key: the id of its owner, and with a key map the newest job enqueued under it."""

from __future__ import annotations

import re

_PLAIN = re.compile(rb"waiting:([A-Za-z0-9_-]+)")
_WITH_JOB = re.compile(rb',"waiting":"([A-Za-z0-9_-]*)"\}\Z')
# Bytes at the end of a value that suffice to read the owner.
VALUE_END = 200

# gocraft/work's value, which does not name the owner.
WITHOUT_OWNER = b"1"

# Seconds after which a unique key expires.
UNIQUE_TTL = 86_400


def owned_by(job_id: bytes) -> bytes:
    """Return the value of a waiting job's unique key. It names no owner if the id is not like asyncwork's."""
    value = b"waiting:" + job_id
    return value if _PLAIN.fullmatch(value) else WITHOUT_OWNER


def parts(payload: bytes, job_id: str, *, by_key: bool) -> tuple[bytes, bytes, bytes]:
    """Return the value for a new job's unique key in three parts. The second is the id of the waiting job.

    :param by_key: whether the job has a key map: then the value holds the job as well, to run in place of the waiting
        one.
    """
    if by_key:
        return payload[:-1] + b',"waiting":"', job_id.encode(), b'"}'
    return b"waiting:", job_id.encode(), b""


def owner_of(value: bytes) -> str:
    """Return the id of the job that owns a unique key; empty if the value names none, as gocraft/work's."""
    found = _PLAIN.fullmatch(value) or _WITH_JOB.search(value[-VALUE_END:])
    return found[1].decode() if found else ""
