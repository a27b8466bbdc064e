"""Worker pools: where handlers are registered, and what runs their jobs.

The constructor has ten arguments, all but the URL by keyword, because a pool is configured in one place.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, TypeVar, overload

import anyio

from . import _environment, sync
from ._jobs.clock import Clock, wall_clock
from ._pool.lifecycle import Lifecycle
from ._pool.registration import Registration
from ._pool.registry import Registry
from ._pool.settings import OverruledVariable, concurrency_of, grace_of, overruled_variables
from ._redis.client import RedisClient
from ._worker.launcher import Launcher
from .enqueuer import Enqueuer
from .errors import UsageError
from .options import Extra, JobOptions, Periods, PoolOptions

C = TypeVar("C")


class NoContext:
    """The context of a pool without a context class: empty."""


class WorkerPool(Lifecycle, Registration[C]):
    """Runs jobs in this process.

    :param url: ``redis://``, ``rediss://``, ``unix://``, ``redis+sentinel://`` or ``redis+cluster://``; ``None`` for
        the environment's ``ASYNCWORK_REDIS``, or ``redis://localhost:6379/0``.
    :param namespace: the prefix of every key in Redis. In a cluster it has a part in braces, such as ``{my_app}``.
        ``None`` for the environment's ``ASYNCWORK_NAMESPACE``, or ``work``.
    :param concurrency: how many jobs run at once; ``None`` for the environment's ``ASYNCWORK_CONCURRENCY``, or 10.
    :param context: a class that can be called without arguments; each job gets a fresh instance.
    :param grace: seconds that running jobs have to finish after a request to stop. Then they are cut off and return to
        the front of their queues. ``None`` for the environment's ``ASYNCWORK_GRACE``, or 25.
    :param max_blocking_connections: how many connections may block in Redis at once, one for each idle queue.
    :param pipelines: how many batches may be under way to Redis at once.
    :param periods: how often the background services run.
    :param extra: what to do with an argument that a handler does not take. ``"ignore"`` it, with one warning in the log
        for each name, or ``"forbid"`` it, so that the job is dead at once.
    :raises UsageError: when a value is not valid; the message says what would be.
    """

    @overload
    def __init__(
        self: WorkerPool[NoContext],
        url: str | None = None,
        *,
        namespace: str | None = None,
        concurrency: int | None = None,
        grace: float | None = None,
        max_blocking_connections: int = 32,
        pipelines: int = 2,
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
        max_blocking_connections: int = 32,
        pipelines: int = 2,
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
        max_blocking_connections: int = 32,
        pipelines: int = 2,
        periods: Periods | None = None,
        extra: Extra = "ignore",
        clock: Clock = wall_clock,
    ) -> None:
        if not isinstance(context, type):
            raise UsageError(f"context must be a class, because each job gets a fresh instance, not {context!r}")
        super().__init__()
        self._context: type = context
        self._clock = clock
        self._configure(
            url,
            PoolOptions(
                namespace=_environment.namespace_of(namespace),
                concurrency=concurrency_of(concurrency),
                grace=grace_of(grace),
                max_blocking_connections=max_blocking_connections,
                pipelines=pipelines,
                periods=periods if periods is not None else Periods(),
                extra=extra,
            ),
        )
        self._registry = Registry(context, self._thread_limiter)
        self._redis_version: str | None = None

    def _configure(self, url: str | None, options: PoolOptions) -> None:
        self._redis = RedisClient(url, namespace=options.namespace, timeout=options.periods.reply_timeout)
        self._options = options
        self._enqueuer = Enqueuer(self._redis.url, namespace=options.namespace, clock=self._clock)
        self._sync_enqueuer: sync.Enqueuer | None = None
        self._threads: anyio.CapacityLimiter | None = None

    def reconfigure(
        self,
        *,
        url: str | None = None,
        namespace: str | None = None,
        concurrency: int | None = None,
        grace: float | None = None,
    ) -> None:
        """Replace settings that the pool was made with, such as by the options of a command; ``None`` keeps one.

        :raises UsageError: when a value is not valid, or the pool is running.
        """
        self._require_stopped("reconfigure it")
        settings = {"namespace": namespace, "concurrency": concurrency, "grace": grace}
        changes: dict[str, Any] = {name: value for name, value in settings.items() if value is not None}
        self._configure(self._redis.url if url is None else url, replace(self._options, **changes))

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
        return overruled_variables(self._redis.url, self._options)

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

    @property
    def sync_enqueuer(self) -> sync.Enqueuer:
        """The same for code without an event loop."""
        if self._sync_enqueuer is None:
            self._sync_enqueuer = sync.Enqueuer(self._redis.url, namespace=self._options.namespace, clock=self._clock)
        return self._sync_enqueuer

    def _thread_limiter(self) -> anyio.CapacityLimiter:
        # Made on first use, because it belongs to an event loop.
        if self._threads is None:
            self._threads = anyio.CapacityLimiter(self._options.concurrency)
        return self._threads

    # Start and stop, which Lifecycle does with these

    async def _make_launcher(self) -> Launcher:
        self._registry.check_periodic()
        try:
            self._redis_version = await self._redis.check(" (`--embedded` starts one of your own)")
        except BaseException:
            await self._redis.close()
            raise
        self._threads = None
        self._registry.clear_counts()
        job_types, periodic = self._registry.job_types(), self._registry.periodic
        return Launcher(
            self._redis, self._options, job_types, periodic, self._context, self._clock, self._registry.hook_runner()
        )

    async def _close(self) -> None:
        await self._enqueuer.close()

    def _require_stopped(self, action: str) -> None:
        if self._is_running:
            raise UsageError(f"the pool is running: {action} before it starts")
