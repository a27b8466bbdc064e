"""A handler that can be enqueued: what ``@pool.job`` makes of a function."""

from __future__ import annotations

import functools
import inspect
import pickle
import sys
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Any, Generic, ParamSpec, TypeVar

from ._jobs.handler import Handler, bind_arguments, check_values, is_async
from ._json.codec import decode, encode_args
from .enqueuer import Enqueuer
from .models import EnqueuedJob
from .options import JobOptions

Whole = ParamSpec("Whole")  # the function's own parameters
Arguments = ParamSpec("Arguments")  # those of them that come from the job
R = TypeVar("R")


class Task(Generic[Whole, Arguments, R]):
    """A job type: an ordinary function that can also be enqueued, with its own signature less the leading parameters.

    Wherever a function is taken it may stand for its own: it looks ``async`` where that is (Starlette's and FastAPI's
    ``BackgroundTask`` look), and is pickled by the name under which its module holds it.

    :ivar name: the name of its jobs.
    :ivar options: how they are treated.
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
        """Return the job arguments for such a call: by name, defaults left out. For :meth:`enqueue_many` and the like.

        :raises UsageError: when such a call would be a ``TypeError``.
        """
        return bind_arguments(self._handler, args, kwargs)

    def bind_values(self, args: Mapping[str, Any] | None) -> dict[str, Any] | None:
        """Return job arguments that are given by name once and for all, as a schedule has them, checked against the
        handler's types.

        :raises UsageError, ArgumentsError: when the handler cannot be called with them.
        """
        bound = self._args((), dict(args or {}))
        check_values(self._handler, decode(encode_args(bound)) or {})
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
        """Enqueue a job unless one of the same arguments waits; ``None`` for such a duplicate.

        :raises UsageError, ArgumentsError, RedisUnusable: as :meth:`Enqueuer.enqueue_unique`.
        """
        return await self._enqueuer().enqueue_unique(self.name, self._args(args, kwargs))

    async def enqueue_unique_in(
        self, seconds: float, /, *args: Arguments.args, **kwargs: Arguments.kwargs
    ) -> EnqueuedJob | None:
        """Enqueue a unique job to run ``seconds`` from now; ``None`` for a duplicate.

        :raises UsageError, ArgumentsError, RedisUnusable: as :meth:`Enqueuer.enqueue_unique_in`.
        """
        return await self._enqueuer().enqueue_unique_in(self.name, seconds, self._args(args, kwargs))

    async def enqueue_unique_by_key(
        self, key_map: Mapping[str, Any], /, *args: Arguments.args, **kwargs: Arguments.kwargs
    ) -> EnqueuedJob | None:
        """Enqueue a job unless one of the same ``key_map`` waits, which will then run with these arguments.

        :raises UsageError, ArgumentsError, RedisUnusable: as :meth:`Enqueuer.enqueue_unique_by_key`.
        """
        return await self._enqueuer().enqueue_unique_by_key(self.name, self._args(args, kwargs), key_map)

    async def enqueue_unique_in_by_key(
        self, seconds: float, key_map: Mapping[str, Any], /, *args: Arguments.args, **kwargs: Arguments.kwargs
    ) -> EnqueuedJob | None:
        """Enqueue a job unique by ``key_map`` to run ``seconds`` from now; ``None`` for a duplicate.

        :raises UsageError, ArgumentsError, RedisUnusable: as :meth:`Enqueuer.enqueue_unique_in_by_key`.
        """
        arguments = self._args(args, kwargs)
        return await self._enqueuer().enqueue_unique_in_by_key(self.name, seconds, arguments, key_map)

    async def enqueue_many(self, calls: Iterable[Mapping[str, Any]]) -> list[EnqueuedJob]:
        """Enqueue many jobs in a few round trips; each of ``calls`` is made by :meth:`bind`.

        :raises UsageError, ArgumentsError, EnqueueManyError: as :meth:`Enqueuer.enqueue_many`.
        """
        bound = [bind_arguments(self._handler, (), dict(call)) for call in calls]
        return await self._enqueuer().enqueue_many([(self.name, args or None) for args in bound])

    def _args(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any] | None:
        return bind_arguments(self._handler, args, kwargs) or None

    def __repr__(self) -> str:
        return f"<Task {self.name}>"

    def __reduce__(self) -> str:
        """Return the name within its module that :mod:`pickle` finds it by again.

        :raises pickle.PicklingError: when its module holds something else by that name, or nothing.
        """
        module, path = self.__module__, getattr(self, "__qualname__", self.name)
        found: object = sys.modules.get(module)
        for step in path.split("."):
            found = getattr(found, step, None)
        if found is not self:
            held = "nothing" if found is None else f"a {type(found).__name__}"
            raise pickle.PicklingError(
                f"task {self.name!r} cannot be pickled: a task is found again by its function's name in the module, "
                f"and {module}.{path} is {held}. Define it there with @pool.job, or pass the job's name"
            )
        return path

    def __copy__(self) -> Task[Whole, Arguments, R]:
        return self

    def __deepcopy__(self, memo: object) -> Task[Whole, Arguments, R]:
        return self


def _mark_as_async(task: object, function: Callable[..., Any]) -> None:
    """Have ``inspect.iscoroutinefunction``, and ``asyncio``'s, take a task for what its function is."""
    if sys.version_info >= (3, 12):
        inspect.markcoroutinefunction(task)
        return
    # There is no such mark: they look at what a function has.
    like = function if hasattr(function, "__code__") else _async_function
    for name in ("__code__", "__defaults__", "__kwdefaults__", "__annotations__"):
        setattr(task, name, getattr(like, name))


async def _async_function() -> None: ...
