"""The locations of jobs: a queue, one of three sorted sets, the quarantine, or a worker that runs them.

A location is text: ``retry``, ``scheduled``, ``dead``, ``quarantine``, ``busy`` or ``queue:NAME``.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TypeAlias

from ..errors import UsageError
from .names import Named
from .printable import shown

JobLocation: TypeAlias = str


class JobSet(StrEnum):
    """The sorted sets that hold jobs."""

    RETRY = "retry"
    SCHEDULED = "scheduled"
    DEAD = "dead"


JOB_SETS = tuple(JobSet)
QUARANTINE = "quarantine"
BUSY = "busy"
_QUEUE = "queue:"


def queue_location(name: str) -> JobLocation:
    """Return the location of the jobs that wait in a queue."""
    return _QUEUE + name


def queue_name(location: JobLocation) -> str:
    """Return the name of the queue at a location, or an empty text if the location is not a queue."""
    return location.removeprefix(_QUEUE) if location.startswith(_QUEUE) else ""


def location_of(location: str | Named) -> JobLocation:
    """Return a location that may be given as a task, which stands for its queue. Text is not checked."""
    name = None if isinstance(location, str) else getattr(location, "name", None)
    return queue_location(name) if isinstance(name, str) else location  # type: ignore[return-value]


def check_location(location: JobLocation) -> JobLocation:
    """Return ``location`` if jobs can lie there outside of workers.

    :raises UsageError: when it is not a location, or names a queue that UTF-8 cannot spell.
    """
    if not isinstance(location, str) or not (location in (*JOB_SETS, QUARANTINE) or queue_name(location)):
        raise UsageError(f"a location is {', '.join(JOB_SETS)}, {QUARANTINE} or queue:NAME, not {shown(location)}")
    try:
        # A surrogate escape stands for a byte of the name that is not UTF-8.
        location.encode(errors="surrogateescape")
    except UnicodeEncodeError:
        raise UsageError(f"a queue name must be text that UTF-8 can hold: {shown(queue_name(location))}") from None
    return location


def check_job_set(location: JobLocation) -> JobSet:
    """Return the sorted set at a location.

    :raises UsageError: when the location is not one of the sorted sets.
    """
    if location in JOB_SETS:
        return JobSet(location)
    raise UsageError(f"jobs can be enqueued from {', '.join(JOB_SETS)}, not from {shown(location)}")
