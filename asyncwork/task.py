"""Tasks: handlers that can be enqueued, which ``@pool.job`` makes from functions."""

from __future__ import annotations

import functools
import inspect
import pickle
import sys
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any, Generic, ParamSpec, Protocol, TypeVar

from . import sync
from ._jobs.binding import bind_arguments, check_types
from ._jobs.enqueue_options import AT_ONCE, EnqueueOptions
from ._jobs.function_kinds import is_async
from ._jobs.handler import Handler
from ._jobs.job_call import JobCall
from ._json.codec import decode, encode_args
from .enqueuer import Enqueuer
from .models import EnqueuedJob
from .options import JobOptions

Whole = ParamSpec("Whole")  # the function's own parameters
Arguments = ParamSpec("Arguments")  # those that take job arguments
R = TypeVar("R")


class BoundTask(Generic[Arguments]):
    """Enqueues the jobs of one task, all with the same options."""

    __slots__ = ("_enqueue_options", "_handler", "_source")

    def __init__(self, handler: Handler, options: EnqueueOptions, source: EnqueuerSource) -> None:
        self._handler = handler
        self._enqueue_options = options
        self._source = source

    def call(self, /, *args: Arguments.args, **kwargs: Arguments.kwargs) -> JobCall:
        """Return a job that is not enqueued yet, for ``enqueue_many`` of a task or of an :class:`Enqueuer`.

        :raises UsageError: when Python would refuse the call with a ``TypeError``.
        :raises ArgumentEncodingError: when a value of an annotated type has no JSON, such as a ``datetime`` without a
            time zone. The message names its path.
        """
        bound = bind_arguments(self._handler, args, kwargs) or None
        return JobCall(self._handler.name, bound, self._enqueue_options)

    async def enqueue(self, /, *args: Arguments.args, **kwargs: Arguments.kwargs) -> EnqueuedJob:
        """Enqueue a job.

        :raises UsageError, ArgumentEncodingError, RedisUnavailable: as :meth:`Enqueuer.enqueue`.
        """
        return await self._source.enqueuer.enqueue_call(self.call(*args, **kwargs))

    @property
    def sync(self) -> SyncBoundTask[Arguments]:
        """The same for code without an event loop: ``task.options(…).sync.enqueue(…)`` blocks."""
        return SyncBoundTask(self)


class SyncBoundTask(Generic[Arguments]):
    """Enqueues the jobs of one task in calls that block, all with the same options."""

    __slots__ = ("_task",)

    def __init__(self, task: BoundTask[Arguments]) -> None:
        self._task = task

    def enqueue(self, /, *args: Arguments.args, **kwargs: Arguments.kwargs) -> EnqueuedJob:
        """Enqueue a job.

        :raises UsageError, ArgumentEncodingError, RedisUnavailable: as :meth:`asyncwork.sync.Enqueuer.enqueue`.
        """
        return self._task._source.sync_enqueuer.enqueue_call(self._task.call(*args, **kwargs))


class SyncTask(SyncBoundTask[Arguments], Generic[Arguments]):
    """Enqueues the jobs of one task, and many jobs at once, in calls that block."""

    __slots__ = ()

    def enqueue_many(self, calls: Iterable[JobCall]) -> list[EnqueuedJob]:
        """Enqueue many jobs in their order, in a few round trips.

        :param calls: made by :meth:`Task.call`, also with :meth:`Task.options`, of this task and of others.
        :raises UsageError, ArgumentEncodingError, EnqueueManyError: as :meth:`asyncwork.sync.Enqueuer.enqueue_many`.
        """
        return self._task._source.sync_enqueuer.enqueue_many(calls)


class EnqueuerSource(Protocol):
    """Has the enqueuers of a pool."""

    @property
    def enqueuer(self) -> Enqueuer: ...

    @property
    def sync_enqueuer(self) -> sync.Enqueuer: ...


class Task(BoundTask[Arguments], Generic[Whole, Arguments, R]):
    """A job type: an ordinary function that can also be enqueued, with its own signature less the leading parameters.

    It can be passed instead of its function. ``inspect`` reports it as ``async`` if the function is (Starlette's and
    FastAPI's ``BackgroundTask`` inspect it), and it is pickled by its name in its module.

    :ivar name: the name of its jobs.
    :ivar job_options: how its jobs are treated.
    :ivar function: the function itself.
    """

    __name__: str

    def __init__(self, handler: Handler, function: Callable[Whole, R], source: EnqueuerSource) -> None:
        super().__init__(handler, AT_ONCE, source)
        self.function = function
        self.name: str = handler.name
        self.job_options: JobOptions = handler.options
        functools.update_wrapper(self, function)
        self.__name__ = getattr(function, "__name__", self.name)
        if is_async(function):
            _mark_as_async(self, function)

    def __call__(self, /, *args: Whole.args, **kwargs: Whole.kwargs) -> R:
        """Call the function itself, without any queue."""
        return self.function(*args, **kwargs)

    def options(
        self,
        *,
        delay: float | timedelta | None = None,
        at: datetime | float | None = None,
        unique: bool | Mapping[str, Any] = False,
        id: str | None = None,  # noqa: A002
        front: bool = False,
        timeout: float | timedelta | None = None,
    ) -> BoundTask[Arguments]:
        """Return what enqueues jobs with these options: ``await task.options(delay=60).enqueue(…)``.

        The options are those of :meth:`Enqueuer.enqueue`.

        :raises UsageError: when one is not valid, or two exclude each other.
        """
        return BoundTask(self._handler, EnqueueOptions(delay, at, unique, id, front, timeout), self._source)

    @property
    def sync(self) -> SyncTask[Arguments]:
        """The same for code without an event loop: ``task.sync.enqueue(…)`` blocks."""
        return SyncTask(self)

    async def enqueue_many(self, calls: Iterable[JobCall]) -> list[EnqueuedJob]:
        """Enqueue many jobs in their order, in a few round trips.

        :param calls: made by :meth:`call`, also with :meth:`options`, of this task and of others.
        :raises UsageError, ArgumentEncodingError, EnqueueManyError: as :meth:`Enqueuer.enqueue_many`.
        """
        return await self._source.enqueuer.enqueue_many(calls)

    def bind_values(self, args: Mapping[str, Any] | None) -> dict[str, Any] | None:
        """Return job arguments that are given by name, as a schedule has them, checked against the handler's types.

        :raises UsageError, ArgumentEncodingError: when the handler cannot be called with them.
        """
        bound = bind_arguments(self._handler, (), dict(args or {})) or None
        check_types(self._handler, decode(encode_args(bound)) or {})
        return bound

    def __repr__(self) -> str:
        return f"<Task {self.name}>"

    def __reduce__(self) -> str:
        """Return the name by which :mod:`pickle` finds it in its module.

        :raises pickle.PicklingError: when its module has nothing, or another object, by that name.
        """
        module, path = self.__module__, getattr(self, "__qualname__", self.name)
        found: object = sys.modules.get(module)
        for step in path.split("."):
            found = getattr(found, step, None)
        if found is not self:
            actual = "not defined" if found is None else f"a {type(found).__name__}"
            raise pickle.PicklingError(
                f"task {self.name!r} cannot be pickled: pickle finds a task by its function's name in its module, but "
                f"{module}.{path} is {actual}. Define the task there with @pool.job, or pass the job's name"
            )
        return path

    def __copy__(self) -> Task[Whole, Arguments, R]:
        return self

    def __deepcopy__(self, memo: object) -> Task[Whole, Arguments, R]:
        return self


def _mark_as_async(task: object, function: Callable[..., Any]) -> None:
    """Make ``inspect.iscoroutinefunction``, and ``asyncio``'s, return true for a task."""
    if sys.version_info >= (3, 12):
        inspect.markcoroutinefunction(task)
        return
    # Python 3.11 has no such mark. There they check the attributes of a function.
    like = function if hasattr(function, "__code__") else _async_function
    for name in ("__code__", "__defaults__", "__kwdefaults__", "__annotations__"):
        setattr(task, name, getattr(like, name))


async def _async_function() -> None: ...
