"""The pool: where handlers are registered, and what starts and stops the engine."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from typing import Any, Concatenate, Generic, ParamSpec, TypeVar, overload

import anyio

from . import _environment
from ._jobs.clock import Clock, wall_clock
from ._jobs.error_text import describe_error
from ._jobs.handler import Handler, make_handler, suggestion
from ._jobs.names import check_job_name
from ._json.codec import encode_args
from ._redis.client import RedisClient
from ._redis.urls import mask
from ._worker.job_type import JobType
from ._worker.launcher import Launcher
from ._worker.services.periodic_enqueuer import PeriodicJob
from .enqueuer import Enqueuer
from .errors import HandlerError, PoolEndedError, RedisUnusable, UsageError
from .job import Job
from .middleware import Middleware, compose, make_middleware
from .models import PoolCounts
from .options import Backoff, Extra, JobOptions, Periods, PoolOptions, read_concurrency, read_grace
from .schedule import Schedule
from .task import Task

logger = logging.getLogger("asyncwork")

C = TypeVar("C")
P = ParamSpec("P")
R = TypeVar("R")
F = TypeVar("F", bound=Callable[..., Awaitable[Any]])


class NoContext:
    """The context of a pool that was given no context class: empty."""


class WorkerPool(Generic[C]):
    """Runs jobs in this process.

    :param url: ``redis://``, ``rediss://``, ``unix://``, ``redis+sentinel://`` or ``redis+cluster://``; ``None`` for
        the environment's ``ASYNCWORK_REDIS``, or ``redis://localhost:6379/0``.
    :param namespace: the prefix of every key in Redis; in a cluster with a part in braces, such as ``{my_app}``;
        ``None`` for the environment's ``ASYNCWORK_NAMESPACE``, or ``work``.
    :param concurrency: how many jobs run at once; ``None`` for the environment's ``ASYNCWORK_CONCURRENCY``, or 10.
    :param context: a class that can be called without arguments; each job gets a fresh instance.
    :param grace: seconds that running jobs have to finish once the pool is told to stop; then they are cut off and go
        back to the front of their queues. ``None`` for the environment's ``ASYNCWORK_GRACE``, or 25.
    :param max_parked: how many connections may wait in Redis at once, one for each idle queue.
    :param exchanges: how many batches may be under way to Redis at once.
    :param periods: how often the background roles act.
    :param extra: what to do with an argument that a handler does not take: ``"ignore"`` it, with one warning in the log
        for each name, or ``"forbid"`` it, so that the job is dead at once.
    :raises UsageError: when one of them cannot be right; the message says what would be.
    """

    @overload
    def __init__(
        self: WorkerPool[NoContext],
        url: str | None = None,
        *,
        namespace: str | None = None,
        concurrency: int | None = None,
        grace: float | None = None,
        max_parked: int = 32,
        exchanges: int = 2,
        periods: Periods | None = None,
        extra: Extra = "ignore",
        clock: Clock = wall_clock,
    ) -> None: ...
    @overload
    def __init__(
        self,
        url: str | None = None,
        *,
        namespace: str | None = None,
        concurrency: int | None = None,
        context: type[C],
        grace: float | None = None,
        max_parked: int = 32,
        exchanges: int = 2,
        periods: Periods | None = None,
        extra: Extra = "ignore",
        clock: Clock = wall_clock,
    ) -> None: ...
    def __init__(
        self,
        url: str | None = None,
        *,
        namespace: str | None = None,
        concurrency: int | None = None,
        context: Any = NoContext,
        grace: float | None = None,
        max_parked: int = 32,
        exchanges: int = 2,
        periods: Periods | None = None,
        extra: Extra = "ignore",
        clock: Clock = wall_clock,
    ) -> None:
        if not isinstance(context, type):
            raise UsageError(f"context must be a class, of which each job gets a fresh instance, not {context!r}")
        self._context: type = context
        self._clock = clock
        self._configure(
            url,
            PoolOptions(
                namespace=_environment.namespace_of(namespace),
                concurrency=_environment.choose(concurrency, _environment.CONCURRENCY, read_concurrency, 10),
                grace=_environment.choose(grace, _environment.GRACE, read_grace, 25.0),
                max_parked=max_parked,
                exchanges=exchanges,
                periods=periods if periods is not None else Periods(),
                extra=extra,
            ),
        )
        self._handlers: dict[str, Handler] = {}
        self._middleware: list[Middleware] = []
        self._periodic: list[PeriodicJob] = []
        # The names of those that this pool must handle itself.
        self._handled_here: list[str] = []
        self._serving: Launcher | None = None
        self._tally = PoolCounts()
        self._stop_failure = ""
        self._redis_version: str | None = None
        self._task: asyncio.Task[None] | None = None
        # What ended it the last time, unless it was told to end.
        self._why_ended: BaseException | None = None

    def _configure(self, url: str | None, options: PoolOptions) -> None:
        self._redis = RedisClient(url, namespace=options.namespace, patience=options.periods.exchange)
        self._options = options
        self._enqueuer = Enqueuer(self._redis.url, namespace=options.namespace, clock=self._clock)
        self._threads: anyio.CapacityLimiter | None = None

    def reconfigure(
        self,
        *,
        url: str | None = None,
        namespace: str | None = None,
        concurrency: int | None = None,
        grace: float | None = None,
    ) -> None:
        """Replace what the pool was made with, such as by the options of a command line; ``None`` leaves it.

        :raises UsageError: when a value cannot be right, or the pool is running.
        """
        self._not_running("reconfigure it")
        old = self._options
        self._configure(
            self._redis.url if url is None else url,
            PoolOptions(
                namespace=old.namespace if namespace is None else namespace,
                concurrency=old.concurrency if concurrency is None else concurrency,
                grace=old.grace if grace is None else grace,
                max_parked=old.max_parked,
                exchanges=old.exchanges,
                periods=old.periods,
                extra=old.extra,
            ),
        )

    # What it is

    @property
    def options(self) -> PoolOptions:
        """How it runs."""
        return self._options

    @property
    def masked_url(self) -> str:
        """The URL of its Redis, without the password."""
        return self._redis.masked_url

    @property
    def overruled(self) -> list[tuple[str, str, str, str]]:
        """Where an environment variable says something else than the pool was made with: which option of ``asyncwork
        run`` it is, the variable, what that says, and what is used. Without passwords."""
        options = self._options
        used: list[tuple[str, str, object, Callable[[str], object]]] = [
            ("redis", _environment.REDIS, self._redis.url, str),
            ("namespace", _environment.NAMESPACE, options.namespace, str),
            ("concurrency", _environment.CONCURRENCY, options.concurrency, read_concurrency),
            ("grace", _environment.GRACE, options.grace, read_grace),
        ]
        found = []
        for option, name, value, reader in used:
            said = _environment.variable(name)
            with suppress(UsageError):
                if said is not None and reader(said) != value:
                    shown = mask(str(value)) if option == "redis" else str(value)
                    found.append((option, name, mask(said) if option == "redis" else said, shown))
        return found

    @property
    def job_names(self) -> list[str]:
        """The names of the jobs it handles, sorted."""
        return sorted(self._handlers)

    @property
    def job_options(self) -> dict[str, JobOptions]:
        """How the jobs of each name are treated that it handles, sorted by name."""
        return {name: self._handlers[name].options for name in self.job_names}

    @property
    def redis_version(self) -> str | None:
        """The version of its Redis, such as ``7.0.15``; ``None`` before the first start."""
        return self._redis_version

    @property
    def tally(self) -> PoolCounts:
        """What it has done since it was started the last time."""
        return self._tally if self._serving is None else self._serving.tally

    @property
    def stop_failure(self) -> str:
        """Why its last stop was not clean; empty if it was.

        Then Redis does not know that some of its jobs have ended, or holds them in progress: another pool takes them
        over, and they run again.
        """
        return self._stop_failure

    @property
    def periodic_jobs(self) -> list[tuple[str, str]]:
        """The periodic jobs it enqueues, as ``(spec, name)``."""
        return [(each.schedule.spec, each.name) for each in self._periodic]

    @property
    def enqueuer(self) -> Enqueuer:
        """Enqueues by name, into this pool's namespace."""
        return self._enqueuer

    @property
    def id(self) -> str | None:
        """The pool's id in Redis, 24 hex digits; ``None`` unless it is running. Each start has a new one."""
        return None if self._serving is None else self._serving.pool_id

    # Registration

    def middleware(self, function: F) -> F:
        """Add a middleware around all handlers; the first one added is the outermost.

        It is ``async def`` and takes ``(job: Job, call_next)`` or ``(context: TheContextClass, job: Job, call_next)``,
        or is a method of the context class with ``(self, job: Job, call_next)``.

        :raises HandlerError: when it is of another form.
        :raises UsageError: when the pool is running.
        """
        self._not_running("add a middleware")
        self._middleware.append(make_middleware(function, self._context))
        return function

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
        backoff: Backoff | None = None,
        extra: Extra | None = None,
    ) -> JobDecorator[C]: ...
    def job(self, function: Any = None, /, **options: Any) -> Any:
        """Register a handler: ``@pool.job``, ``@pool.job("name", …)`` or ``pool.job("name")(function)``.

        Its leading parameters are filled by annotation (the context class, then :class:`Job`; both, one or neither),
        the others by name from the job's arguments. A plain function runs in a thread. A method of the context class
        is a handler too.

        :param name: the name of its jobs; the function's name without.
        :param priority: from 1 to 100000; the weight of the queue in the random order in which queues are looked at.
        :param max_fails: how many attempts there are in all.
        :param skip_dead: drop a job whose attempts are used up instead of keeping it among the dead.
        :param max_concurrency: how many may run at once over all processes; 0 for no cap.
        :param max_crashes: how many times a job may be running when its process dies until it is taken for the cause,
            and is dead; 0 for any number.
        :param backoff: takes the failed job, returns seconds until the next attempt.
        :param extra: ``"ignore"`` or ``"forbid"`` arguments that the handler does not take; as the pool does without.
        :raises HandlerError: when a parameter cannot be filled, or the name has a handler already.
        :raises UsageError: when a name or option cannot be right, or the pool is running.
        """
        if callable(function):
            return self._register(None, function, JobOptions(**options))
        return JobDecorator(self._register, function, JobOptions(**options))

    def _register(self, name: str | None, function: Callable[..., Any], options: JobOptions) -> Task[..., ..., Any]:
        self._not_running("add a handler")
        if isinstance(function, Task):
            function = function.function
        if not callable(function):
            raise HandlerError(f"a handler must be a function, not {function!r}")
        name = check_job_name(_name_of(function) if name is None else name)
        if name in self._handlers:
            raise HandlerError(
                f"job {name!r} has a handler already: {self._handlers[name].function!r}. "
                'Give this one another name: @pool.job("other_name")'
            )
        forbid = (options.extra or self._options.extra) == "forbid"
        handler = make_handler(name, function, self._context, options, self._thread_limiter, forbid_unknown=forbid)
        self._handlers[name] = handler
        return Task(handler, function, lambda: self._enqueuer)

    def _thread_limiter(self) -> anyio.CapacityLimiter:
        # Made when first needed: it belongs to an event loop.
        if self._threads is None:
            self._threads = anyio.CapacityLimiter(self._options.concurrency)
        return self._threads

    def periodically(
        self,
        spec: str,
        name: str | Task[..., ..., Any],
        args: Mapping[str, Any] | None = None,
        *,
        elsewhere: bool = False,
    ) -> None:
        """Have a job enqueued by a schedule: each instance once, however many pools say so.

        :param spec: six fields with seconds first (``0 */5 * * * *``), or five; ``@hourly`` and the like;
            ``TZ=Europe/Berlin`` in front, otherwise the host's zone.
        :param name: what ``@pool.job`` has returned, or the job's name. It must have a handler in this pool by the time
            that the pool starts, unless ``elsewhere`` says otherwise.
        :param args: its arguments by name; gocraft/work's periodic jobs have none. Those of what ``@pool.job`` has
            returned are checked.
        :param elsewhere: whether other programs handle it, so that this pool need not.
        :raises ScheduleError: when the spec is malformed or can never fire.
        :raises UsageError: when the name or the arguments cannot be right, or the pool is running.
        """
        self._not_running("add a periodic job")
        if args is not None and not isinstance(args, Mapping):
            raise UsageError(f"arguments must be given by name, in a dict, not as {args!r}")
        if isinstance(name, Task):
            args = name.bind_values(args)
            name = name.name
        self._periodic.append(PeriodicJob(check_job_name(name), Schedule.parse(spec), encode_args(args)))
        if not elsewhere:
            self._handled_here.append(name)

    def _check_periodic(self) -> None:
        for name in self._handled_here:
            if name not in self._handlers:
                raise HandlerError(
                    f"the periodic job {name!r} has no handler in this pool, which handles "
                    f"{', '.join(self.job_names) or 'nothing'}. Where another program handles it, say so: "
                    f"pool.periodically(spec, {name!r}, elsewhere=True){suggestion(name, self._handlers)}"
                )

    # Life

    async def start(self) -> None:
        """Start to run jobs, in tasks of this event loop. Does nothing when it is running.

        :raises HandlerError: when a periodic job has no handler; see :meth:`periodically`.
        :raises RedisUnusable: when Redis cannot be reached, refuses us or is too old.
        """
        if self._task is not None and not self._task.done():
            return
        self._check_periodic()
        try:
            self._redis_version = await self._redis.check(" (`--embedded` starts one of your own)")
        except BaseException:
            await self._redis.close()
            raise
        self._threads, self._why_ended = None, None
        for handler in self._handlers.values():
            handler.unknown.counts.clear()
        self._serving = serving = Launcher(
            self._redis,
            self._options,
            {
                name: JobType(compose(self._middleware, handler.call), handler.options, ignored=handler.unknown.counts)
                for name, handler in self._handlers.items()
            },
            self._periodic,
            self._context,
            self._clock,
        )
        self._task = asyncio.create_task(serving.run(), name=f"asyncwork pool {serving.pool_id}")
        self._task.add_done_callback(self._ended)
        started = asyncio.create_task(serving.started.wait())
        try:
            await asyncio.wait([self._task, started], return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            await self._end(now=True)
            raise
        finally:
            started.cancel()
        if self._task.done():
            await self.wait()

    def _ended(self, task: asyncio.Task[None]) -> None:
        """Take note that the pool is no more, and say loudly when nobody had told it to end."""
        serving = self._serving
        if serving is None or self._task is not task:
            return
        self._tally, self._stop_failure, self._serving = serving.tally, serving.stop_failure, None
        self._why_ended = error = _why_ended(task, serving)
        if serving.by_defect and error is not None:
            shown = type(error), error, error.__traceback__
            logger.critical("the pool has ended by a defect: %s", describe_error(error), exc_info=shown)
        elif error is not None and not isinstance(error, RedisUnusable):
            # With its event loop, if nobody had stopped it before.
            logger.warning("%s", error)

    async def stop(self, *, now: bool = False) -> None:
        """Take nothing new, let running jobs finish within the grace period (or cut them off ``now``), and end.

        Does nothing when it is not running.

        :raises PoolEndedError: when it had ended although nobody told it to.
        :raises Exception: the defect that had ended the pool, if one did.
        """
        self.stop_soon(now=now)
        await self.wait()

    def stop_soon(self, *, now: bool = False) -> None:
        """Have the pool stop, without waiting for it; for signal handlers."""
        if self._serving is not None:
            self._serving.stop(now=now)

    async def wait(self) -> None:
        """Wait until the pool has stopped.

        :raises PoolEndedError: when it has ended although nobody told it to.
        :raises Exception: the defect that ended the pool, if one did.
        """
        task = self._task
        if task is None:
            return
        # Waits, so that cancelling the waiter does not cancel the pool.
        await asyncio.wait([task])
        self._ended(task)
        error = self._why_ended
        if self._task is task:
            self._task = None
            await self._enqueuer.close()
        if error is not None:
            raise error

    async def _end(self, *, now: bool = False, cancelled: bool = False) -> None:
        """Stop, and return when the pool has ended, not before. A cancellation meanwhile is raised then; the second one
        has it stop ``now``.

        :param cancelled: whether there was a first one before.
        :raises PoolEndedError: when it had ended although nobody told it to.
        :raises Exception: the defect that had ended the pool, if one did.
        """
        task, interruption = self._task, None
        self.stop_soon(now=now)
        # The shield is against anyio's cancellation, which is repeated until it has an end; asyncio's goes through it.
        with anyio.CancelScope(shield=True):
            while task is not None and self._task is task:
                try:
                    await self.wait()
                except asyncio.CancelledError as error:
                    interruption = error
                    self.stop_soon(now=cancelled)
                    cancelled = True
        if interruption is not None:
            raise interruption

    async def quiet(self) -> None:
        """Take nothing new; keep running."""
        if self._serving is not None:
            await self._serving.quiet()

    async def drain(self) -> None:
        """Return when the queues of this pool's jobs are empty, those that are paused aside, and nothing runs.

        :raises UsageError: when the pool is not running.
        :raises RedisUnusable: when Redis cannot be reached.
        """
        if self._serving is None:
            raise UsageError("a pool must run to be drained: `async with pool.running(): await pool.drain()`")
        await self._serving.drain()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[WorkerPool[C]]:
        """Run jobs while the body runs: starts on entry, stops on exit. Should the pool end before, the body is
        cancelled.

        A cancellation ends the body. A second one cuts off what still runs. The block ends when the pool has ended.

        :raises RedisUnusable: when Redis cannot be reached, refuses us or is too old.
        :raises PoolEndedError: when the pool ended although nobody told it to.
        :raises Exception: the defect that ended the pool, if one did.
        """
        await self.start()
        task, body = self._task, asyncio.current_task()
        assert task is not None
        assert body is not None
        ended = False

        def end_body(_: asyncio.Task[None]) -> None:
            nonlocal ended
            if self._why_ended is not None:
                ended = True
                body.cancel()

        task.add_done_callback(end_body)
        before, cancelled = body.cancelling(), False
        try:
            yield self
        except asyncio.CancelledError:
            # Ours to swallow, for what ended the pool is raised below; another's is not.
            if not ended or body.cancelling() > before + 1:
                cancelled = True
                raise
        finally:
            if ended:
                body.uncancel()
            task.remove_done_callback(end_body)
            await self._end(cancelled=cancelled)

    def lifespan(self, app: object) -> AbstractAsyncContextManager[None]:
        """Run jobs while an application runs: ``FastAPI(lifespan=pool.lifespan)``, likewise Starlette and Litestar."""
        return self._while_serving()

    @asynccontextmanager
    async def _while_serving(self) -> AsyncIterator[None]:
        await self.start()
        cancelled = False
        try:
            yield
        except asyncio.CancelledError:
            cancelled = True
            raise
        finally:
            await self._end(cancelled=cancelled)

    async def cleanup_ctx(self, app: object) -> AsyncIterator[None]:
        """Run jobs while an aiohttp application runs: ``app.cleanup_ctx.append(pool.cleanup_ctx)``."""
        async with self._while_serving():
            yield

    def _not_running(self, what: str) -> None:
        if self._task is not None and not self._task.done():
            raise UsageError(f"the pool is running: {what} before it starts")


class JobDecorator(Generic[C]):
    """What ``@pool.job("name", …)`` returns: registers the function below it."""

    def __init__(
        self, register: Callable[[str | None, Any, JobOptions], Any], name: str | None, options: JobOptions
    ) -> None:
        if name is not None:
            check_job_name(name)
        self._register = register
        self._name = name
        self._options = options

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


def _name_of(function: Any) -> str:
    """Return what a handler is called where it is defined.

    :raises HandlerError: when it has no name.
    """
    name = getattr(function, "__name__", "<lambda>")
    if name == "<lambda>":
        raise HandlerError(f'{function!r} has no name, which is to be the job\'s: give one, as in pool.job("name")(…)')
    return name


def unwrap(error: BaseException) -> BaseException:
    """Return the one error within nested exception groups, or the group when there are several."""
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error


def _why_ended(task: asyncio.Task[None], serving: Launcher) -> BaseException | None:
    """Return what ended a pool, or ``None`` if it was told to."""
    if not task.cancelled() and (error := task.exception()) is not None:
        return unwrap(error)
    if serving.told_to_stop:
        return None
    return PoolEndedError("the pool has ended although nobody told it to: something has cancelled its tasks")
