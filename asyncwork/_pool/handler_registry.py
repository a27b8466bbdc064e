"""The registry of a pool: its handlers, middlewares, hooks and periodic jobs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cache
from typing import Any

from .._jobs.calling import Threads
from .._jobs.handler import Handler, make_handler, returns_of
from .._jobs.hook import Hook, make_hook
from .._jobs.mismatch import names_of
from .._jobs.names import check_job_name, job_name, suggestion
from .._jobs.periodic_job import PeriodicJob
from .._jobs.printable import shown
from .._jobs.rule_arguments import check_rule, values_of, with_defaults
from .._jobs.tracing import JobTracing
from .._json.codec import encode_args
from .._worker.attempt_history import HISTORY_FOR, AttemptHistory
from .._worker.hooks import HookRunner
from .._worker.job_type import JobType
from .._worker.node_results import keeping_of_nodes
from .._worker.result_keeper import ResultKeeper
from .._worker.traced_call import traced, traced_chunks
from ..errors import HandlerError, UsageError
from ..limit import Limit
from ..middleware import Middleware, compose, make_middleware
from ..options import JobOptions
from ..schedule import Schedule
from ..task import Task
from ..unique import Unique


class HandlerRegistry:
    """Handlers by job name, middlewares from the outermost to the innermost, hooks, and periodic jobs.

    :param context: the pool's context class.
    :param threads: limits how many plain functions run at once.
    :ivar middlewares: from the outermost to the innermost.
    """

    def __init__(self, context: type, threads: Threads) -> None:
        self._context = context
        self._threads = threads
        self.middlewares: list[Middleware] = []
        self._on_failure: list[Hook] = []
        self._on_dead: list[Hook] = []
        # Names of periodic jobs that must have a handler in this pool.
        self._handled_here: list[str] = []
        # The periodic jobs of each handler that `@pool.periodic` has registered, and `@pool.job` has not.
        self._scheduled_only: dict[str, list[PeriodicJob]] = {}
        self.handlers: dict[str, Handler] = {}
        self.limits: dict[str, Limit] = {}
        self.periodic: list[PeriodicJob] = []

    @property
    def job_names(self) -> list[str]:
        """The names of the jobs that have a handler, sorted."""
        return sorted(self.handlers)

    def add_handler(
        self,
        name: str | None,
        function: Callable[..., Any],
        options: JobOptions,
        *,
        forbid_unknown: bool,
        instead_of: str | None = None,
    ) -> Handler:
        """Add a handler.

        :param name: the name of its jobs; ``None`` for the function's name.
        :param instead_of: the name of a handler that it replaces, together with the name of its periodic jobs.
        :raises HandlerError: when a parameter cannot be filled, or the name has a handler already.
        :raises UsageError: when the name is not valid.
        """
        if not callable(function):
            raise HandlerError(f"a handler must be a function, not {shown(function)}")
        name = check_job_name(_name_of(function) if name is None else name)
        if name in self.handlers and name != instead_of:
            raise HandlerError(
                f"job {name!r} has a handler already: {self.handlers[name].function!r}. "
                'Give this one another name: @pool.job("other_name")'
            )
        handler = make_handler(name, function, self._context, options, self._threads, forbid_unknown=forbid_unknown)
        _check_partition(handler)
        check_rule(handler)
        if instead_of is not None:
            self._remove_handler(instead_of, name)
        self.handlers[name] = handler
        return handler

    def add_limit(self, limit: Limit) -> Limit:
        """Add a shared limit; return it, or the same one that there is.

        :raises UsageError: when it has no numbers, or there is one of that name with other numbers.
        """
        if not limit.numbers:
            raise UsageError(f"limit {limit.name!r} needs a rate or a concurrency: pass rate=Rate(…) or concurrency=…")
        known = self.limits.setdefault(limit.name, limit)
        if known.numbers != limit.numbers:
            raise UsageError(
                f"limit {limit.name!r} has the numbers {known.numbers!r} in this pool already, not {limit.numbers!r}: "
                "use what pool.limit has returned"
            )
        return known

    def _remove_handler(self, before: str, name: str) -> None:
        """Remove a handler that a schedule registered, and give its periodic jobs another name."""
        del self.handlers[before]
        for moved in self._scheduled_only.pop(before):
            at = next(at for at, each in enumerate(self.periodic) if each is moved)
            self.periodic[at] = replace(moved, name=name)
            self._handled_here[self._handled_here.index(before)] = name

    def is_scheduled_only(self, task: Task[..., ..., Any]) -> bool:
        """Return whether nothing but a schedule has registered a task, so that ``@pool.job`` may still name it."""
        return task.name in self._scheduled_only and self.handlers[task.name].function is task.function

    def add_middleware(self, function: Callable[..., Any]) -> None:
        """Add a middleware inside those added before.

        :raises HandlerError: when the function does not have the form of a middleware.
        """
        self.middlewares.append(make_middleware(function, self._context))

    def add_periodic(
        self, schedule: Schedule, name: str | Task[..., ..., Any], args: Mapping[str, Any] | None, *, elsewhere: bool
    ) -> None:
        """Add a periodic job; see :meth:`WorkerPool.periodically`.

        :raises UsageError: when the name or the arguments are not valid.
        """
        if args is not None and not isinstance(args, Mapping):
            raise UsageError(f"arguments must be given by name, in a dict, not as {shown(args)}")
        if strange := [key for key in args or () if not isinstance(key, str)]:
            raise UsageError(f"the names of arguments must be text, not {shown(strange[0])}")
        task = name if isinstance(name, Task) else None
        if task is not None and isinstance(rule := task.job_options.rule, Unique):
            args = with_defaults(rule, task._handler, args)
            values_of(rule, task.name, args)
        job = PeriodicJob(job_name(name), schedule, encode_args(args if task is None else task.bind_values(args)))
        self.periodic.append(job)
        if not elsewhere:
            self._handled_here.append(job.name)
            if task is not None and self.is_scheduled_only(task):
                self._scheduled_only[job.name].append(job)

    def add_scheduled_handler(
        self, schedule: Schedule, task: Task[..., ..., Any], args: Mapping[str, Any] | None
    ) -> None:
        """Add the periodic job of a handler that was registered for that alone.

        :raises UsageError: when the arguments are not valid. The handler is then removed.
        """
        self._scheduled_only[task.name] = []
        try:
            self.add_periodic(schedule, task, args, elsewhere=False)
        except BaseException:
            del self._scheduled_only[task.name], self.handlers[task.name]
            raise

    def add_hook(self, function: Callable[..., Any], *, dead: bool) -> None:
        """Add a hook, which is called after those added before.

        :param dead: whether it is called for jobs that will not run again, instead of for each failed attempt.
        :raises HandlerError: when the function does not have the form of a hook.
        """
        (self._on_dead if dead else self._on_failure).append(make_hook(function))

    def hook_runner(self) -> HookRunner | None:
        """Return what calls the hooks in one run of the pool; ``None`` if there are none."""
        return HookRunner(self._on_failure, self._on_dead) if self._on_failure or self._on_dead else None

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

    def job_types(self, tracing: JobTracing | None, namespace: str) -> dict[str, JobType]:
        """Return what workers need of each handler, with all middlewares around it, by job name.

        :param tracing: traces each attempt, outside all middlewares; ``None`` for no traces.
        """
        types = {name: self._job_type(handler) for name, handler in self.handlers.items()}
        if tracing is None:
            return types
        return {
            name: replace(
                each,
                call=traced(each.call, tracing, namespace, each.options),
                chunked=traced_chunks(each.chunked, tracing, namespace),
            )
            for name, each in types.items()
        }

    def _job_type(self, handler: Handler) -> JobType:
        call, keeper = handler.call, self._keeper(handler)
        if keeper is not None and handler.options.result is not None:
            call = keeper.keeping(call)
        elif self.middlewares:
            call = keeping_of_nodes(call)
        wrapped, ignored = compose(self.middlewares, call), handler.unknown.counts
        returns = cache(lambda: returns_of(handler))
        return JobType(wrapped, handler.options, keeper, ignored=ignored, chunked=handler.chunked, returns=returns)

    def _keeper(self, handler: Handler) -> ResultKeeper | None:
        """Return what makes the records of a job type; ``None`` if it has none."""
        options = handler.options
        # The options have made whole seconds of these. A job with a stream has a record even if no results are kept: by
        # it, a reader learns of the end of a job that is deleted before it has emitted anything.
        kept = (options.result, HISTORY_FOR if options.history else None, options.stream)
        seconds = next((each for each in kept if each is not None), None)
        if seconds is None:
            return None
        return ResultKeeper(
            None if options.result is None else handler.returns,
            int(seconds),  # type: ignore[arg-type]
            int(options.stream or 0),  # type: ignore[arg-type]
            AttemptHistory() if options.history else None,
        )

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
        raise HandlerError(f'{shown(function)} has no name to call the job by: give one, as in pool.job("name")(…)')
    return name


def _check_partition(handler: Handler) -> None:
    """Check that the argument that names the tenant of a job is one that its handler takes.

    :raises HandlerError: when it is not.
    """
    partition = handler.options.partition
    if isinstance(partition, str) and not (partition in handler.parameters or handler.takes_any):
        takes = names_of(handler.parameters, "no arguments") + suggestion(partition, handler.parameters)
        raise HandlerError(f"{handler.name}: partition={partition!r} must be one of its arguments; it takes {takes}")
