"""A call of a task that is to be enqueued."""

from __future__ import annotations

from collections.abc import AsyncIterable, Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Any

from ..errors import UsageError
from .enqueue_options import AT_ONCE, EnqueueOptions
from .printable import shown


@dataclass(frozen=True, slots=True, init=False)
class JobCall:
    """A job that is not enqueued yet: what ``task.call(…)`` returns, for ``enqueue_many``.

    :ivar name: the job's name.
    :ivar args: its arguments by name; ``None`` when it has none.
    :ivar options: when and where it is enqueued.
    """

    name: str
    args: Mapping[str, Any] | None
    options: EnqueueOptions = AT_ONCE

    # One is created for each enqueued job, and the `__init__` of a frozen dataclass takes twice as long.
    def __init__(self, name: str, args: Mapping[str, Any] | None, options: EnqueueOptions = AT_ONCE) -> None:
        _set_name(self, name)
        _set_args(self, args)
        _set_options(self, options)


_set_name, _set_args, _set_options = (getattr(JobCall, each.name).__set__ for each in fields(JobCall))


def check_call(call: object) -> None:
    """Check that a value is a call of a task.

    :raises UsageError: when it is something else.
    """
    if not isinstance(call, JobCall):
        raise UsageError(f"enqueue_call takes what task.call(…) returns, not {type(call).__name__}: {shown(call)}")


def check_jobs(jobs: object) -> None:
    """Check that a value can be iterated over, to enqueue what it yields.

    :raises UsageError: when it cannot, or is a single call of a task.
    """
    if isinstance(jobs, JobCall):
        raise UsageError(
            f"enqueue_many takes a list of jobs, not a single call of {jobs.name}: pass [task.call(…)], or enqueue it "
            "with enqueue_call"
        )
    if isinstance(jobs, AsyncIterable):
        raise UsageError(
            "enqueue_many takes a list of jobs, and not an asynchronous iterator: collect it first, as in "
            "[job async for job in jobs]"
        )
    if not isinstance(jobs, Iterable):
        raise UsageError(
            "enqueue_many takes a list of pairs (name, arguments) and of task.call(…), not "
            f"{type(jobs).__name__}: {shown(jobs)}"
        )
