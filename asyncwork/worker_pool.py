"""Worker pools: where handlers are registered, and what runs their jobs.

The constructor has more than ten arguments, all but the URL by keyword, because a pool is configured in one place.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from datetime import timedelta
from typing import Any, TypeAlias, TypeVar, overload

import anyio

from . import _environment, sync
from ._jobs.clock import Clock, wall_clock
from ._jobs.times import seconds_of
from ._jobs.tracing import JobTracing, check_tracing
from ._pool.batches import Batches
from ._pool.factories import ContextFactory, ResourcesFactory
from ._pool.handler_registry import HandlerRegistry
from ._pool.lifecycle import Lifecycle
from ._pool.node_adder import FlowOpener
from ._pool.registration import Registration
from ._pool.run import PoolRun
from ._pool.settings import OverruledVariable, concurrency_of, grace_of, overruled_variables, version_label_of
from ._redis.client import RedisClient
from ._redis.limits import LimitSlots
from ._worker.launcher import Launcher
from .enqueuer import Enqueuer
from .errors import UsageError
from .limit import SlotSource
from .options import Extra, JobOptions, PoolOptions, Tuning, check_workers

C = TypeVar("C")
V = TypeVar("V")

# Returns what opens and closes the resources of a pool, given nothing or the pool. They have a value of type V.
Resources: TypeAlias = (
    Callable[[], AbstractAsyncContextManager[V]] | Callable[["WorkerPool[Any]"], AbstractAsyncContextManager[V]]
)


class NoContext:
    """The context of a pool without a context class: empty."""


class WorkerPool(Lifecycle, Batches, Registration[C]):
    """Runs jobs in this process.

    Times are in seconds, or a ``timedelta``.

    :param url: ``redis://``, ``rediss://``, ``unix://``, ``redis+sentinel://`` or ``redis+cluster://``; ``None`` for
        the environment's ``ASYNCWORK_REDIS``, or ``redis://localhost:6379/0``.
    :param namespace: the prefix of every key in Redis. In a cluster it has a part in braces, such as ``{my_app}``.
        ``None`` for the environment's ``ASYNCWORK_NAMESPACE``, or ``work``.
    :param concurrency: how many jobs run at once; ``None`` for the environment's ``ASYNCWORK_CONCURRENCY``, or 10.
    :param context: makes a fresh context for each job. A class, or a function whose return annotation is the class.
        It is called without arguments; or, if it has one parameter without a default, with the value of the resources.
    :param resources: opens what jobs share, such as database pools: a function that returns an async context manager
        (``@asynccontextmanager``), called with the pool if it has a parameter without a default. It is entered before
        the first job is fetched, and left after the last job has ended.
    :param grace: how long running jobs have to finish after a request to stop. Then they are cut off and return to
        the front of their queues. ``None`` for the environment's ``ASYNCWORK_GRACE``, or 25.
    :param heartbeat: between heartbeats. gocraft/work considers a pool dead after 10 s without one.
    :param dead_after: how long another pool's heartbeat must be unchanged until this pool requeues its jobs; at least
        twice ``heartbeat``. All pools of a namespace should have the same value.
    :param extra: what to do with an argument that a handler does not take. ``"ignore"`` it, with one warning in the log
        for each name, or ``"forbid"`` it, so that the job is dead at once.
    :param tuning: details that rarely need another value.
    :param clock: returns epoch seconds; for tests.
    :param tracing: an :class:`asyncwork.otel.Tracing`, for spans of its jobs and of what its tasks enqueue; ``None``
        for no traces.
    :param version_label: the version of the application, such as ``v1.4.2``: 1 to 64 printable characters. The pages
        and :meth:`Client.deployments` show since when it runs. ``None`` for the environment's
        ``ASYNCWORK_VERSION_LABEL``, or none. Take it from the application, such as ``my_app.__version__``, if processes
        are replaced without a restart of their parent, because they inherit its environment.
    :param ahead: whether to take more jobs from Redis than there are free workers, as many as will begin within about
        3 ms, where jobs are so short that workers would wait for the next ones most of the time. Jobs that do not begin
        in time return to the front of their queues.
    :raises UsageError: when a value is not valid; the message says what would be.
    """

    @overload
    def __init__(
        self: WorkerPool[NoContext],
        url: str | None = None,
        *,
        namespace: str | None = None,
        concurrency: int | None = None,
        resources: Resources[Any] | None = None,
        grace: float | timedelta | None = None,
        heartbeat: float | timedelta = 2.0,
        dead_after: float | timedelta = 10.0,
        extra: Extra = "ignore",
        tuning: Tuning | None = None,
        clock: Clock = wall_clock,
        tracing: JobTracing | None = None,
        version_label: str | None = None,
        ahead: bool = True,
    ) -> None: ...
    @overload
    def __init__(
        self,
        url: str | None = None,
        *,
        namespace: str | None = None,
        concurrency: int | None = None,
        context: Callable[[], C],
        resources: Resources[Any] | None = None,
        grace: float | timedelta | None = None,
        heartbeat: float | timedelta = 2.0,
        dead_after: float | timedelta = 10.0,
        extra: Extra = "ignore",
        tuning: Tuning | None = None,
        clock: Clock = wall_clock,
        tracing: JobTracing | None = None,
        version_label: str | None = None,
        ahead: bool = True,
    ) -> None: ...
    @overload
    def __init__(
        self,
        url: str | None = None,
        *,
        namespace: str | None = None,
        concurrency: int | None = None,
        context: Callable[[V], C],
        resources: Resources[V],
        grace: float | timedelta | None = None,
        heartbeat: float | timedelta = 2.0,
        dead_after: float | timedelta = 10.0,
        extra: Extra = "ignore",
        tuning: Tuning | None = None,
        clock: Clock = wall_clock,
        tracing: JobTracing | None = None,
        version_label: str | None = None,
        ahead: bool = True,
    ) -> None: ...
    def __init__(
        self,
        url: str | None = None,
        *,
        namespace: str | None = None,
        concurrency: int | None = None,
        context: Any = NoContext,
        resources: Any = None,
        grace: float | timedelta | None = None,
        heartbeat: float | timedelta = 2.0,
        dead_after: float | timedelta = 10.0,
        extra: Extra = "ignore",
        tuning: Tuning | None = None,
        clock: Clock = wall_clock,
        tracing: JobTracing | None = None,
        version_label: str | None = None,
        ahead: bool = True,
    ) -> None:
        super().__init__()
        self._context = ContextFactory.of(context, has_resources=resources is not None)
        self._resources = None if resources is None else ResourcesFactory(resources)
        self._clock = clock
        check_tracing(tracing)
        self._tracing = tracing
        self._configure(
            PoolOptions(
                url=url,
                namespace=_environment.namespace_of(namespace),
                concurrency=concurrency_of(concurrency),
                grace=grace_of(grace),
                heartbeat=seconds_of(heartbeat, "heartbeat"),
                dead_after=seconds_of(dead_after, "dead_after"),
                extra=extra,
                tuning=tuning if tuning is not None else Tuning(),
                version_label=version_label_of(version_label),
                ahead=ahead,
            ),
        )
        self._registry = HandlerRegistry(self._context.type, self._thread_limiter)
        self._redis_version: str | None = None
        # Tests of applications replace it.
        self._launcher_type: Callable[..., Launcher] = Launcher
        # Called with each new pool id before it is registered, so that a parent process knows whose jobs to requeue.
        self._on_new_id: Callable[[str], None] = lambda _: None

    def _configure(self, options: PoolOptions) -> None:
        timeout = options.tuning.reply_timeout
        self._redis = RedisClient(options.url, namespace=options.namespace, timeout=timeout)
        # With the URL that the environment had.
        self._options = replace(options, url=self._redis.url)
        self._enqueuer = Enqueuer(
            self._redis.url, namespace=options.namespace, clock=self._clock, tracing=self._tracing
        )
        self._flow_opener = FlowOpener(self._enqueuer, lambda: self._launcher)
        self._sync_enqueuer: sync.Enqueuer | None = None
        self._threads: anyio.CapacityLimiter | None = None

    def reconfigure(
        self,
        *,
        url: str | None = None,
        namespace: str | None = None,
        concurrency: int | None = None,
        grace: float | timedelta | None = None,
        version_label: str | None = None,
    ) -> None:
        """Replace settings that the pool was made with, such as by the options of a command; ``None`` keeps one.

        :raises UsageError: when a value is not valid, or the pool is running.
        """
        self._require_stopped("reconfigure it")
        settings = {"url": url, "namespace": namespace, "concurrency": concurrency, "grace": grace}
        settings["version_label"] = version_label
        changes: dict[str, Any] = {name: value for name, value in settings.items() if value is not None}
        self._configure(replace(self._options, **changes))

    # Properties

    @property
    def options(self) -> PoolOptions:
        """Its options."""
        return self._options

    @property
    def masked_url(self) -> str:
        """The URL of its Redis, without the password."""
        return self._redis.masked_url

    @property
    def overruled(self) -> list[OverruledVariable]:
        """The environment variables that hold another value than the pool uses."""
        return overruled_variables(self._options)

    @property
    def job_names(self) -> list[str]:
        """The names of the jobs that it handles, sorted."""
        return self._registry.job_names

    @property
    def job_options(self) -> dict[str, JobOptions]:
        """The options of the jobs that it handles, by name, sorted."""
        return {name: self._registry.handlers[name].options for name in self.job_names}

    @property
    def redis_version(self) -> str | None:
        """The version of its Redis, such as ``7.0.15``; ``None`` before the first start."""
        return self._redis_version

    @property
    def periodic_jobs(self) -> list[tuple[str, str]]:
        """The periodic jobs that it enqueues, as ``(spec, name)``."""
        return [(each.schedule.spec, each.name) for each in self._registry.periodic]

    @property
    def enqueuer(self) -> Enqueuer:
        """Enqueues by name, into this pool's namespace."""
        return self._enqueuer

    def _slots(self) -> SlotSource:
        # Processes in which the pool does not run, such as a web process, close the enqueuer.
        return LimitSlots(self._enqueuer._in_redis)

    @property
    def sync_enqueuer(self) -> sync.Enqueuer:
        """The same for code without an event loop."""
        if self._sync_enqueuer is None:
            self._sync_enqueuer = sync.Enqueuer(
                self._redis.url, namespace=self._options.namespace, clock=self._clock, tracing=self._tracing
            )
        return self._sync_enqueuer

    def _thread_limiter(self) -> anyio.CapacityLimiter:
        # Made on first use, because it belongs to an event loop.
        if self._threads is None:
            workers = self._options.concurrency if self._launcher is None else len(self._launcher.workers)
            self._threads = anyio.CapacityLimiter(workers)
        return self._threads

    def _resize_threads(self, workers: int) -> None:
        if self._threads is not None:
            self._threads.total_tokens = workers

    @property
    def concurrency(self) -> int:
        """How many jobs it runs at once now: as in its options, unless it was resized since it started."""
        return self._options.concurrency if self._launcher is None else self._launcher._worker_set.concurrency

    def resize(self, concurrency: int) -> None:
        """Run another number of jobs at once, from now until the pool ends. To be called in its event loop; a plain
        function, which runs in a thread, calls ``anyio.from_thread.run_sync(pool.resize, 50)``.

        A larger pool fetches more jobs at once. A smaller one lets its running jobs go on, and fetches none until fewer
        run than the new number. When the pool is started again, it has the number of its options.

        :param concurrency: from 1 to 10,000.
        :raises UsageError: when ``concurrency`` is not such a whole number, the pool is not running, or this is called
            in another thread.
        """
        check_workers(concurrency)
        if self._launcher is None or self._launcher.state.stopping.is_set():
            raise UsageError("a pool must run to be resized; WorkerPool(concurrency=…) is for one that is to start")
        if not self._launcher.state.is_in_its_loop():
            raise UsageError(
                "a pool must be resized in its event loop; "
                "a plain function can call anyio.from_thread.run_sync(pool.resize, 50)"
            )
        self._launcher.state.resize(concurrency)

    # Start and stop, which Lifecycle does with these

    def _make_run(self) -> PoolRun:
        return PoolRun(self._prepare, self._resources, self, self._make_launcher)

    async def _prepare(self) -> None:
        self._registry.check_periodic()
        self._redis_version = await self._redis.check(" (`--embedded` starts one of your own)")
        self._threads = None
        self._registry.clear_counts()

    def _make_launcher(self, resources: object) -> Launcher:
        registry = self._registry
        context, hooks = self._context.bind(resources), registry.hook_runner()
        job_types, periodic = registry.job_types(self._tracing, self._options.namespace), registry.periodic
        made = self._launcher_type(self._redis, self._options, job_types, periodic, context, self._clock, hooks)
        made._steps.threads = self._thread_limiter
        made._worker_set.on_changed = self._resize_threads
        made._services.rate_reader.add_limits(registry.limits.values())
        self._on_new_id(made.pool_id)
        self._flow_opener.start()
        return made

    async def _close(self) -> None:
        await self._enqueuer.close()
        # The launcher closes it too, if there was one.
        await self._redis.close()

    def _require_stopped(self, action: str) -> None:
        if self._is_running:
            raise UsageError(f"the pool is running: {action} before it starts")
