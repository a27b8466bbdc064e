"""Job records as rows of a table, as all that is known of them, and as JSON."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict

from .._admin.finished import FINISHED
from .._jobs.location import BUSY, JobSet
from .._jobs.printable import printable
from ..models.job_record import JobRecord
from ..models.job_status import JobStatus
from . import json_text
from .session import Session
from .table import Column, Row, table
from .times import age, time_and_age

# The heading of the time of a record, by its location.
_TIMES = {
    JobSet.RETRY: "DUE",
    JobSet.SCHEDULED: "DUE",
    JobSet.DEAD: "DIED",
    "quarantine": "FOUND",
    BUSY: "STARTED",
    FINISHED: "ENDED",
}


def record_of(status: JobStatus) -> JobRecord:
    """Return the record of a job that has ended."""
    return JobRecord(
        FINISHED,
        "",
        name=status.name,
        id=status.id,
        args=status.args.encode() or b"null",
        at=status.ended_at,
        enqueued_at=status.enqueued_at,
        fails=status.attempts,
        err=status.error,
        text=str(status.state),
    )


def list_lines(session: Session, records: Sequence[JobRecord], *, with_location: bool = False) -> list[str]:
    """Return a table of jobs of one location; of several ``with_location``."""
    now = time.time()
    title = "TIME" if with_location else _TIMES.get(records[0].location, "ENQUEUED")
    has_errors, finished = any(each.err or each.reason for each in records), records[0].location == FINISHED
    columns = [
        *([Column("LOCATION", shrinks=True)] if with_location else []),
        Column("ID", shrinks=True, narrowest=24),
        Column("NAME", shrinks=True),
        Column(title, right=True),
        Column("ATTEMPTS" if finished else "FAILS", right=True),
        Column("OUTCOME" if finished else "ERROR" if has_errors else "ARGUMENTS", shrinks=True),
    ]
    rows = [_row(each, now, with_location) for each in records]
    return table(columns, rows, session.width, colors=session.colors)


def _row(record: JobRecord, now: float, with_location: bool) -> Row:
    at = record.enqueued_at if record.at is None else record.at
    error = (record.err or record.reason).strip().partition("\n")[0]
    if record.location == FINISHED:
        error = f"{record.text}: {error}" if error else record.text
    return Row(
        [
            *([record.location] if with_location else []),
            record.id or "-",
            record.name or "-",
            age(at, now) if at else "-",
            str(record.fails),
            error or record.checkin or record.args.decode(),
        ]
    )


def full_lines(session: Session, record: JobRecord) -> Iterator[str]:
    """Yield all that is known of a job, in lines as long as they need to be."""
    now = time.time()
    yield session.styled(f"{'job':12}{printable(record.name)} {printable(record.id)}".rstrip(), "bold")
    yield from (f"{label:12}{text}" for label, text in _facts(record, now))
    if record.traceback:
        yield "traceback"
        yield from (f"{'':12}{printable(line)}" for line in record.traceback.splitlines())


def _facts(record: JobRecord, now: float) -> Iterator[tuple[str, str]]:
    yield "location", printable(record.location)
    if record.location == FINISHED:
        yield "state", record.text
    if record.enqueued_at:
        yield "enqueued", time_and_age(record.enqueued_at, now)
    if record.at is not None:
        yield _TIMES[record.location].lower(), time_and_age(record.at, now)
    if record.fails:
        yield "attempts" if record.location == FINISHED else "fails", str(record.fails)
    if record.progress is not None:
        yield "progress", printable(str(record.progress))
    elif record.checkin:
        yield "check-in", printable(record.checkin)
    if record.reason:
        yield "not a job", printable(record.reason)
        yield "payload", printable(record.text)
    else:
        yield "arguments", printable(record.args.decode())
    if record.unique_key:
        yield "unique key", printable(record.unique_key)
    if record.err:
        yield "error", printable(record.err)


def record_json(record: JobRecord) -> str:
    """Return a record as a JSON object; ``args`` are the arguments as they are stored."""
    fields = asdict(record)
    args = fields.pop("args")
    return json_text.object_text(fields, args=args.decode())
