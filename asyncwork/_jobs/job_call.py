"""A call of a task that is to be enqueued."""

from __future__ import annotations

from collections.abc import AsyncIterable, Callable, Coroutine, Generator, Iterable, Mapping
from dataclasses import dataclass, fields
from datetime import timedelta
from typing import Any, Generic, overload

from ..errors import UsageError
from ..models.enqueued_job import R_co, V
from .enqueue_options import AT_ONCE, EnqueueOptions
from .printable import shown


class _WithTask:
    """Has the task of a call. It is no field, so it is neither compared nor shown nor pickled."""

    __slots__ = ("_task",)

    _task: Any


@dataclass(frozen=True, slots=True, init=False)
class JobCall(_WithTask, Generic[R_co]):
    """A job that is not enqueued yet: what ``task.call(…)`` returns, for ``enqueue_many``.

    ``await task.call(…)`` enqueues it, and returns what its handler returns.

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

    @overload
    async def result(self: JobCall[Coroutine[Any, Any, V]], timeout: float | timedelta | None = None) -> V: ...
    @overload
    async def result(self: JobCall[V], timeout: float | timedelta | None = None) -> V: ...
    async def result(self, timeout: float | timedelta | None = None) -> Any:
        """Enqueue the job, wait until it has ended, and return what its handler returned.

        :param timeout: see :meth:`EnqueuedJob.result`.
        :raises UsageError: also when the results of its type are not kept; then it is not enqueued.
        :raises ArgumentEncodingError, RedisUnavailable: as :meth:`BoundTask.enqueue`.
        :raises NoResultError: as :meth:`EnqueuedJob.result`.
        """
        task = getattr(self, "_task", None)
        if task is None:
            raise UsageError("this call has lost its task, such as by pickling: enqueue it with enqueue_call")
        return await task._enqueue_and_wait(self, timeout)

    @overload
    def __await__(self: JobCall[Coroutine[Any, Any, V]]) -> Generator[Any, Any, V]: ...
    @overload
    def __await__(self: JobCall[V]) -> Generator[Any, Any, V]: ...
    def __await__(self) -> Generator[Any, Any, Any]:
        """Enqueue the job, and wait for its result as long as it takes; see :meth:`result`."""
        return self.result().__await__()


_set_name, _set_args, _set_options = (getattr(JobCall, each.name).__set__ for each in fields(JobCall))
set_task: Callable[[JobCall[Any], object], None] = vars(_WithTask)["_task"].__set__


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
