"""Tasks: handlers that can be enqueued, which ``@pool.job`` makes from functions."""

from __future__ import annotations

import functools
import inspect
import pickle
import sys
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Any, Generic, ParamSpec, TypeVar

from ._jobs.binding import bind_arguments, check_types
from ._jobs.function_kinds import is_async
from ._jobs.handler import Handler
from ._json.codec import decode, encode_args
from .enqueuer import Enqueuer
from .models import EnqueuedJob
from .options import JobOptions

Whole = ParamSpec("Whole")  # the function's own parameters
Arguments = ParamSpec("Arguments")  # those that take job arguments
R = TypeVar("R")


class Task(Generic[Whole, Arguments, R]):
    """A job type: an ordinary function that can also be enqueued, with its own signature less the leading parameters.

    It can be passed instead of its function. ``inspect`` reports it as ``async`` if the function is (Starlette's and
    FastAPI's ``BackgroundTask`` inspect it), and it is pickled by its name in its module.

    :ivar name: the name of its jobs.
    :ivar options: how its jobs are treated.
    :ivar function: the function itself.
    """

    __name__: str

    def __init__(self, handler: Handler, function: Callable[Whole, R], enqueuer: Callable[[], Enqueuer]) -> None:
        self._handler = handler
        self.function = function
        self._enqueuer = enqueuer
        self.name: str = handler.name
        self.options: JobOptions = handler.options
        functools.update_wrapper(self, function)
        self.__name__ = getattr(function, "__name__", self.name)
        if is_async(function):
            _mark_as_async(self, function)

    def __call__(self, /, *args: Whole.args, **kwargs: Whole.kwargs) -> R:
        """Call the function itself, without any queue."""
        return self.function(*args, **kwargs)

    def bind(self, /, *args: Arguments.args, **kwargs: Arguments.kwargs) -> dict[str, Any]:
        """Return the job arguments for a call, by name and without defaults; for :meth:`enqueue_many` and the like.

        :raises UsageError: when Python would refuse the call with a ``TypeError``.
        """
        return bind_arguments(self._handler, args, kwargs)

    def bind_values(self, args: Mapping[str, Any] | None) -> dict[str, Any] | None:
        """Return job arguments that are given by name, as a schedule has them, checked against the handler's types.

        :raises UsageError, ArgumentsError: when the handler cannot be called with them.
        """
        bound = self._args((), dict(args or {}))
        check_types(self._handler, decode(encode_args(bound)) or {})
        return bound

    async def enqueue(self, /, *args: Arguments.args, **kwargs: Arguments.kwargs) -> EnqueuedJob:
        """Enqueue a job to run as soon as a worker is free.

        :raises UsageError, ArgumentsError, RedisUnusable: as :meth:`Enqueuer.enqueue`.
        """
        return await self._enqueuer().enqueue(self.name, self._args(args, kwargs))

    async def enqueue_in(self, seconds: float, /, *args: Arguments.args, **kwargs: Arguments.kwargs) -> EnqueuedJob:
        """Enqueue a job to run ``seconds`` from now.

        :raises UsageError, ArgumentsError, RedisUnusable: as :meth:`Enqueuer.enqueue_in`.
        """
        return await self._enqueuer().enqueue_in(self.name, seconds, self._args(args, kwargs))

    async def enqueue_at(
        self, when: datetime | float, /, *args: Arguments.args, **kwargs: Arguments.kwargs
    ) -> EnqueuedJob:
        """Enqueue a job to run at a time: an aware ``datetime``, or epoch seconds.

        :raises UsageError, ArgumentsError, RedisUnusable: as :meth:`Enqueuer.enqueue_at`.
        """
        return await self._enqueuer().enqueue_at(self.name, when, self._args(args, kwargs))

    async def enqueue_unique(self, /, *args: Arguments.args, **kwargs: Arguments.kwargs) -> EnqueuedJob | None:
        """Enqueue a job unless a job with the same arguments is waiting; return ``None`` for such a duplicate.

        :raises UsageError, ArgumentsError, RedisUnusable: as :meth:`Enqueuer.enqueue_unique`.
        """
        return await self._enqueuer().enqueue_unique(self.name, self._args(args, kwargs))

    async def enqueue_unique_in(
        self, seconds: float, /, *args: Arguments.args, **kwargs: Arguments.kwargs
    ) -> EnqueuedJob | None:
        """Enqueue a unique job to run ``seconds`` from now; return ``None`` for a duplicate.

        :raises UsageError, ArgumentsError, RedisUnusable: as :meth:`Enqueuer.enqueue_unique_in`.
        """
        return await self._enqueuer().enqueue_unique_in(self.name, seconds, self._args(args, kwargs))

    async def enqueue_unique_by_key(
        self, key_map: Mapping[str, Any], /, *args: Arguments.args, **kwargs: Arguments.kwargs
    ) -> EnqueuedJob | None:
        """Enqueue a job unless a job with the same ``key_map`` is waiting.

        Return ``None`` for a duplicate. The waiting job will then run with these arguments.

        :raises UsageError, ArgumentsError, RedisUnusable: as :meth:`Enqueuer.enqueue_unique_by_key`.
        """
        return await self._enqueuer().enqueue_unique_by_key(self.name, self._args(args, kwargs), key_map)

    async def enqueue_unique_in_by_key(
        self, seconds: float, key_map: Mapping[str, Any], /, *args: Arguments.args, **kwargs: Arguments.kwargs
    ) -> EnqueuedJob | None:
        """Enqueue a job unique by ``key_map`` to run ``seconds`` from now; return ``None`` for a duplicate.

        :raises UsageError, ArgumentsError, RedisUnusable: as :meth:`Enqueuer.enqueue_unique_in_by_key`.
        """
        arguments = self._args(args, kwargs)
        return await self._enqueuer().enqueue_unique_in_by_key(self.name, seconds, arguments, key_map)

    async def enqueue_many(self, calls: Iterable[Mapping[str, Any]]) -> list[EnqueuedJob]:
        """Enqueue many jobs in a few round trips.

        :param calls: the arguments of each job, made by :meth:`bind`.

        :raises UsageError, ArgumentsError, EnqueueManyError: as :meth:`Enqueuer.enqueue_many`.
        """
        bound = [bind_arguments(self._handler, (), dict(call)) for call in calls]
        return await self._enqueuer().enqueue_many([(self.name, args or None) for args in bound])

    def _args(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any] | None:
        return bind_arguments(self._handler, args, kwargs) or None

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
