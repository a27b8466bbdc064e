"""Periodic jobs and their runs as rows of a table, as all that is known of them, and as JSON."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import Any

from .._admin.next_firings import next_firings
from .._jobs.printable import printable, utc_time
from ..errors import ScheduleError
from ..models.periodic import PeriodicRun, PeriodicState
from ..schedule import Schedule
from . import json_text
from .session import Session
from .table import Column, Row, table
from .times import age, time_and_age

_JOB_COLUMNS = (
    Column("NAME", shrinks=True),
    Column("SPEC", shrinks=True),
    Column("NEXT", right=True),
    Column("LAST", right=True),
    Column("STATE"),
    Column("KEY", shrinks=True),
)
_RUN_COLUMNS = (Column("TIME"), Column("AGO", right=True), Column("BY", shrinks=True), Column("STATE"), Column("JOB"))


def states(job: PeriodicState) -> list[str]:
    """Return what is special about a periodic job, in words."""
    words = {"paused": job.paused, "edited": job.edited, "added": job.added, "no pool": not job.served}
    return [word for word, holds in words.items() if holds]


def job_lines(session: Session, jobs: Sequence[PeriodicState]) -> list[str]:
    """Return the table of periodic jobs."""
    if not jobs:
        return ["no periodic jobs: no pool has one, and none was added"]
    now = time.time()
    rows = [
        Row(
            [
                each.name,
                each.spec,
                "-" if each.next is None else age(each.next, now),
                "-" if each.last is None else age(each.last, now),
                ", ".join(states(each)) or "-",
                each.key,
            ],
            "yellow" if each.paused or not each.served else "",
        )
        for each in jobs
    ]
    return table(_JOB_COLUMNS, rows, session.width, colors=session.colors)


def run_lines(session: Session, runs: Sequence[PeriodicRun]) -> list[str]:
    """Return the table of the runs of a periodic job."""
    if not runs:
        return ["it has not run yet"]
    now = time.time()
    rows = [
        Row(
            [
                utc_time(each.at),
                age(each.at, now),
                (each.who or "someone") if each.manual else "schedule",
                str(each.state or "-"),
                each.job_id,
            ]
        )
        for each in runs
    ]
    return table(_RUN_COLUMNS, rows, session.width, colors=session.colors)


def summary(job: PeriodicState) -> str:
    """Return a periodic job in a few words, for a question."""
    state = f" ({', '.join(words)})" if (words := states(job)) else ""
    return f"periodic job {printable(job.key)}: {printable(job.spec)}{state}"


def full_lines(session: Session, job: PeriodicState) -> Iterator[str]:
    """Yield all that is known of a periodic job, and when it will fire."""
    yield session.styled(printable(job.name), "bold")
    for name, text in _facts(job, time.time()):
        yield f"  {name:<12}{printable(text)}"
    for line in outlook(job):
        yield f"  {line}"


def _facts(job: PeriodicState, now: float) -> Iterator[tuple[str, str]]:
    yield "key", job.key
    yield "spec", job.spec
    yield "arguments", job.args.decode(errors="replace")
    if job.edited:
        yield "code's spec", job.code_spec
        if job.code_args is not None:
            yield "code's args", job.code_args.decode(errors="replace")
    yield "state", ", ".join(states(job)) or "-"
    yield "last", "-" if job.last is None else time_and_age(job.last, now)
    if job.changed_at is not None:
        yield "changed", f"{time_and_age(job.changed_at, now)}{f' by {job.changed_by}' if job.changed_by else ''}"


def outlook(job: PeriodicState) -> list[str]:
    """Return the lines that say when a periodic job will fire."""
    if job.paused:
        return ["it does not fire: it is paused"]
    if not job.served and job.added:
        return [f"it does not fire: no running pool has a handler for {printable(job.name)}"]
    now = time.time()
    try:
        firings = next_firings(Schedule.parse(job.spec), now)
    except ScheduleError as error:
        return [f"it does not fire: {error}"]
    clock = "" if job.tz else ", if the pools' hosts have the time zone of this one"
    times = [f"  {utc_time(at)}, {age(at, now)}" for at in firings]
    return [f"it fires at{clock}:", *times]


def job_json(job: PeriodicState) -> str:
    """Return a periodic job as a JSON object."""
    fields: dict[str, Any] = {
        "name": job.name,
        "key": job.key,
        "spec": job.spec,
        "tz": job.tz,
        "next": job.next,
        "last": job.last,
        "paused": job.paused,
        "added": job.added,
        "edited": job.edited,
        "served": job.served,
        "code_spec": job.code_spec,
        "changed_by": job.changed_by,
        "changed_at": job.changed_at,
    }
    code_args = "null" if job.code_args is None else job.code_args.decode(errors="replace")
    return json_text.object_text(fields, args=job.args.decode(errors="replace"), code_args=code_args)


def run_json(run: PeriodicRun) -> str:
    """Return a run as a JSON object."""
    state = None if run.state is None else str(run.state)
    fields = {"at": run.at, "job_id": run.job_id, "manual": run.manual, "who": run.who, "state": state}
    return json_text.object_text(fields)
