"""Commands about the steps of a pool's jobs, as frozen values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .._jobs.hold import Hold
from .commands import Command
from .job_end import JobEnd


@dataclass(frozen=True, slots=True, eq=False)
class ReadSteps(Command):
    """Read what is recorded of a job's steps.

    Replies 0 when the job is no longer in progress here; else field, value, field, value, ….
    """

    job_id: str


@dataclass(frozen=True, slots=True, eq=False)
class RecordStep(Command):
    """Set a field of a job's steps unless it is set.

    Replies 0 when the job is no longer in progress here; else the value that the field has.

    :ivar seconds: for how long the steps are kept.
    """

    job_id: str
    field: bytes
    value: bytes
    seconds: int


@dataclass(frozen=True, slots=True, eq=False)
class MoveCursor(Command):
    """Set a field of a job's steps, unless it is newer. Replies 0 when the job is no longer in progress here, else 1.

    :ivar seconds: for how long the steps are kept.
    """

    job_id: str
    field: bytes
    value: bytes
    seconds: int


@dataclass(frozen=True, slots=True, eq=False)
class DeferJob(Command):
    """Have a job run again at a time, or when an event comes. If one of its events is there already, it runs at once.

    :ivar score: epoch second.
    :ivar token: identifies the attempt that ends. Sent again, the command does nothing, although the job may be in
        progress here again, with the same bytes.
    :ivar renewed: the payload that is pushed to the queue then.
    :ivar events: the fields of the events.
    :ivar seconds: for how long the steps are kept.
    :ivar end: for the record of the job, if it has one.
    """

    job_id: str
    score: int
    token: bytes
    renewed: bytes
    events: Sequence[bytes]
    seconds: int
    end: JobEnd | None = None


@dataclass(frozen=True, slots=True, eq=False)
class FinishSteps(Command):
    """Remove a job that has ended, with its steps, and the mark of one that was to be cancelled.

    :ivar end: for its record, if it has one.
    :ivar hold: the key that it holds until it has ended, if there is one.
    """

    job_id: str
    end: JobEnd | None = None
    hold: Hold | None = None
