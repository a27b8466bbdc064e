"""The registry of a pool: its handlers, middlewares and periodic jobs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from .._jobs.calling import Threads
from .._jobs.handler import Handler, make_handler
from .._jobs.names import check_job_name, suggestion
from .._json.codec import encode_args
from .._worker.job_type import JobType
from .._worker.services.periodic_enqueuer import PeriodicJob
from ..errors import HandlerError, UsageError
from ..middleware import Middleware, compose, make_middleware
from ..options import JobOptions
from ..schedule import Schedule
from ..task import Task


class Registry:
    """Handlers by job name, middlewares from the outermost to the innermost, and periodic jobs.

    :param context: the pool's context class.
    :param threads: limits how many plain functions run at once.
    :ivar middlewares: from the outermost to the innermost.
    """

    def __init__(self, context: type, threads: Threads) -> None:
        self._context = context
        self._threads = threads
        self.middlewares: list[Middleware] = []
        # Names of periodic jobs that must have a handler in this pool.
        self._handled_here: list[str] = []
        self.handlers: dict[str, Handler] = {}
        self.periodic: list[PeriodicJob] = []

    @property
    def job_names(self) -> list[str]:
        """The names of the jobs that have a handler, sorted."""
        return sorted(self.handlers)

    def add_handler(
        self, name: str | None, function: Callable[..., Any], options: JobOptions, *, forbid_unknown: bool
    ) -> Handler:
        """Add a handler.

        :param name: the name of its jobs; ``None`` for the function's name.
        :raises HandlerError: when a parameter cannot be filled, or the name has a handler already.
        :raises UsageError: when the name is not valid.
        """
        if not callable(function):
            raise HandlerError(f"a handler must be a function, not {function!r}")
        name = check_job_name(_name_of(function) if name is None else name)
        if name in self.handlers:
            raise HandlerError(
                f"job {name!r} has a handler already: {self.handlers[name].function!r}. "
                'Give this one another name: @pool.job("other_name")'
            )
        handler = make_handler(name, function, self._context, options, self._threads, forbid_unknown=forbid_unknown)
        self.handlers[name] = handler
        return handler

    def add_middleware(self, function: Callable[..., Any]) -> None:
        """Add a middleware inside those added before.

        :raises HandlerError: when the function does not have the form of a middleware.
        """
        self.middlewares.append(make_middleware(function, self._context))

    def add_periodic(
        self, spec: str, name: str | Task[..., ..., Any], args: Mapping[str, Any] | None, *, elsewhere: bool
    ) -> None:
        """Add a periodic job; see :meth:`WorkerPool.periodically`.

        :raises ScheduleError: when the spec is malformed or can never fire.
        :raises UsageError: when the name or the arguments are not valid.
        """
        if args is not None and not isinstance(args, Mapping):
            raise UsageError(f"arguments must be given by name, in a dict, not as {args!r}")
        if isinstance(name, Task):
            args = name.bind_values(args)
            name = name.name
        self.periodic.append(PeriodicJob(check_job_name(name), Schedule.parse(spec), encode_args(args)))
        if not elsewhere:
            self._handled_here.append(name)

    def check_periodic(self) -> None:
        """Check that every periodic job of this pool has a handler.

        :raises HandlerError: when one has none.
        """
        for name in self._handled_here:
            if name not in self.handlers:
                raise HandlerError(
                    f"the periodic job {name!r} has no handler in this pool, which handles "
                    f"{', '.join(self.job_names) or 'nothing'}. If another program handles it, declare that with "
                    f"pool.periodically(spec, {name!r}, elsewhere=True){suggestion(name, self.handlers)}"
                )

    def job_types(self) -> dict[str, JobType]:
        """Return what workers need of each handler, with all middlewares around it, by job name."""
        return {
            name: JobType(compose(self.middlewares, handler.call), handler.options, ignored=handler.unknown.counts)
            for name, handler in self.handlers.items()
        }

    def clear_counts(self) -> None:
        """Forget how many unknown arguments were ignored."""
        for handler in self.handlers.values():
            handler.unknown.counts.clear()


def _name_of(function: Any) -> str:
    """Return the name that a function was defined with.

    :raises HandlerError: when it has no name.
    """
    name = getattr(function, "__name__", "<lambda>")
    if name == "<lambda>":
        raise HandlerError(f'{function!r} has no name to call the job by: give one, as in pool.job("name")(…)')
    return name
