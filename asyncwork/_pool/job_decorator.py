"""The decorator that ``@pool.job("name", …)`` returns."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Concatenate, Generic, ParamSpec, TypeVar, overload

from .._jobs.names import check_job_name
from ..job import Job
from ..options import JobOptions
from ..task import Task

C = TypeVar("C")
P = ParamSpec("P")
R = TypeVar("R")


class Unannotated:
    """For overloads: only a parameter without an annotation, or with ``Any`` or ``object``, accepts this type.

    Such a parameter takes a job argument, but to a type checker it accepts the context and the job, too.
    """


class JobDecorator(Generic[C]):
    """Registers the decorated function as a handler.

    :param register: called with the name, the function and the options.
    :raises UsageError: when the name is not valid.
    """

    def __init__(
        self, register: Callable[[str | None, Any, JobOptions], Any], name: str | None, options: JobOptions
    ) -> None:
        if name is not None:
            check_job_name(name)
        self._register = register
        self._name = name
        self._options = options

    @overload
    def __call__(self, function: Callable[Concatenate[Unannotated, P], R], /) -> Task[..., ..., R]: ...
    @overload
    def __call__(self, function: Callable[Concatenate[C, Unannotated, P], R], /) -> Task[..., ..., R]: ...
    # Handlers of chunks. The result of a job is a value of the mapping that they return.
    @overload
    def __call__(self, function: Callable[[C, list[Job]], Any], /) -> Task[..., ..., Any]: ...
    @overload
    def __call__(self, function: Callable[[list[Job]], Any], /) -> Task[..., ..., Any]: ...
    @overload
    def __call__(self, function: Callable[Concatenate[C, Job, P], R], /) -> Task[Concatenate[C, Job, P], P, R]: ...
    @overload
    def __call__(self, function: Callable[Concatenate[C, P], R], /) -> Task[Concatenate[C, P], P, R]: ...
    @overload
    def __call__(self, function: Callable[Concatenate[Job, P], R], /) -> Task[Concatenate[Job, P], P, R]: ...
    @overload
    def __call__(self, function: Callable[P, R], /) -> Task[P, P, R]: ...
    def __call__(self, function: Any, /) -> Any:
        """Register the function; see :meth:`WorkerPool.job`."""
        return self._register(self._name, function, self._options)
