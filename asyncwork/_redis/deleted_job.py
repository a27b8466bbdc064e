"""A job that is deleted: what its record is to say of it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

from ..errors import PayloadError
from ..job import Job

# The id in a payload that gocraft/work or asyncwork has written, whose name, which is before it, has no quotes in it.
_ID = re.compile(rb'\{"name":"[^"\\]*","id":"([^"\\]*)"')


def id_in(payload: bytes) -> str:
    """Return the id of the job of a payload; an empty one if it is not a job."""
    # Nearly no payload need be decoded for that.
    if (found := _ID.match(payload)) is not None:
        return found[1].decode(errors="replace")
    try:
        return Job.decode(payload).id
    except PayloadError:
        return ""


class DeletedJob(NamedTuple):
    """What the record of a deleted job says of it.

    :ivar seconds: for how long the record is kept; 0 if it has none.
    :ivar enqueued_at: epoch seconds.
    :ivar attempts: how many attempts have failed.
    """

    job_id: bytes = b""
    seconds: int = 0
    name: bytes = b""
    enqueued_at: int = 0
    attempts: int = 0


def read_deleted(payload: bytes, kept: Mapping[str, int]) -> DeletedJob:
    """Return what the record of a job is to say; without its seconds, and perhaps empty, if it has none.

    :param kept: for how long results are kept, seconds by job name.
    """
    if not kept:
        return DeletedJob()
    try:
        job = Job.decode(payload)
    except PayloadError:
        return DeletedJob()
    texts = job.id.encode("utf-8", "replace"), job.name.encode("utf-8", "replace")
    return DeletedJob(texts[0], kept.get(job.name, 0), texts[1], job.enqueued_at, job.fails)
