"""Tasks: handlers that can be enqueued, which ``@pool.job`` makes from functions."""

from __future__ import annotations

import functools
import inspect
import pickle
import sys
from collections.abc import Callable, Coroutine, Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any, Generic, ParamSpec, Protocol, TypeVar, overload

from . import sync
from ._jobs.binding import bind_arguments, check_types
from ._jobs.enqueue_options import AT_ONCE, EnqueueOptions
from ._jobs.function_kinds import is_async
from ._jobs.handler import Handler
from ._jobs.job_call import JobCall, set_task
from ._jobs.rule_arguments import check_names, cost_of, with_defaults
from ._jobs.tenants import tenant_or_none
from ._json.codec import decode, encode_args
from ._redis.job_record import check_waitable, result_of
from .enqueuer import Enqueuer
from .errors import UsageError
from .models.enqueued_job import EnqueuedJob, set_source
from .options import JobOptions
from .unique import Debounce, Throttle, Unique

Whole = ParamSpec("Whole")  # the function's own parameters
Arguments = ParamSpec("Arguments")  # those that take job arguments
R_co = TypeVar("R_co", covariant=True)
V = TypeVar("V")


class BoundTask(Generic[Arguments, R_co]):
    """Enqueues the jobs of one task, all with the same options."""

    __slots__ = ("_enqueue_options", "_handler", "_source")

    def __init__(self, handler: Handler, options: EnqueueOptions, source: EnqueuerSource) -> None:
        self._handler = handler
        self._enqueue_options = options
        self._source = source

    def call(self, /, *args: Arguments.args, **kwargs: Arguments.kwargs) -> JobCall[R_co]:
        """Return a job that is not enqueued yet, for ``enqueue_many`` of a task or of an :class:`Enqueuer`.

        ``await task.call(…)`` enqueues it, and returns what its handler returns.

        :raises UsageError: when Python would refuse the call with a ``TypeError``.
        :raises ArgumentEncodingError: when a value of an annotated type has no JSON, such as a ``datetime`` without a
            time zone. The message names its path.
        """
        bound, options = bind_arguments(self._handler, args, kwargs) or None, self._enqueue_options
        if (rule := options.rule) is not None:
            bound = with_defaults(rule, self._handler, bound)
        partition = self._handler.options.partition
        if partition is not None and options.partition is None:
            options = options.of_tenant(tenant_or_none(self._handler.name, partition, bound))
        options = options.costing(cost_of(self._handler, bound))
        call: JobCall[R_co] = JobCall(self._handler.name, bound, options)
        set_task(call, self)
        return call

    async def enqueue(self, /, *args: Arguments.args, **kwargs: Arguments.kwargs) -> EnqueuedJob[R_co]:
        """Enqueue a job.

        :raises UsageError, ArgumentEncodingError, QueueFull, RedisUnavailable: as :meth:`Enqueuer.enqueue`.
        """
        job: EnqueuedJob[R_co] = await self._source.enqueuer.enqueue_call(self.call(*args, **kwargs))
        set_source(job, self)
        return job

    async def _enqueue_and_wait(self, call: JobCall[R_co], timeout: float | timedelta | None) -> Any:
        """Enqueue a call of this task, and wait for its result; see :meth:`JobCall.result`.

        :raises UsageError, ArgumentEncodingError, RedisUnavailable, NoResultError: as there.
        """
        self._check_kept()
        return await self._wait_for_result(await self._source.enqueuer.enqueue_call(call), timeout)

    async def _wait_for_result(self, job: EnqueuedJob[Any], timeout: float | timedelta | None) -> Any:
        """Wait until a job of this task has ended; see :meth:`EnqueuedJob.result`.

        :raises NoResultError, UsageError: as there.
        """
        self._check_waitable(job)
        return result_of(job.id, await self._source.enqueuer._end_of(job, "", timeout), self._handler.returns)

    def _check_waitable(self, job: EnqueuedJob[Any]) -> None:
        self._check_kept()
        check_waitable(job)

    def _check_kept(self) -> None:
        if self._handler.options.result is None:
            name = self._handler.name
            raise UsageError(
                f"the results of {name!r} are not kept, so nothing can be waited for: register it with "
                "@pool.job(result=SECONDS)"
            )

    @property
    def sync(self) -> SyncBoundTask[Arguments, R_co]:
        """The same for code without an event loop: ``task.options(…).sync.enqueue(…)`` blocks."""
        return SyncBoundTask(self)


class SyncBoundTask(Generic[Arguments, R_co]):
    """Enqueues the jobs of one task in calls that block, all with the same options."""

    __slots__ = ("_task",)

    def __init__(self, task: BoundTask[Arguments, R_co]) -> None:
        self._task = task

    def enqueue(self, /, *args: Arguments.args, **kwargs: Arguments.kwargs) -> EnqueuedJob[R_co]:
        """Enqueue a job.

        :raises UsageError, ArgumentEncodingError, QueueFull, RedisUnavailable: as
            :meth:`asyncwork.sync.Enqueuer.enqueue`.
        """
        return self._task._source.sync_enqueuer.enqueue_call(self._task.call(*args, **kwargs))

    @overload
    def result(
        self: SyncBoundTask[Arguments, Coroutine[Any, Any, V]],
        job: EnqueuedJob[Any],
        *,
        timeout: float | timedelta | None = None,
    ) -> V: ...
    @overload
    def result(
        self: SyncBoundTask[Arguments, V], job: EnqueuedJob[Any], *, timeout: float | timedelta | None = None
    ) -> V: ...
    def result(self, job: EnqueuedJob[Any], *, timeout: float | timedelta | None = None) -> Any:
        """Wait until a job of this task has ended; return what its handler returned.

        :param timeout: seconds, or a ``timedelta``; ``None`` waits as long as it takes. The job itself goes on.
        :raises NoResultError, UsageError: as :meth:`EnqueuedJob.result`.
        """
        self._task._check_waitable(job)
        record = self._task._source.sync_enqueuer._end_of(job, "", timeout)
        return result_of(job.id, record, self._task._handler.returns)


class SyncTask(SyncBoundTask[Arguments, R_co], Generic[Arguments, R_co]):
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


class Task(BoundTask[Arguments, R_co], Generic[Whole, Arguments, R_co]):
    """A job type: an ordinary function that can also be enqueued, with its own signature less the leading parameters.

    It can be passed instead of its function. ``inspect`` reports it as ``async`` if the function is (Starlette's and
    FastAPI's ``BackgroundTask`` inspect it), and it is pickled by its name in its module.

    :ivar name: the name of its jobs.
    :ivar job_options: how its jobs are treated.
    :ivar function: the function itself.
    """

    __name__: str

    def __init__(self, handler: Handler, function: Callable[Whole, R_co], source: EnqueuerSource) -> None:
        options = AT_ONCE.of_type(handler.options).limited(handler.options.max_waiting)
        super().__init__(handler, options, source)
        self.function = function
        self.name: str = handler.name
        self.job_options: JobOptions = handler.options
        functools.update_wrapper(self, function)
        self.__name__ = getattr(function, "__name__", self.name)
        if is_async(function):
            _mark_as_async(self, function)

    def __call__(self, /, *args: Whole.args, **kwargs: Whole.kwargs) -> R_co:
        """Call the function itself, without any queue."""
        return self.function(*args, **kwargs)

    def options(
        self,
        *,
        delay: float | timedelta | None = None,
        at: datetime | float | None = None,
        unique: bool | Mapping[str, Any] | Unique | None = None,
        id: str | None = None,  # noqa: A002
        front: bool = False,
        timeout: float | timedelta | None = None,
        expires: float | timedelta | datetime | None = None,
        debounce: Debounce | None = None,
        throttle: Throttle | None = None,
        max_waiting: int | None = None,
        partition: str | int | None = None,
        cost: int | None = None,
    ) -> BoundTask[Arguments, R_co]:
        """Return what enqueues jobs with these options: ``await task.options(delay=60).enqueue(…)``.

        The options are those of :meth:`Enqueuer.enqueue`.

        :raises UsageError: when one is not valid, or two exclude each other.
        """
        times, rules = (delay, at, unique, id, front, timeout, expires), (debounce, throttle)
        options = EnqueueOptions(*times, *rules, max_waiting, partition, cost).of_type(self.job_options)
        if options.rule is not None:
            check_names(options.rule, self._handler)
        return BoundTask(self._handler, options.limited(self.job_options.max_waiting), self._source)

    @property
    def sync(self) -> SyncTask[Arguments, R_co]:
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

    def __copy__(self) -> Task[Whole, Arguments, R_co]:
        return self

    def __deepcopy__(self, memo: object) -> Task[Whole, Arguments, R_co]:
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
