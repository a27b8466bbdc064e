"""What a unique key holds: whose it is, and with a key map the newest job enqueued under it."""

from __future__ import annotations

import re

_PLAIN = re.compile(rb"waiting:([A-Za-z0-9_-]+)")
_NEWEST = re.compile(rb',"waiting":"([A-Za-z0-9_-]*)"\}\Z')
# So many bytes at the end of a value tell whose the key is.
VALUE_END = 200

# What gocraft/work writes: it does not tell whose the key is.
ANYONES = b"1"


def held_for(job_id: bytes) -> bytes:
    """Return what the unique key of a waiting job holds; it does not tell whose it is where the id has other characters
    than asyncwork's ids have.
    """
    value = b"waiting:" + job_id
    return value if _PLAIN.fullmatch(value) else ANYONES


def parts(payload: bytes, job_id: str, *, by_key: bool) -> tuple[bytes, bytes, bytes]:
    """Return what the key of a new job is to hold, in three parts; the second is the id of the waiting job.

    :param by_key: whether it is to hold the job, too, to take the place of the one that waits.
    """
    if by_key:
        return payload[:-1] + b',"waiting":"', job_id.encode(), b'"}'
    return b"waiting:", job_id.encode(), b""


def owner_of(value: bytes) -> str:
    """Return the id of the job whose a unique key is; empty where the value does not tell, as gocraft/work's."""
    found = _PLAIN.fullmatch(value) or _NEWEST.search(value[-VALUE_END:])
    return found[1].decode() if found else ""
