"""The environment of workers: what those of one pool share."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from .._jobs.clock import Clock
from ..job import Job
from .cancellations import Cancellations
from .dispatcher import Dispatcher
from .hooks import HookRunner
from .job_type import JobType


@dataclass(frozen=True, slots=True)
class WorkerEnvironment:
    """The parts of its pool that a worker needs.

    :ivar dispatcher: gives jobs to the workers, and records their outcomes.
    :ivar job_types: by job name.
    :ivar cancellations: keeps jobs from starting that are to be cancelled.
    :ivar context: makes a new context object for a job.
    :ivar unique_keys: returns the key that keeps a job unique, in each way it may be spelled.
    :ivar ending: returns whether the workers are to end. Any cancellation before that is the doing of a job.
    :ivar on_defect: called with an unexpected exception, which has ended a worker.
    :ivar runs: returns whether a worker runs a job now.
    :ivar hooks: called for failed attempts; ``None`` if the pool has no hooks.
    :ivar stepped: the jobs that run and have asked for a step.
    :ivar step_types: the names of such jobs, also of those that have ended. Others with the same names may have taken
        steps before, or got events.
    :ivar warned: job names for which it was logged that they leave their task cancelled.
    """

    dispatcher: Dispatcher
    job_types: Mapping[str, JobType]
    context: Callable[[], Any]
    clock: Clock
    unique_keys: Callable[[Job], Sequence[str]]
    cancellations: Cancellations
    ending: Callable[[], bool]
    on_defect: Callable[[Exception], None]
    runs: Callable[[Job], bool]
    hooks: HookRunner | None
    warned: set[str] = field(default_factory=set, init=False)
    stepped: set[Job] = field(default_factory=set, init=False)
    step_types: set[str] = field(default_factory=set, init=False)
