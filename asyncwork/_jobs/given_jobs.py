"""The jobs that are given to batches and flows, as calls of tasks, or as names and arguments."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ..errors import UsageError
from .job_call import JobCall, check_jobs
from .names import Named
from .printable import shown


def job_of(job: JobCall[Any] | str | Named, args: Mapping[str, Any] | None) -> object:
    """Return a single job, as a call or a pair.

    :raises UsageError: when arguments are given twice.
    """
    if isinstance(job, JobCall):
        if args is not None:
            raise UsageError("a task.call(…) has its arguments already: pass it alone")
        return job
    return (job, args)


def jobs_of(jobs: object, args: object) -> Iterable[object]:
    """Return many jobs, as calls and pairs.

    :raises UsageError: when they cannot be iterated over.
    """
    if args is None and not isinstance(jobs, str):
        check_jobs(jobs)
        assert isinstance(jobs, Iterable)
        return jobs
    if not isinstance(args, Iterable) or isinstance(args, (str, bytes, Mapping)):
        raise UsageError(f"pass the name of the jobs and a list of the arguments of each, not {shown(args)}")
    return ((jobs, each) for each in args)


def nodes_of(jobs: object, args: object) -> list[object]:
    """Return the jobs of a group of nodes, as calls and pairs.

    :raises UsageError: when they cannot be iterated over, or there are none.
    """
    found = list(jobs_of(jobs, args))
    if not found:
        raise UsageError("there is no job to add: leave the call out where there may be none")
    return found
