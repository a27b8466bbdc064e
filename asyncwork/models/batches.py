"""Batches: jobs that belong together, and how far they are.

``BatchStatus`` has more than ten fields, because it shows all that is known of a batch.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from .job_status import JobState, JobStatus


class BatchState(StrEnum):
    """How far a batch is.

    :cvar OPEN: its creator may add more members; those that it has run meanwhile.
    :cvar RUNNING: all members were added, and some have not ended.
    :cvar SUCCEEDED: all members are done.
    :cvar FAILED: all members have ended, and at least one has failed.
    :cvar CANCELLED: all members have ended, none has failed, and at least one was cancelled or deleted, or never added.
    """

    OPEN = "open"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True)
class BatchStatus:
    """A batch.

    :ivar id: its id, 24 hex digits; that of a flow begins with ``w`` instead of the first. That of its members and its
        callbacks begins with it.
    :ivar total: the number of members that were added so far.
    :ivar left: how many of them have not ended.
    :ivar failed: how many have failed for good: they are dead, were discarded or quarantined, have expired, or are
        lost. When a dead one is retried and done, it is none of them any more.
    :ivar cancelled: how many were cancelled or deleted.
    :ivar created_at: epoch seconds.
    :ivar added_at: when members were last added, epoch seconds.
    :ivar ended_at: when the last of its members had ended, epoch seconds; ``None`` if that is not so.
    :ivar open: whether its creator may add more members.
    :ivar waiting: the callbacks that were not enqueued yet: ``success``, ``done`` and ``failure``.
    :ivar cancellation: who has cancelled it and why, such as ``"cancelled by ada: too slow"``; empty if it was not.
    :ivar parent: the id of the batch that it is a member of; empty if there is none.
    :ivar incomplete: whether it was cancelled before its creator had added all members: it never succeeds.
    """

    id: str
    name: str
    tags: tuple[str, ...] = ()
    total: int = 0
    left: int = 0
    failed: int = 0
    cancelled: int = 0
    created_at: int = 0
    ended_at: int | None = None
    open: bool = False
    waiting: tuple[str, ...] = ()
    cancellation: str = ""
    parent: str = ""
    incomplete: bool = False
    added_at: int = 0

    @property
    def is_flow(self) -> bool:
        """Whether it is a flow, whose members are nodes that run after one another: :meth:`Client.flow` shows these."""
        return self.id.startswith("w")

    @property
    def done(self) -> int:
        """How many of its members have succeeded."""
        return self.total - self.left - self.failed - self.cancelled

    @property
    def ended(self) -> bool:
        """Whether all of its members have ended."""
        return self.ended_at is not None

    @property
    def state(self) -> BatchState:
        """How far it is."""
        if not self.ended:
            return BatchState.OPEN if self.open else BatchState.RUNNING
        if self.failed:
            return BatchState.FAILED
        return BatchState.CANCELLED if self.cancelled or self.incomplete else BatchState.SUCCEEDED


@dataclass(frozen=True, slots=True)
class BatchPage:
    """A page of batches, the newest first.

    :ivar batches: up to ``per_page`` batches; fewer if some are not kept any more.
    :ivar total: the number of batches that are listed.
    :ivar page: the number of the page, from 1.
    :ivar pages: the number of pages; 1 if there is no batch.
    """

    batches: tuple[BatchStatus, ...]
    total: int
    page: int
    pages: int


@dataclass(frozen=True, slots=True)
class BatchFailures:
    """A page of the members of a batch that have failed, in the order in which they were added.

    :ivar jobs: what is known of each. The state of one that is not kept as dead, and has no record, is
        :attr:`JobState.UNKNOWN`.
    :ivar total: how many have failed.
    :ivar page: the number of the page, from 1.
    :ivar pages: the number of pages; 1 if none has failed.
    """

    jobs: tuple[JobStatus, ...]
    total: int
    page: int
    pages: int


@dataclass(frozen=True, slots=True)
class BatchResult:
    """The end of a member whose job type has ``result=…``, as it is kept.

    :ivar number: its number in the batch, from 0, in the order in which the members were added.
    :ivar id: its id as a job.
    :ivar state: how it has ended; :attr:`JobState.UNKNOWN` if it has not, or nothing is kept of that.
    :ivar result: what its handler has returned, as JSON has it; ``None`` also if nothing is kept.
    """

    number: int
    id: str
    state: JobState
    result: Any = field(default=None, repr=False)
