"""The status of one job: where it is, how far it is, what it has emitted, its attempts, and how it has ended.

``JobStatus`` has more than ten fields, because it says all that Redis holds of a job, in whatever state that is.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from .job_steps import JobStep


class JobState(StrEnum):
    """Where a job is, or how it has ended.

    ``LOST``: it was waited for, but was nowhere, so the doctor has ended the wait. ``UNKNOWN``: it is nowhere. There
    was none with that id, or it has ended and nothing is kept of that, or not any more, or it is a node that waits for
    others of its flow, whose state :meth:`Client.flow_nodes` returns.
    """

    QUEUED = "queued"
    SCHEDULED = "scheduled"
    RETRY = "retry"
    RUNNING = "running"
    DONE = "done"
    DEAD = "dead"
    DISCARDED = "discarded"
    CANCELLED = "cancelled"
    EXPIRED = "expired"
    DELETED = "deleted"
    QUARANTINED = "quarantined"
    LOST = "lost"
    UNKNOWN = "unknown"

    @property
    def ended(self) -> bool:
        """Whether a job in this state will not run, unless it is requeued."""
        return self in _ENDED


_ENDED = frozenset(
    {
        JobState.DONE,
        JobState.DEAD,
        JobState.DISCARDED,
        JobState.CANCELLED,
        JobState.EXPIRED,
        JobState.DELETED,
        JobState.QUARANTINED,
        JobState.LOST,
    }
)


@dataclass(frozen=True, slots=True)
class JobAttempt:
    """One attempt at a job whose type is registered with ``history=True``.

    :ivar started_at: when it started, epoch seconds.
    :ivar ended_at: when it ended, epoch seconds.
    :ivar outcome: how it ended, such as ``"done"``, ``"failed"`` or ``"snoozed"``.
    :ivar host: the machine that ran it.
    :ivar pid: the process that ran it.
    :ivar error: its error; empty if there was none.
    """

    started_at: float
    ended_at: float
    outcome: str
    host: str = ""
    pid: int = 0
    error: str = ""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a job is. As text it is ``45/100 resizing``.

    :ivar done: how much is done, in any unit; zero or more.
    :ivar total: how much there is to do; ``None`` when that is unknown. It may be less than ``done``.
    :ivar text: what the job says about it, or empty.
    """

    done: float
    total: float | None = None
    text: str = ""

    @property
    def fraction(self) -> float | None:
        """How much of all is done, from 0 to 1; ``None`` when that is unknown."""
        if self.total is None:
            return None
        return min(1.0, self.done / self.total) if self.total else 1.0

    @property
    def numbers(self) -> str:
        """The numbers as text, ``45/100`` or ``45``."""
        return _number(self.done) if self.total is None else f"{_number(self.done)}/{_number(self.total)}"

    def __str__(self) -> str:
        return f"{self.numbers} {self.text}" if self.text else self.numbers


def _number(value: float) -> str:
    return str(int(value)) if isinstance(value, int) else f"{value:.6g}"


@dataclass(frozen=True, slots=True)
class JobStatus:
    """The status of one job: where it is, or how it has ended.

    :ivar id: its id.
    :ivar state: where it is, or how it has ended.
    :ivar name: its name; empty when it is unknown.
    :ivar enqueued_at: when it was enqueued, epoch seconds, or 0. A scheduled job or a retry counts as enqueued when it
        is put on its queue, as in gocraft/work, and nothing keeps the time before; see :attr:`requeued`.
    :ivar run_at: when it is due, epoch seconds, if it is scheduled or to be retried, otherwise 0.
    :ivar started_at: when its last attempt started, epoch seconds, or 0.
    :ivar ended_at: when it ended, epoch seconds, or 0.
    :ivar attempts: how many attempts there were, the one that runs included, without those whose process died.
    :ivar error: the error of the last failed attempt; empty if there was none.
    :ivar traceback: the end of its traceback; empty if there is none.
    :ivar worker_id: the worker that runs it; empty if none does.
    :ivar checkin: the text of its last check-in while it runs; empty if there is none.
    :ivar problem: why its result could not be kept; empty if it could.
    :ivar location: where it waits: ``"queue:NAME"``, ``"retry"``, ``"scheduled"`` or ``"dead"``; empty otherwise.
    :ivar progress: what it has reported while it runs; ``None`` if it has not.
    :ivar args: its arguments as JSON; empty when they are not known any more.
    :ivar history: its attempts, the oldest first, if its type is registered with ``history=True``.
    :ivar timeout: the timeout with which it was enqueued, seconds; 0 for none, ``None`` for the timeout of its type.
    :ivar expires: the time after which it does not start, epoch seconds, or 0.
    :ivar cancellation: who has cancelled it and why, such as ``"cancelled by ada: too slow"``, if it has not ended yet;
        empty if it was not cancelled.
    :ivar overdue: whether it goes on although its time is over, or it was cancelled, some seconds ago.
    :ivar pool_dead_since: since when the pool that has it in progress has sent no heartbeat, if it is considered dead,
        epoch seconds, or 0 if that is not known. Another pool is to requeue the job. ``None`` otherwise.
    :ivar steps: what it has recorded of its steps, in the order in which they began, if it has not ended or is dead.
    """

    id: str
    state: JobState
    name: str = ""
    enqueued_at: int = 0
    run_at: int = 0
    started_at: float = 0.0
    ended_at: float = 0.0
    attempts: int = 0
    error: str = ""
    traceback: str = field(default="", repr=False)
    worker_id: str = ""
    checkin: str = ""
    problem: str = ""
    location: str = ""
    progress: Progress | None = None
    args: str = ""
    history: tuple[JobAttempt, ...] = ()
    timeout: float | None = None
    expires: float = 0.0
    cancellation: str = ""
    overdue: bool = False
    pool_dead_since: float | None = None
    steps: tuple[JobStep, ...] = ()

    @property
    def requeued(self) -> bool:
        """Whether ``enqueued_at`` is the time at which the job was put on its queue for another attempt."""
        if any(0 < each.started_at < self.enqueued_at for each in self.history):
            return True
        # In the other states, the last of the attempts may be the one for which it was put on its queue.
        not_begun = self.state in (JobState.QUEUED, JobState.SCHEDULED, JobState.EXPIRED)
        return self.attempts > (0 if not_begun else 1)


@dataclass(frozen=True, slots=True)
class FinishedPage:
    """A page of the jobs that have ended, the last one first.

    :ivar jobs: up to ``per_page`` jobs, without their tracebacks; fewer if some can no longer be read.
    :ivar total: the number of jobs that are listed.
    :ivar page: the number of the page, from 1.
    :ivar pages: the number of pages; 1 if no job is listed.
    """

    jobs: tuple[JobStatus, ...]
    total: int
    page: int
    pages: int


@dataclass(frozen=True, slots=True)
class StreamItem:
    """An item of a job's stream: a chunk that it has emitted, or its end. :meth:`Client.stream_items` yields these.

    :ivar id: its id in the stream; pass it as ``after`` to go on behind it.
    :ivar chunk: what was emitted; ``None`` at the end.
    :ivar attempt: the number of the attempt that has emitted it, from 1. A job that was cut off and
        starts again has a new number, too. 0 at the end.
    :ivar end: in the last item, how the job has ended, such as ``done`` or ``dead``; otherwise empty.
    """

    id: str
    chunk: Any = field(repr=False)
    attempt: int
    end: str = ""
