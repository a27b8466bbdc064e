"""Records of jobs for a test: those that are enqueued, and those that ran."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from .._worker import outcome
from ..job import Job
from ..models.job_status import Progress

# Seconds that a drain may take by default.
DRAIN_LIMIT = 60.0

OutcomeName: TypeAlias = Literal["done", "retry", "dead", "dropped", "cancelled", "snoozed", "rate_limited"]


@dataclass(frozen=True, slots=True)
class ListedJob:
    """A job that is enqueued.

    :ivar args: its arguments as JSON holds them.
    :ivar location: ``queue:NAME``, ``scheduled``, ``retry`` or ``dead``.
    :ivar at: when it is due (``scheduled``, ``retry``) or died (``dead``), epoch seconds; ``None`` in a queue.
    :ivar fails: how many attempts have failed.
    :ivar err: the text of the newest failure; empty if there is none.
    """

    name: str
    id: str
    args: Mapping[str, Any]
    location: str
    at: int | None = None
    fails: int = 0
    err: str = ""


@dataclass(frozen=True, slots=True)
class JobRun:
    """An attempt of a job that ran during the test.

    :ivar args: its arguments as JSON holds them.
    :ivar outcome: ``done``; ``retry`` and ``dead`` after a failure; ``dropped`` by ``Discard``, or after a failure by
        ``skip_dead``; ``cancelled``; ``snoozed``; ``rate_limited``.
    :ivar error: what its handler or a middleware raised; ``None`` if it is done.
    :ivar run_at: when it runs again, epoch seconds, after ``retry`` and ``snoozed``; ``None`` otherwise, and if it ran
        again already.
    :ivar failed: whether the attempt counts as a failure.
    :ivar progress: the numbers of its last ``job.progress(…)``; ``None`` if it has reported none.
    :ivar emitted: what it has emitted, as readers of its stream get it.
    """

    name: str
    id: str
    args: Mapping[str, Any]
    outcome: OutcomeName
    error: BaseException | None = field(default=None, compare=False)
    run_at: int | None = None
    failed: bool = False
    progress: Progress | None = None
    emitted: tuple[Any, ...] = ()


def name_of(decided: outcome.Outcome) -> OutcomeName:
    """Return the name of an outcome."""
    match decided:
        case outcome.Done():
            return "done"
        case outcome.RetryAt():
            return "retry"
        case outcome.Dead():
            return "dead"
        case outcome.Drop() | outcome.Expired():
            return "dropped"
        case outcome.Cancelled():
            return "cancelled"
        case outcome.RunAt():
            return "snoozed"
        case outcome.Rest():
            return "rate_limited"


def progress_of(job: Job) -> Progress | None:
    """Return the progress of a job that runs or has run."""
    return None if job.checked_in is None else job.checked_in[2]


def run_at_of(decided: outcome.Outcome) -> int | None:
    """Return when a job with this outcome runs again, epoch seconds; ``None`` if it does not."""
    return decided.at if isinstance(decided, outcome.RetryAt | outcome.RunAt) else None
