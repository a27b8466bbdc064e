"""Read payloads in Redis as job records."""

from __future__ import annotations

import math
import re

from .._jobs.location import BUSY, QUARANTINE, queue_name
from .._jobs.quarantine import read_entry
from .._json import codec, members
from .._redis.digest_key import DigestKey
from ..errors import PayloadError
from ..job import Job
from ..models.job_record import JobRecord
from ..models.pools import Observation
from .job_ref import make_ref
from .query import EVERYTHING, JobQuery, error_kind, has_args
from .redaction import Redaction

# Text that JSON does not escape, unless as \uXXXX.
_STANDS_FOR_ITSELF = re.compile(r"""[^"\\/\x00-\x1f\x7f-\U0010ffff]+""")

# The times of records, epoch seconds: what is an int64 too, for Go. A score may be infinite, and JSON has no number
# for that.
_FIRST, _LAST = float(-(2**63)), float(2**63 - 1024)


class JobReader:
    """Reads the payloads of a location as redacted records, and matches them with a query.

    Matching is fast, because it makes a record only where the bytes or the decoded job do not suffice.

    :param key: the namespace's key for digests.
    :param redaction: a query does not find what it hides.
    """

    def __init__(self, location: str, key: bytes, query: JobQuery, redaction: Redaction) -> None:
        self._location = location
        self._key = key
        self._query = query
        self._redaction = redaction
        self._needs_record = bool(query.text) or bool(redaction) or location == QUARANTINE
        text = query.text.lower()
        # The texts of a redacted record need not be in the bytes of its payload.
        self._bytes = text.encode() if _STANDS_FOR_ITSELF.fullmatch(text) and not redaction else b""

    def record(self, raw: bytes, at: float | None = None, rank: int = 0) -> JobRecord:
        """Return the redacted record of a payload."""
        return self.redact(read_record(self._location, raw, self._key, at, rank))

    def redact(self, record: JobRecord) -> JobRecord:
        """Return a redacted record."""
        return self._redaction.apply(record, self._key)

    def matches(self, raw: bytes) -> bool:
        """Return whether a payload matches the query."""
        query = self._query
        if self._bytes and self._bytes not in raw.lower() and b"\\u" not in raw:
            return False
        if not query:
            return True
        if self._needs_record:
            return query.match(self.record(raw))
        try:
            job = Job.decode(raw)
        except PayloadError:
            return query.match(self.record(raw))
        if query.name is not None and job.name != query.name:
            return False
        if query.id is not None and job.id != query.id:
            return False
        if query.args and not has_args(job.given_args, query.args):
            return False
        return query.error is None or error_kind(job.err) == query.error

    def error(self, raw: bytes) -> tuple[str, str]:
        """Return the name and the redacted error of the job in a payload."""
        if not self._needs_record:
            try:
                job = Job.decode(raw)
            except PayloadError:
                pass
            else:
                return job.name, job.err
        record = self.record(raw)
        return record.name, record.err or record.reason


class JobReaders:
    """Makes a reader for each location of a namespace."""

    def __init__(self, redaction: Redaction, digest_key: DigestKey) -> None:
        self.redaction = redaction
        self.digest_key = digest_key

    async def reader(self, location: str, query: JobQuery = EVERYTHING, *, shows: bool = True) -> JobReader:
        """Return a reader.

        :param shows: whether its records are shown, and not only matched.
        :raises RedisError, OSError: when Redis refuses or cannot be reached.
        """
        # A caller that shows no refs, such as a diagnosis, must not write a key for their digests into Redis.
        key = await self.digest_key.read() if shows or self.redaction else b""
        return JobReader(location, key, query, self.redaction)


def finite_time(at: float) -> float:
    """Return a time that another program wrote, epoch seconds, as the nearest one that everything can show."""
    return 0.0 if math.isnan(at) else min(max(at, _FIRST), _LAST)


def read_record(location: str, raw: bytes, key: bytes, at: float | None = None, rank: int = 0) -> JobRecord:
    """Return the record of any bytes in a location; ``key`` is the namespace's key for digests."""
    ref = make_ref(raw, key, at, rank)
    at = None if at is None else finite_time(at)
    if location == QUARANTINE:
        return _read_quarantined(raw, ref)
    try:
        job = Job.decode(raw)
    except PayloadError as error:
        text = raw.decode("utf-8", "backslashreplace")
        return JobRecord(location, ref, name=queue_name(location), at=at, size=len(raw), reason=str(error), text=text)
    return JobRecord(
        location,
        ref,
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
        timeout=job.timeout,
        expires=job.expires or 0.0,
    )


def read_running(observed: Observation) -> JobRecord:
    """Return the record of a running job."""
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
        progress=observed.progress,
    )


def _read_quarantined(raw: bytes, ref: str) -> JobRecord:
    try:
        entry = read_entry(raw)
    except ValueError as error:
        text = raw.decode("utf-8", "backslashreplace")
        return JobRecord(QUARANTINE, ref, size=len(raw), reason=str(error), text=text)
    return JobRecord(
        QUARANTINE,
        ref,
        name=entry.found_in,
        at=finite_time(entry.at),
        size=entry.size,
        reason=entry.reason,
        text=entry.payload,
    )


def _readable(args: bytes) -> bytes:
    """Return JSON with bytes that are not UTF-8 replaced, because readers of JSON may refuse them."""
    return args.decode("utf-8", "replace").encode()
