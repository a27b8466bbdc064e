"""Deleted jobs: what their records say of them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from ..errors import PayloadError
from ..job import Job
from .client import RedisClient
from .errors import ErrorReply, is_wrong_type
from .keys import Keys
from .protocol import decode, read_count

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
    """The values that the record of a deleted job needs.

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


async def read_kept_results(redis: RedisClient, keys: Keys) -> Mapping[str, int]:
    """Return for how long results are kept, seconds by job name; names whose results are not are missing.

    :raises RedisError, OSError: when Redis refuses or cannot be reached.
    """
    try:
        found = await redis.client().hgetall(keys.results)
    except ErrorReply as error:
        if not is_wrong_type(error):
            raise
        return {}
    return {decode(name): seconds for name, value in found.items() if (seconds := read_count(value))}


def record_keys(keys: Keys, payloads: Iterable[bytes], kept: Mapping[str, int]) -> list[str]:
    """Return the keys of the records of those jobs that have one.

    :param kept: for how long results are kept, seconds by job name.
    """
    recorded = (read_deleted(payload, kept) for payload in payloads)
    return [keys.job_record(each.job_id.decode(errors="replace")) for each in recorded if each.seconds]
