"""A job as it lies in Redis, for those who look: read from whatever bytes are there, and found there again."""

from __future__ import annotations

import hashlib
import math
import re
from dataclasses import dataclass, field

from . import json_text
from .errors import PayloadError, UsageError
from .job import Job
from .records import Observation

SHELVES = ("retry", "scheduled", "dead")
QUARANTINE = "quarantine"
BUSY = "busy"
_QUEUE = "queue:"
_HANDLE = re.compile(r"([-+.e\da-z]*)~([\da-f]{20})~(\d{1,15})", re.ASCII)


def queue_place(name: str) -> str:
    """Return the place of the jobs that wait in a queue."""
    return _QUEUE + name


def check_place(place: str) -> str:
    """Return ``place`` if it is one.

    :raises UsageError: when it is not.
    """
    if not isinstance(place, str) or not (place in (*SHELVES, QUARANTINE) or queue_of(place)):
        raise UsageError(f"a place is {', '.join(SHELVES)}, {QUARANTINE} or queue:NAME, not {place!r}")
    try:
        # What stands for a byte that is not UTF-8 is written as that byte.
        place.encode(errors="surrogateescape")
    except UnicodeEncodeError:
        raise UsageError(f"no queue can be called so, for UTF-8 cannot hold it: {queue_of(place)!r}") from None
    return place


def check_shelf(place: str) -> str:
    """Return ``place`` if it is one from which jobs can be put on their queues.

    :raises UsageError: when it is not.
    """
    if place in SHELVES:
        return place
    raise UsageError(f"jobs are put on their queues from {', '.join(SHELVES)}, not from {place!r}")


def queue_of(place: str) -> str:
    """Return the name of the queue that a place is, or an empty text."""
    return place.removeprefix(_QUEUE) if place.startswith(_QUEUE) else ""


@dataclass(frozen=True, slots=True)
class JobRecord:
    """A job, or bytes that are none, in the place where it was found.

    :ivar place: ``retry``, ``scheduled``, ``dead``, ``quarantine``, ``busy`` (running now), or ``queue:NAME``; where
        a ``redact`` is asked about a job that a schedule enqueues, ``periodic``.
    :ivar handle: finds it there again, whatever its id is; empty for one that is running.
    :ivar name: its name; of bytes that are no job, the queue or set that they were found in.
    :ivar id: its id; 24 hex digits unless another program chose otherwise.
    :ivar args: its arguments as exact JSON text, ``null`` without any.
    :ivar at: epoch seconds: when it is due (``retry``, ``scheduled``), died, was set aside, or started (``busy``);
        ``None`` in a queue.
    :ivar enqueued_at: when it was put on its queue, epoch seconds.
    :ivar fails: how many attempts have failed.
    :ivar err: the text of the newest failure.
    :ivar failed_at: when that was, epoch seconds, or 0.
    :ivar traceback: the end of its traceback, or empty; Go pools keep none.
    :ivar checkin: of one that is running, the newest text that its handler told.
    :ivar unique: whether it holds a unique key until it starts.
    :ivar unique_key: that key, where the payload tells it.
    :ivar size: of the payload, bytes.
    :ivar fault: why the bytes are no job; empty for a job.
    :ivar text: those bytes as text; empty for a job.
    """

    place: str
    handle: str
    name: str = ""
    id: str = ""
    args: bytes = field(default=b"null", repr=False)
    at: float | None = None
    enqueued_at: int = 0
    fails: int = 0
    err: str = field(default="", repr=False)
    failed_at: int = 0
    traceback: str = field(default="", repr=False)
    checkin: str = field(default="", repr=False)
    unique: bool = False
    unique_key: str = field(default="", repr=False)
    size: int = 0
    fault: str = ""
    text: str = field(default="", repr=False)


def handle_digest(raw: bytes, key: bytes) -> str:
    """Return the part of a handle that tells payloads apart.

    :param key: at most 64 bytes. Who does not have it cannot find out by trying what a hidden part of a payload is.
    """
    return hashlib.blake2b(raw, key=key, digest_size=10).hexdigest()


def make_handle(raw: bytes, key: bytes, at: float | None = None, rank: int = 0) -> str:
    """Return what finds a payload again: its score, a digest of its bytes, and about where it was.

    :param key: the namespace's key for digests.
    :param at: its score in a sorted set; ``None`` in a list.
    :param rank: how many members or elements came before it, a hint only.
    """
    return f"{'' if at is None else repr(at)}~{handle_digest(raw, key)}~{rank}"


@dataclass(frozen=True, slots=True)
class Handle:
    """A handle's parts."""

    at: float | None
    digest: str
    rank: int

    @classmethod
    def parse(cls, text: str) -> Handle:
        """Read a handle.

        :raises UsageError: when it is none.
        """
        match = _HANDLE.fullmatch(text) if isinstance(text, str) else None
        try:
            at = float(match[1]) if match and match[1] else None
            # No score in Redis is NaN.
            if match and (at is None or not math.isnan(at)):
                return cls(at, match[2], int(match[3]))
        except ValueError:
            pass
        raise UsageError(f"not a job's handle: {str(text)[:80]!r}; take it from what a look at the jobs returned")


def read_record(place: str, raw: bytes, key: bytes, at: float | None = None, rank: int = 0) -> JobRecord:
    """Return the record of whatever bytes lie in a place; ``key`` is the namespace's key for digests."""
    handle = make_handle(raw, key, at, rank)
    if place == QUARANTINE:
        return _read_quarantined(raw, handle)
    try:
        job = Job.decode(raw)
    except PayloadError as error:
        text = raw.decode("utf-8", "backslashreplace")
        return JobRecord(place, handle, name=queue_of(place), at=at, size=len(raw), fault=str(error), text=text)
    return JobRecord(
        place,
        handle,
        name=job.name,
        id=job.id,
        args=b"null" if job.given_args is None else _readable(json_text.fields(raw)["args"]),
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
        json_text.decode(args)
    except PayloadError:
        args = json_text.encode_string(args.decode("utf-8", "replace"))
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
        entry = json_text.decode(raw)
        found_in, reason, payload = str(entry["from"]), str(entry["reason"]), str(entry["payload"])
        at, latin1 = float(entry["at"]), entry.get("latin1")
    except (PayloadError, KeyError, TypeError, ValueError, AttributeError, OverflowError):
        reason, text = "not an entry that asyncwork wrote", raw.decode("utf-8", "backslashreplace")
        return JobRecord(QUARANTINE, handle, size=len(raw), fault=reason, text=text)
    size = len(payload if latin1 else payload.encode("utf-8", "replace"))
    return JobRecord(QUARANTINE, handle, name=found_in, at=at, size=size, fault=reason, text=payload)


def _readable(args: bytes) -> bytes:
    """Return JSON exactly, but for bytes that are not UTF-8, which no reader of JSON need take."""
    return args.decode("utf-8", "replace").encode()
