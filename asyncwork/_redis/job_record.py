"""The record of a job that has ended: a hash in Redis, as `finish.lua` writes it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from .._jobs.conversions import Conversion
from .._jobs.mismatch import Mismatch, wrong_type
from .._jobs.printable import shown
from .._json import codec
from ..errors import JobCancelled, JobExpired, JobFailed, PayloadError, ResultLost, ResultTimeout, UsageError
from ..job import Job
from ..models.enqueued_job import EnqueuedJob, KnownEnd, ResultSource, set_source
from ..models.job_status import JobAttempt, JobState, JobStatus
from .errors import ErrorReply, is_wrong_type
from .namespace import Namespace
from .protocol import decode

# The fields of a record by their names, and their values.
Record = Mapping[bytes, bytes]


# The fields that say how a job has ended. The attempts, and the channels of processes that wait, are others.
END_FIELDS = (
    *(b"state", b"name", b"attempts", b"enqueued_at", b"started_at", b"ended_at"),
    *(b"result", b"problem", b"err", b"traceback", b"args", b"alias"),
)

# How the names of the fields of attempts begin.
ATTEMPT = b"attempt:"

# Records that follow each other, as newer jobs with the same unique key have run instead.
MOST_ALIASES = 10

# The reply of the script that reads records, for a job whose results are not kept.
NOT_KEPT = -1


def not_kept(name: str) -> UsageError:
    """Return the error for waiting for a job whose results are not kept."""
    return UsageError(
        f"no results of {name!r} are kept, so nothing can be waited for: register it with @pool.job(result=SECONDS), "
        "and start the pool"
    )


def check_enqueued(job: object) -> None:
    """Check that a value is a job that was enqueued.

    :raises UsageError: when it is something else.
    """
    if not isinstance(job, EnqueuedJob):
        raise UsageError(f"jobs that were enqueued can be waited for, not {shown(job)}")


def check_waitable(job: EnqueuedJob[Any]) -> None:
    """Check that a job can be waited for.

    :raises UsageError: when it is not a job that was enqueued, or its id is not known.
    """
    check_enqueued(job)
    if not job.id:
        raise UsageError(f"the id of the {job.name!r} job that waits is unknown, because another program wrote it")


def nowhere(job_id: str) -> ResultLost:
    """Return the error for waiting for a job that neither exists nor has a record."""
    return ResultLost(f"there is no job {shown(job_id)}: it never was, or it has ended, and how is not kept (any more)")


def not_ended(job_id: str, name: str, seconds: float | None) -> ResultTimeout:
    """Return the error for a wait that was over before the job had ended.

    :param name: the job's name; empty if it is unknown.
    """
    # The three look the same: a pool of gocraft/work writes no record, and Redis removes old ones.
    return ResultTimeout(
        f"{name or 'job'} {job_id} has not ended after {seconds or 0:g} s (timeout=…), or its result is not kept any "
        "more, or a Go pool has run it"
    )


async def newer_id(namespace: Namespace, job_id: str) -> str | None:
    """Return the id of the newer job with the same unique key that has run in the place of a job; ``None`` if the
    record of that does not say so.

    :raises RedisError, OSError: when Redis refuses or cannot be reached.
    """
    try:
        found = await namespace.redis.client().hget(namespace.keys.job_record(job_id), "alias")
    except ErrorReply as error:
        if not is_wrong_type(error):
            raise
        return None
    return None if found is None else decode(found)


def checked_id(job_id: str) -> str:
    """Return the id of a job as it is in Redis.

    :raises UsageError: when it is not text.
    """
    if not isinstance(job_id, str) or not job_id:
        raise UsageError(f"a job's id must be text that is not empty, not {shown(job_id)}")
    return codec.replace_surrogates(job_id)


def record_of_dead(job: Job) -> Record:
    """Return the record that a dead job would have, which has none."""
    fields = {"state": JobState.DEAD.value, "name": job.name, "err": job.err, "traceback": job.traceback}
    return {name.encode(): text.encode(errors="backslashreplace") for name, text in fields.items()}


def read_record(reply: Any) -> Record:
    """Return a record from a reply of Redis: field, value, field, value, ….

    :raises TypeError: when it is no such reply.
    """
    return dict(zip(reply[::2], reply[1::2], strict=True))


def status_of(job_id: str, record: Record) -> JobStatus:
    """Return what a record says of a job."""
    text = {name.decode(errors="replace"): value.decode(errors="replace") for name, value in record.items()}
    return JobStatus(
        job_id,
        _state(record),
        name=text.get("name", ""),
        enqueued_at=int(_number(text.get("enqueued_at"))),
        started_at=_number(text.get("started_at")),
        ended_at=_number(text.get("ended_at")),
        attempts=int(_number(text.get("attempts"))),
        error=text.get("err", ""),
        traceback=text.get("traceback", ""),
        problem=text.get("problem", ""),
        args=text.get("args", ""),
        history=history_of(record),
    )


def history_of(record: Record) -> tuple[JobAttempt, ...]:
    """Return the attempts that a record has, the oldest first."""
    found = (_read_attempt(record[name]) for name in sorted(record) if name.startswith(ATTEMPT))
    return tuple(attempt for attempt in found if attempt is not None)


def _read_attempt(raw: bytes) -> JobAttempt | None:
    try:
        entry = codec.decode(raw)
        times = float(entry["started_at"]), float(entry["ended_at"])
        pid = int(entry.get("pid", 0))
        texts = str(entry["outcome"]), str(entry.get("host", "")), str(entry.get("error", ""))
    except (PayloadError, AttributeError, KeyError, TypeError, ValueError, OverflowError):
        return None
    return JobAttempt(*times, outcome=texts[0], host=texts[1], pid=pid, error=texts[2])


def known_end(job: EnqueuedJob[Any]) -> Record | None:
    """Return the record of a job that was waited for, as its handle remembers it; ``None`` if it was not."""
    source = getattr(job, "_source", None)
    return source.record if isinstance(source, KnownEnd) else None


def is_final(record: Record) -> bool:
    """Return whether a job has ended for good. One that is dead may be retried, and one that was deleted restored."""
    return _state(record) not in (JobState.DEAD, JobState.DELETED)


def has_failed(record: Record) -> bool:
    """Return whether a job has ended with an error."""
    return _state(record) in (JobState.DEAD, JobState.DISCARDED, JobState.QUARANTINED)


def hide_error(record: Record, error: str, traceback: str) -> Record:
    """Return a record with another error and traceback."""
    return {**record, b"err": error.encode(errors="replace"), b"traceback": traceback.encode(errors="replace")}


def remember_end(job: EnqueuedJob[Any], record: Record) -> None:
    """Have the handle of a job remember how it has ended, because its record expires."""
    source: ResultSource | KnownEnd | None = getattr(job, "_source", None)
    set_source(job, KnownEnd(source.source if isinstance(source, KnownEnd) else source, record))


def result_of(job_id: str, record: Record, returns: Conversion) -> Any:
    """Return what the handler of a job has returned.

    :param returns: how it is read from JSON.
    :raises JobFailed, JobCancelled, JobExpired, ResultLost: when the job has ended otherwise, or its result was not
        kept.
    """
    status = status_of(job_id, record)
    label = f"{status.name or 'job'} {job_id}"
    match status.state:
        case JobState.DONE:
            return _read_result(label, status, record.get(b"result"), returns)
        case JobState.CANCELLED:
            raise JobCancelled(f"{label} was {status.error or 'cancelled'}")
        case JobState.EXPIRED:
            raise JobExpired(f"{label} expired before it was started")
        case JobState.DELETED:
            raise JobCancelled(f"{label} was deleted")
        case JobState.DEAD | JobState.DISCARDED | JobState.QUARANTINED:
            raise JobFailed(f"{label} is {status.state}: {status.error}", status.error, status.traceback)
        case JobState.LOST:
            raise ResultLost(f"{label} is lost: {status.problem}")
    raise ResultLost(f"{label} has ended, but its record cannot be read")


def _read_result(label: str, status: JobStatus, raw: bytes | None, returns: Conversion) -> Any:
    if raw is None:
        problem = status.problem or "its type keeps none: register it with @pool.job(result=SECONDS)"
        raise ResultLost(f"{label} is done, but its result was not kept: {problem}")
    try:
        value = codec.decode(raw)
        return value if returns.convert is None else returns.convert(value)
    except PayloadError as error:
        raise ResultLost(f"{label} is done, but its result cannot be read: {error}") from error
    except Mismatch as error:
        reason = wrong_type("result", error)
        raise ResultLost(f"{label} is done, but its result is not what its task returns: {reason}") from error


def _state(record: Record) -> JobState:
    try:
        return JobState(record.get(b"state", b"").decode())
    except ValueError:
        return JobState.UNKNOWN


def _number(text: str | None) -> float:
    try:
        number = float(text or 0)
    except ValueError:
        return 0.0
    return number if math.isfinite(number) else 0.0
