"""Runs a pool from start to stop, under one pool id.

The nesting of the task groups is the order of the shutdown: the heartbeat and the observer outlive the other services,
and these outlive the workers.

One file for all parts of a run, because the order in which they are made, started and stopped is one decision.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from .._jobs.clock import Clock
from .._jobs.ids import make_identifier
from .._jobs.periodic_job import PeriodicJob
from .._redis.client import RedisClient
from .._redis.errors import REDIS_ERRORS
from .._redis.keys import Keys
from .._redis.namespace import Namespace
from .._redis.pool_registry import WrittenHeartbeat
from .._redis.queue import Queue
from .._redis.work_queue import WorkQueue
from ..errors import RedisUnavailable
from ..models.pools import Heartbeat, IgnoredArgument, PoolCounts
from ..options import PoolOptions
from .announcement import announce_fair_queues, announce_job_types, announce_version
from .background import BackgroundServices
from .cancellations import Cancellations
from .chunk_runner import ChunkRunner
from .connection_limits import ConnectionLimits
from .dispatcher import Dispatcher
from .dispatcher_factory import DispatcherFactory
from .dispatchers import AllWorkers, Dispatchers
from .expiry import Expiry, RedisClock
from .hooks import HookRunner
from .job_steps import PoolSteps
from .job_streams import JobStreams
from .job_type import JobType, ignored_arguments, queue_options, written_options
from .metrics import PoolMetrics
from .poison_pills import PoisonPills
from .pool_probe import PoolProbe
from .pool_state import PoolState
from .services.canceller import Canceller
from .services.heartbeat import Heartbeater, HeartbeatSource
from .services.heartbeat_thread import HeartbeatThread
from .services.loop_watchdog import LoopWatchdog
from .services.service import ServiceLoop
from .shutdown import Shutdown
from .worker import Worker
from .worker_environment import WorkerEnvironment
from .worker_set import WorkerSet

# The shortest time that Redis has to reply to a heartbeat, seconds; otherwise a share of `dead_after`.
_MIN_HEARTBEAT_TIMEOUT = 1.0


class Launcher:
    """Build and run everything that one run of a pool consists of.

    :param job_types: by job name, with all middleware around each.
    :param context: makes a fresh context for a job.
    :param hooks: called for failed attempts; ``None`` if the pool has no hooks.
    :ivar all_workers: all that runs a job, also in chunks.
    :ivar started: set when jobs are taken.
    :ivar state: whether the pool is running, quiet or stopping.
    :ivar crashed: whether the pool ended by an unexpected error, which a running job may have caused.
    """

    def __init__(
        self,
        redis: RedisClient,
        options: PoolOptions,
        job_types: dict[str, JobType],
        periodic: Sequence[PeriodicJob],
        context: Callable[[], Any],
        clock: Clock,
        hooks: HookRunner | None,
    ) -> None:
        keys = Keys(options.namespace)
        self._redis, self._options, self._clock, self._hooks = redis, options, clock, hooks
        self._namespace = Namespace(redis, keys)
        self.pool_id: str = make_identifier()
        self._redis_clock = RedisClock()
        self.workers: list[Worker] = []
        # The runners of jobs in chunks, which need the job types first.
        self._chunk_runners: list[ChunkRunner] = []
        self.all_workers: Sequence[Worker] = AllWorkers(self.workers, self._chunk_runners)
        self._streams = JobStreams(self._namespace, self.all_workers)
        self._job_types = job_types = Expiry(self._now_in_redis).with_limits(self._streams.attach(job_types))
        self._max_concurrency, self._results = written_options(job_types)
        self._work_queue = WorkQueue(redis, keys, self.pool_id)
        # Set when Redis may hold jobs as in progress that no worker has.
        self._possible_loss = asyncio.Event()
        factory = DispatcherFactory(self._work_queue, options, job_types, clock)
        self._dispatcher = factory.workers(self._running, self._possible_loss)
        self._cancellations = Cancellations(self._dispatcher, PoisonPills(self._dispatcher, self._workers_end))
        self._worker_set, self._steps = self._make_workers(keys, context)
        make_environment = partial(self._environment, keys, context)
        self._chunk_runners += factory.chunk_runners(make_environment, lambda: self._worker_set.concurrency)
        self._dispatchers = Dispatchers(self._dispatcher, self.workers, self._chunk_runners)
        self._connections = ConnectionLimits(redis, self._dispatcher, factory.connections)
        self._lease = factory.leases()
        self._worker_set.on_resized = self._dispatchers.resize
        self.state: PoolState = PoolState(
            self.pool_id, self._dispatchers, self._worker_set, resume=self._resume, announce=self._beat
        )
        self._metrics = PoolMetrics({name: each.metrics for name, each in job_types.items()})
        self._services = self._make_services(periodic)
        self._heartbeat_source = self._make_heartbeat_source(periodic)
        self._watchdog = LoopWatchdog(options.tuning.stall)
        self._heartbeat_thread = self._make_heartbeat_thread()
        self._shutdown = self._make_shutdown()
        self.started: asyncio.Event = asyncio.Event()
        self.crashed: bool = False
        self._task: asyncio.Task[Any] | None = None
        self._cancelling_workers = False
        self._broken: asyncio.Future[Exception] = asyncio.get_running_loop().create_future()
        self._probe = self._make_probe()

    def _make_probe(self) -> PoolProbe:
        """Return what the lifecycle of the pool reads."""
        parts = (self._job_types, self._dispatchers, self._worker_set, self._redis_clock, self._watchdog)
        return PoolProbe(self._options, self.state.name, self.started, *parts)

    def _now_in_redis(self) -> float:
        """Return the time by Redis's clock, epoch seconds."""
        return self._redis_clock.now()

    def _make_workers(self, keys: Keys, context: Callable[[], Any]) -> tuple[WorkerSet, PoolSteps]:
        environment = self._environment(keys, context, self._dispatcher)
        overdue = self._options.tuning.overdue
        workers = WorkerSet(self.workers, lambda: Worker(environment, overdue), self._dispatcher)
        stepped = environment.stepped, environment.step_types
        counts = {name: each.metrics.record_step for name, each in self._job_types.items()}
        steps = PoolSteps(self._dispatcher, self.workers, *stepped, self._now_in_redis, self._workers_end, counts)
        return workers, steps

    def _environment(self, keys: Keys, context: Callable[[], Any], dispatcher: Dispatcher) -> WorkerEnvironment:
        return WorkerEnvironment(
            dispatcher,
            self._job_types,
            context,
            self._clock,
            keys.unique_of,
            self._cancellations,
            ending=self._workers_end,
            on_defect=self._worker_broke,
            runs=self.runs,
            hooks=self._hooks,
        )

    def _make_services(self, periodic: Sequence[PeriodicJob]) -> BackgroundServices:
        period, read_request = self._options.heartbeat, self.state.reader(self._namespace)

        async def on_message() -> None:
            await read_request()
            await self._services.rate_reader.on_message()

        return BackgroundServices(
            self._namespace,
            self._options,
            work_queue=self._work_queue,
            dispatchers=self._dispatchers,
            workers=self._worker_set,
            canceller=Canceller(self._namespace, self._cancellations, self.all_workers, period, on_message),
            metrics=self._metrics,
            periodic=periodic,
            possible_loss=self._possible_loss,
            job_types=self._job_types,
        )

    def _make_shutdown(self) -> Shutdown:
        return Shutdown(
            self._namespace,
            self.pool_id,
            job_names=self._job_types,
            dispatchers=self._dispatchers,
            workers=self.all_workers,
            services=self._services,
            heartbeat_thread=self._heartbeat_thread,
            hooks=self._hooks,
        )

    def _make_heartbeat_source(self, periodic: Sequence[PeriodicJob]) -> HeartbeatSource:
        return HeartbeatSource(
            self.pool_id,
            job_names={name: each.options.stream is not None for name, each in self._job_types.items()},
            size=lambda: self._worker_set.size(
                [*self._services.observer.written_ids(), *self._dispatchers.worker_ids()]
            ),
            started_at=self._clock(),
            periodic=periodic,
            state=self.state,
            ignored=self._ignored,
            version_label=self._options.version_label,
        )

    def _make_heartbeat_thread(self) -> HeartbeatThread:
        return HeartbeatThread(
            self._namespace,
            lambda namespace: [self._make_heartbeater(namespace, registered=True), self._watchdog],
            max(_MIN_HEARTBEAT_TIMEOUT, self._options.dead_after / 4),
        )

    def _make_heartbeater(self, namespace: Namespace, *, registered: bool) -> Heartbeater:
        return Heartbeater(
            namespace,
            self._heartbeat_source,
            max_concurrency=self._max_concurrency,
            results=self._results,
            period=self._options.heartbeat,
            clock=self._clock,
            lease=self._lease,
            on_no_connection=self._connections.free_some,
            on_written=self._on_heartbeat,
            registered=registered,
        )

    def _beat(self) -> None:
        """Write a heartbeat soon."""
        self._heartbeat_thread.beat()

    def _resume(self) -> None:
        """Take jobs again after being quiet."""
        self._dispatchers.resume()

    def _on_heartbeat(self, heartbeat: Heartbeat, written: WrittenHeartbeat) -> None:
        """Take over what Redis has replied to a heartbeat. Also called from the heartbeat's thread."""
        self._redis_clock.set(written.now)
        self._worker_set.announce(frozenset(heartbeat.worker_ids))
        self.state.on_heartbeat(written.requests)

    @property
    def counts(self) -> PoolCounts:
        """The counts of the pool so far."""
        return replace(self._metrics.totals, ignored=sum(each.count for each in self._ignored()))

    @property
    def stop_failure(self) -> str:
        """Why the shutdown was not clean; empty if it was."""
        return self._shutdown.failure

    def _running(self) -> list[tuple[Queue, bytes]]:
        """Return the jobs that the workers have begun, or are about to, with their queues."""
        return [
            (each.queue, each.payload) for each in self.workers if each.queue is not None and each.payload is not None
        ]

    def _ignored(self) -> tuple[IgnoredArgument, ...]:
        """Return the arguments ignored so far. Also called from the heartbeat's thread."""
        return ignored_arguments(self._job_types)

    def runs(self, job: Any) -> bool:
        """Return whether a worker runs this very job, not only one with its id."""
        return any(each.job is job for each in self.all_workers)

    def wake_requeuer(self) -> None:
        """Have jobs that are due now moved to their queues soon."""
        self._services.on_due()

    async def drain(self) -> None:
        """Wait until the queues are empty, including the retry and scheduled jobs that were due when this was called,
        and the hooks have ended.

        :raises RedisUnavailable: when Redis refuses or cannot be reached.
        """
        try:
            self._services.any_due = True
            while await self._services.requeue_due():
                await self._dispatchers.drain()
            while self._hooks is not None and self._hooks.running:
                await self._hooks.finish()
                # A hook may have enqueued jobs.
                await self._dispatchers.drain()
        except REDIS_ERRORS as error:
            raise RedisUnavailable(f"the queues cannot be read: Redis at {self._redis.masked_url}: {error}") from error

    def _workers_end(self) -> bool:
        """Return whether the workers must end, because the pool cancels them or is itself cancelled.

        The end of an event loop cancels all tasks at once, and the workers may be cancelled before the pool.
        """
        return self._cancelling_workers or (self._task is not None and self._task.cancelling() > 0)

    def _worker_broke(self, error: Exception) -> None:
        if not self._broken.done():
            self._broken.set_result(error)

    async def run(self) -> None:
        """Run jobs until stopped.

        :raises RedisUnavailable: when Redis is lost before the first job.
        :raises Exception: an unexpected error in a service; the pool has been shut down all the same.
        """
        self._task = asyncio.current_task()
        try:
            # Before the first job is taken, so that the reaper of another pool finds it if this process crashes.
            await self._announce()
            self._heartbeat_thread.start()
            # Not anyio's groups, which repeat a cancellation and so interrupt the release of pooled Redis connections.
            async with asyncio.TaskGroup() as outer:
                observer = ServiceLoop(self._services.observer)
                observing = outer.create_task(observer.run())
                async with asyncio.TaskGroup() as inner:
                    tasks = [inner.create_task(loop.run()) for loop in self._services.loops]
                    await self._work()
                    for task in tasks:
                        task.cancel()
                await self._shutdown.stop_service(observer, observing)
        except (RedisUnavailable, asyncio.CancelledError):
            raise
        except BaseException:
            self.crashed = True
            raise
        finally:
            await self._shutdown.deregister(crashed=self.crashed)

    async def _announce(self) -> None:
        """Write the job types and the first heartbeat; limit the connections if Redis accepts few more.

        :raises RedisUnavailable: when Redis refuses or cannot be reached.
        """
        try:
            limits, options = (self._max_concurrency, self._results), queue_options(self._job_types)
            await announce_job_types(self._namespace, *limits, options, self._options.dead_after)
            await announce_fair_queues(self._namespace, self._job_types, self._dispatchers.queues)
            await self._services.rate_reader.start()
            await self._make_heartbeater(self._namespace, registered=False).run_once()
            await announce_version(self._namespace, self._options.version_label)
            if (spare := await self._work_queue.spare_connections()) is not None:
                self._connections.limit(spare)
        except REDIS_ERRORS as error:
            raise RedisUnavailable(f"Redis at {self._redis.masked_url} was lost at the start: {error}") from error

    async def _work(self) -> None:
        """Run the workers and the dispatcher until stopped, then shut them down."""
        self._worker_set.start()
        self._steps.start()
        self._dispatchers.start()
        self.started.set()
        stopping = asyncio.create_task(self.state.stopping.wait())
        try:
            watched: list[asyncio.Future[Any]] = [stopping, *self._dispatchers.pipelines, self._broken]
            ended, _ = await asyncio.wait(watched, return_when=asyncio.FIRST_COMPLETED)
            if self._broken in ended:
                raise self._broken.result()
            for task in ended - {stopping}:
                await task  # raises the unexpected error that has ended it
            await self._shutdown.finish_jobs(self._options.grace, self.state.hurrying)
        except asyncio.CancelledError:
            # The end of an event loop cancels all tasks. A job that cancels all other tasks does not cancel its own.
            self.crashed = any(worker.task is not None and not worker.task.cancelling() for worker in self.all_workers)
            raise
        finally:
            stopping.cancel()
            self._worker_set.close()
            self.state.stopping.set()  # also after an unexpected error
            # From here on no worker goes on in another task.
            self._cancelling_workers = True
            await self._shutdown.cancel_workers()
            await self._shutdown.write_results()
            self._steps.stop()
            await self._streams.close()
            if self._hooks is not None:
                await self._hooks.close()
