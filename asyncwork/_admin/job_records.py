"""Reading records of jobs from whatever bytes lie in Redis."""

from __future__ import annotations

from .._jobs.location import BUSY, QUARANTINE, queue_name
from .._jobs.quarantine import read_entry
from .._json import codec, members
from ..errors import PayloadError
from ..job import Job
from ..models import JobRecord, Observation
from .job_ref import make_handle


def read_record(place: str, raw: bytes, key: bytes, at: float | None = None, rank: int = 0) -> JobRecord:
    """Return the record of whatever bytes lie in a place; ``key`` is the namespace's key for digests."""
    handle = make_handle(raw, key, at, rank)
    if place == QUARANTINE:
        return _read_quarantined(raw, handle)
    try:
        job = Job.decode(raw)
    except PayloadError as error:
        text = raw.decode("utf-8", "backslashreplace")
        return JobRecord(place, handle, name=queue_name(place), at=at, size=len(raw), fault=str(error), text=text)
    return JobRecord(
        place,
        handle,
        name=job.name,
        id=job.id,
        args=b"null" if job.given_args is None else _readable(members.fields(raw)["args"]),
        at=at,
        enqueued_at=job.enqueued_at,
        fails=job.fails,
        err=job.err,
        failed_at=job.failed_at,
        traceback=job.traceback,
        unique=job.unique,
        unique_key=job.unique_key,
        size=len(raw),
    )


def read_running(observed: Observation) -> JobRecord:
    """Return the record of a job that runs now."""
    args = observed.args or b"null"
    try:
        codec.decode(args)
    except PayloadError:
        args = codec.encode_string(args.decode("utf-8", "replace"))
    return JobRecord(
        BUSY,
        "",
        name=observed.job_name,
        id=observed.job_id,
        args=_readable(args),
        at=float(observed.started_at),
        checkin=observed.checkin,
        size=len(args),
    )


def _read_quarantined(raw: bytes, handle: str) -> JobRecord:
    try:
        entry = read_entry(raw)
    except ValueError as error:
        text = raw.decode("utf-8", "backslashreplace")
        return JobRecord(QUARANTINE, handle, size=len(raw), fault=str(error), text=text)
    return JobRecord(
        QUARANTINE,
        handle,
        name=entry.found_in,
        at=entry.at,
        size=entry.size,
        fault=entry.reason,
        text=entry.payload,
    )


def _readable(args: bytes) -> bytes:
    """Return JSON exactly, but for bytes that are not UTF-8, which no reader of JSON need take."""
    return args.decode("utf-8", "replace").encode()
