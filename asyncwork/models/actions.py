"""The results of actions on jobs, and deletions that can be undone."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from .job_record import JobRecord


@dataclass(frozen=True, slots=True)
class ActionResult:
    """The result of an action on jobs.

    :ivar done: how many jobs were moved, deleted, cancelled or counted; jobs that were gone meanwhile are not included.
    :ivar looked: how many jobs were read.
    :ivar cursor: continues the action; empty when it is complete.
    :ivar undo: the token for :meth:`Client.restore`, for ten minutes; empty when it cannot be undone.
    """

    done: int
    looked: int
    cursor: str = ""
    undo: str = ""


class CancelResult(StrEnum):
    """The result of :meth:`Client.cancel`.

    :cvar NOW: the job was waiting, and is gone now.
    :cvar ASKED: the job runs, and its pool was asked to end it; or it was not found in time, and will not start.
    :cvar GONE: there is no such job, or it has ended.
    """

    NOW = "now"
    ASKED = "asked"
    GONE = "gone"


@dataclass(frozen=True, slots=True)
class Deletion:
    """A deletion that can be undone.

    :ivar undo: the token for :meth:`Client.restore`.
    :ivar location: the location of the jobs.
    :ivar who: the user who deleted them; empty when that is unknown.
    :ivar at: when they were deleted, epoch seconds.
    :ivar until: until when it can be undone, epoch seconds.
    :ivar count: the number of jobs.
    :ivar first: one of the jobs.
    """

    undo: str
    location: str
    who: str
    at: float
    until: float
    count: int
    first: JobRecord
