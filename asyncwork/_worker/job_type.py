"""A job type: what a pool knows of one job name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from .._jobs.calling import Call
from .._jobs.chunk_calling import Chunked
from .._redis.fair_queues import FairOptions
from .._redis.queue_options import QueueOptions
from ..models.pools import IgnoredArgument
from ..options import JobOptions
from .metrics import QueueMetrics
from .result_keeper import ResultKeeper


def _unchanged(call: Call) -> Call:
    return call


@dataclass(frozen=True, slots=True)
class JobType:
    """How to run the jobs of one name, and where to count them.

    :ivar call: runs a job with all middleware around its handler.
    :ivar keeper: makes the records of its jobs; ``None`` if it keeps no results.
    :ivar limit: makes, of what runs a job, what runs it only if it has not expired.
    :ivar ignored: by argument name, the number of jobs that had an argument which the handler does not take.
    :ivar chunked: how its jobs are run in chunks; ``None`` if each has a call of its own.
    """

    call: Call
    options: JobOptions
    keeper: ResultKeeper | None = None
    metrics: QueueMetrics = field(default_factory=QueueMetrics)
    limit: Callable[[Call], Call] = _unchanged
    ignored: Mapping[str, int] = field(default_factory=dict)
    chunked: Chunked | None = None

    def in_time(self) -> Call:
        """Return what runs a job that has a time limit of its own."""
        return self.limit(self.call)


def ignored_arguments(job_types: Mapping[str, JobType]) -> tuple[IgnoredArgument, ...]:
    """Return the arguments that handlers did not take, with how many jobs had them. May be called from a thread."""
    return tuple(
        IgnoredArgument(name, argument, count)
        for name, each in job_types.items()
        for argument, count in list(each.ignored.items())
    )


def written_options(job_types: Mapping[str, JobType]) -> tuple[dict[str, int], dict[str, int]]:
    """Return, by job name, the options that a pool writes to Redis: the concurrency limit, and for how long records are
    kept, seconds. Names whose jobs have no record are left out of the second.
    """
    limits = {name: each.options.max_concurrency for name, each in job_types.items()}
    return limits, {name: each.keeper.seconds for name, each in job_types.items() if each.keeper is not None}


def fair_options(options: Mapping[str, JobOptions]) -> dict[str, FairOptions]:
    """Return, by job name, what a pool declares of its fair queues."""
    return {
        name: FairOptions(each.partition_concurrency, each.partition_max, each.ordered, str(each.partition_rate or ""))
        for name, each in options.items()
        if each.partition is not None
    }


def queue_options(job_types: Mapping[str, JobType]) -> dict[str, QueueOptions]:
    """Return what a pool writes of the queues of its job types, by job name, beside :func:`written_options`."""
    options = {name: each.options for name, each in job_types.items() if each.options.chunk or each.options.max_waiting}
    return {
        name: QueueOptions(each.chunk, each.chunk_wait if each.chunk else 0.0, each.max_waiting)
        for name, each in options.items()
    }
