"""Registration: the decorators and methods of a pool that declare its handlers, middlewares, schedules and hooks."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine, Mapping, Sequence
from datetime import timedelta
from typing import Any, Concatenate, Generic, ParamSpec, TypeVar, overload
from zoneinfo import ZoneInfo

from .. import sync
from ..enqueuer import Enqueuer
from ..job import Job
from ..limit import Cost, Limit, SlotSource
from ..middleware import CallNext
from ..options import Backoff, Extra, JobOptions, Partition, PoolOptions, job_options_of
from ..rate import Rate
from ..schedule import Schedule
from ..task import Task
from ..unique import Debounce, Throttle, Unique
from .handler_registry import HandlerRegistry
from .job_decorator import JobDecorator, Unannotated

C = TypeVar("C")
P = ParamSpec("P")
R = TypeVar("R")
# The error is Any, so that a hook may be annotated with Exception.
H = TypeVar("H", bound=Callable[[Job, Any], object])


class Registration(ABC, Generic[C]):
    """Declares what a pool runs. Everything is declared before the pool starts."""

    _registry: HandlerRegistry
    _options: PoolOptions

    @property
    @abstractmethod
    def enqueuer(self) -> Enqueuer:
        """Enqueues by name, into this pool's namespace."""

    @property
    @abstractmethod
    def sync_enqueuer(self) -> sync.Enqueuer:
        """The same for code without an event loop."""

    @abstractmethod
    def _slots(self) -> SlotSource:
        """Return what takes slots of limits in this pool's namespace."""

    @abstractmethod
    def _require_stopped(self, action: str) -> None:
        """Refuse an action while the pool is running.

        :raises UsageError: when it is.
        """

    @overload
    def middleware(
        self, function: Callable[[Job, CallNext], Coroutine[Any, Any, R]], /
    ) -> Callable[[Job, CallNext], Coroutine[Any, Any, R]]: ...
    @overload
    def middleware(
        self, function: Callable[[C, Job, CallNext], Coroutine[Any, Any, R]], /
    ) -> Callable[[C, Job, CallNext], Coroutine[Any, Any, R]]: ...
    def middleware(self, function: Any, /) -> Any:
        """Add a middleware around all handlers; the first one added is the outermost.

        It is ``async def`` and takes ``(job: Job, call_next)`` or ``(context: TheContextClass, job: Job, call_next)``,
        or is a method of the context class with ``(self, job: Job, call_next)``.

        :raises HandlerError: when it has another form.
        :raises UsageError: when the pool is running.
        """
        self._require_stopped("add a middleware")
        self._registry.add_middleware(function)
        return function

    def on_failure(self, function: H) -> H:
        """Call a function with the job and the error after each failed attempt, whether the job is retried or not.

        :class:`Retry` counts as a failure; :class:`Snooze` and :class:`Discard` do not. The function is ``async``, or a
        plain function, which runs in a thread. Several may be added, and what they raise is logged.

        The outcome of the attempt is recorded first. It does not wait for the function, which is cancelled after 10
        seconds, or when the pool stops and the grace period is over. A process that dies may not have called it.

        :raises HandlerError: when it cannot be called with a job and an error.
        :raises UsageError: when the pool is running.
        """
        self._require_stopped("add a hook")
        self._registry.add_hook(function, dead=False)
        return function

    def on_dead(self, function: H) -> H:
        """Call a function with the job and the error when the job will not run again, after :meth:`on_failure`.

        The job is dead, or was dropped because of ``skip_dead``. Otherwise as :meth:`on_failure`.

        :raises HandlerError: when it cannot be called with a job and an error.
        :raises UsageError: when the pool is running.
        """
        self._require_stopped("add a hook")
        self._registry.add_hook(function, dead=True)
        return function

    def limit(self, name: str, *, rate: Rate | None = None, concurrency: int = 0) -> Limit:
        """Return a limit that job types share, for ``@pool.job(limits=[…])``, and other code, by :meth:`Limit.slot`.

        :param name: by which all processes know it.
        :param rate: how many tokens come; ``None`` for no rate.
        :param concurrency: how many of its jobs and slots there may be at once over all processes; 0 for any number.
        :raises UsageError: when a value is not valid, there is no number, the pool has a limit of that name with other
            numbers, or the pool is running.
        """
        self._require_stopped("add a limit")
        return self._registry.add_limit(Limit(name, self._slots, rate, concurrency))

    @overload
    def job(self, function: Callable[Concatenate[Unannotated, P], R], /) -> Task[..., ..., R]: ...
    @overload
    def job(self, function: Callable[Concatenate[C, Unannotated, P], R], /) -> Task[..., ..., R]: ...
    @overload
    def job(self, function: Callable[Concatenate[C, Job, P], R], /) -> Task[Concatenate[C, Job, P], P, R]: ...
    @overload
    def job(self, function: Callable[Concatenate[C, P], R], /) -> Task[Concatenate[C, P], P, R]: ...
    @overload
    def job(self, function: Callable[Concatenate[Job, P], R], /) -> Task[Concatenate[Job, P], P, R]: ...
    @overload
    def job(self, function: Callable[P, R], /) -> Task[P, P, R]: ...
    @overload
    def job(
        self,
        name: str | None = None,
        /,
        *,
        priority: int = 1,
        max_fails: int = 4,
        skip_dead: bool = False,
        max_concurrency: int = 0,
        max_crashes: int = 3,
        timeout: float | timedelta | None = None,
        backoff: Backoff | None = None,
        extra: Extra | None = None,
        result: float | timedelta | None = None,
        expires: float | timedelta | None = None,
        stream: float | timedelta | None = None,
        history: bool = False,
        unique: bool | Unique = False,
        debounce: Debounce | None = None,
        throttle: Throttle | None = None,
        rate: Rate | None = None,
        limits: Sequence[Limit] = (),
        cost: Cost = 1,
        max_waiting: int = 0,
        chunk: int = 0,
        wait: float | timedelta | None = None,
        partition: Partition | None = None,
        partition_concurrency: int = 0,
        partition_max: int = 0,
        partition_rate: Rate | None = None,
        ordered: bool = False,
    ) -> JobDecorator[C]: ...
    def job(self, function: Any = None, /, **options: Any) -> Any:
        """Register a handler: ``@pool.job``, ``@pool.job("name", …)`` or ``pool.job("name")(function)``.

        Its leading parameters are filled by annotation: the context class, then :class:`Job`; both, one or neither. The
        others are filled by name from the job's arguments. A plain function runs in a thread. A method of the context
        class is a handler too.

        :param name: the name of its jobs; the function's name by default.
        :param priority: from 1 to 100000; the weight of the queue in the random order in which queues are read.
        :param max_fails: how many attempts there are in all.
        :param skip_dead: drop a job that has no attempts left instead of keeping it among the dead jobs.
        :param max_concurrency: how many may run at once over all processes; 0 for no limit.
        :param max_crashes: how many times a job's process may die while the job runs. Then the job is considered the
            cause, and is dead. 0 for no limit.
        :param timeout: how long an attempt may take, in seconds or as a ``timedelta``; ``None`` or 0 for no limit.
            After that, a coroutine is cancelled where it waits, and the attempt has failed. A plain function runs on
            in its thread, and finds ``job.cancelled`` set.
        :param backoff: takes the failed job, returns seconds until the next attempt.
        :param extra: ``"ignore"`` or ``"forbid"`` arguments that the handler does not take; the pool's setting by
            default.
        :param result: for how long it is kept how a job ended and what its handler returned, seconds, rounded up to
            whole ones, or a ``timedelta``; by default it is not kept.
        :param expires: seconds, or a ``timedelta``, for which a job may start after it was enqueued, or after the time
            that it was scheduled for. Later it is dropped, also instead of a retry.
        :param stream: for how long what its jobs emit can be read after the last chunk and after their end, seconds,
            rounded up to whole ones, or a ``timedelta``; by default they cannot emit anything.
        :param history: keep each attempt, with its start, end, host and error, and list finished jobs: for as long as
            results are kept, or for a day.
        :param unique: ``True``, or a :class:`Unique`, keeps a job out while another one of the name holds its key.
        :param debounce: a :class:`Debounce` runs a job once things are quiet, with the newest arguments.
        :param throttle: a :class:`Throttle` lets a job start once in a period.
        :param rate: how many of its jobs may start within a time, over all processes, such as ``Rate(100, per=60)``;
            ``None`` for any number, unless another pool has announced a rate or one was set at run time.
        :param limits: up to three limits that it shares with other job types and other code: see
            :meth:`WorkerPool.limit`.
        :param cost: how many tokens of each of its limits a job takes: a number, or a function that takes the arguments
            as they are stored, and returns one.
        :param max_waiting: how many jobs may wait in the queue: an enqueue that would exceed it raises
            :class:`QueueFull`. 0 for no limit.
        :param chunk: how many jobs one call of the handler takes at most; it takes a list of them,
            ``(jobs: list[Job])``, after the context if it takes that. 0 for one job a call.
        :param wait: seconds, or a ``timedelta``, after the first job of a chunk was taken until its call begins,
            however few jobs there are; half a second by default.
        :param partition: the argument by whose value the jobs belong to tenants, which take turns; or a function that
            takes the arguments as they are stored, and returns the tenant.
        :param partition_concurrency: how many jobs of each tenant may run at once over all processes; 0 for no limit.
        :param partition_max: how many jobs of each tenant may wait; 0 for no limit. With more, an enqueue raises
            :class:`QueueFull`.
        :param partition_rate: how many jobs of each tenant may start within a time over all processes, such as
            ``Rate(10, per=1)``; ``None`` for any number.
        :param ordered: run the jobs of each tenant one after the other, in the order in which they were enqueued. One
            that fails keeps those behind it waiting until its retry has run, or it is dead.
        :raises HandlerError: when a parameter cannot be filled, ``partition`` names none, or the name has a handler
            already.
        :raises UsageError: when a name or option is not valid, or the pool is running.
        """
        if callable(function):
            return self._register(None, function, job_options_of(options))
        return JobDecorator(self._register, function, job_options_of(options))

    def _register(self, name: str | None, function: Callable[..., Any], options: JobOptions) -> Task[..., ..., Any]:
        self._require_stopped("add a handler")
        instead_of = None
        if isinstance(function, Task):
            instead_of = function.name if self._registry.is_scheduled_only(function) else None
            function = function.function
        forbid = (options.extra or self._options.extra) == "forbid"
        handler = self._registry.add_handler(name, function, options, forbid_unknown=forbid, instead_of=instead_of)
        return Task(handler, function, self)

    def periodically(
        self,
        spec: str,
        name: str | Task[..., ..., Any],
        args: Mapping[str, Any] | None = None,
        *,
        tz: str | ZoneInfo | None = None,
        elsewhere: bool = False,
    ) -> None:
        """Enqueue a job by a schedule: once for each time of the schedule, even if several pools have it.

        :param spec: six fields with seconds first (``0 */5 * * * *``), or five; ``@hourly`` and the like.
        :param name: the task that ``@pool.job`` returned, or the job's name. It must have a handler in this pool when
            the pool starts, unless ``elsewhere`` is true.
        :param args: its arguments by name; gocraft/work's periodic jobs have none. A task's arguments are checked.
        :param tz: the time zone of the schedule or its name, such as ``Europe/Berlin``; or ``TZ=Europe/Berlin`` in
            front of the spec, which is the same; ``None`` for the host's.
        :param elsewhere: whether other programs handle the job, and this pool need not.
        :raises ScheduleError: when the spec is malformed or can never fire, or the zone is unknown or given twice.
        :raises UsageError: when the name or the arguments are not valid, or the pool is running.
        """
        self._require_stopped("add a periodic job")
        self._registry.add_periodic(Schedule.parse(spec, tz), name, args, elsewhere=elsewhere)

    def periodic(
        self, spec: str, *, args: Mapping[str, Any] | None = None, tz: str | ZoneInfo | None = None
    ) -> JobDecorator[C]:
        """Enqueue the decorated task by a schedule: ``@pool.periodic("0 0 3 * * *", tz="Europe/Berlin")``.

        A function that is not a task yet is registered as with ``@pool.job``, which may stand above or below to set
        the name and the options. Several schedules may decorate one function. Parameters as for :meth:`periodically`.

        :raises ScheduleError: when the spec is malformed or can never fire, or the zone is unknown or given twice.
        :raises HandlerError: when a parameter of the function cannot be filled, or its name has a handler already.
        :raises UsageError: when the arguments do not fit the function, or the pool is running.
        """
        schedule = Schedule.parse(spec, tz)

        def register(name: str | None, function: Callable[..., Any], options: JobOptions) -> Task[..., ..., Any]:
            self._require_stopped("add a periodic job")
            if isinstance(function, Task):
                self._registry.add_periodic(schedule, function, args, elsewhere=False)
                return function
            task = self._register(name, function, options)
            self._registry.add_scheduled_handler(schedule, task, args)
            return task

        return JobDecorator(register, None, JobOptions())
