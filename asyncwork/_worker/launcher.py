"""One run of a pool, from start to stop, under one pool id.

The stop order is the nesting: heartbeat and observer outlive the background roles, which outlive the workers.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

from .._jobs import forks
from .._jobs.clock import Clock
from .._jobs.ids import make_identifier
from .._jobs.location import JobSet
from .._redis.client import RedisClient
from .._redis.errors import REDIS_ERRORS
from .._redis.keys import Keys, Queue
from .._redis.metrics import MetricsStore
from .._redis.namespace import Namespace
from .._redis.recovery import Recovery
from .._redis.registry import Registry
from .._redis.work_queue import WorkQueue
from .._version import version
from ..errors import RedisUnusable
from ..models import IgnoredArgument, PoolCounts
from ..options import PoolOptions
from .connection_shares import connection_shares
from .dispatcher import Dispatcher, DispatchLimits
from .job_type import JobType
from .lease import Lease
from .metrics import PoolMetrics
from .poison_pills import PoisonPills
from .services.go_rescuer import GoRescuer
from .services.heartbeat import Heartbeater, HeartbeatThread
from .services.loop_watchdog import LoopWatchdog
from .services.metrics_writer import MetricsWriter
from .services.observer import Observer
from .services.periodic_enqueuer import PeriodicEnqueuer, PeriodicJob
from .services.reaper import Reaper
from .services.reconciler import Reconciler
from .services.requeuer import Requeuer
from .services.service import Loop
from .worker import Worker, WorkerEnvironment

logger = logging.getLogger("asyncwork")

# Seconds that each of the last steps may take: cancelled handlers ending, fates being told, traces being removed.
_STEP_LIMIT = 5.0
# Seconds that Redis has to answer a heartbeat, where less would be a part of the time after which a pool looks dead.
_LEAST_PATIENCE = 1.0
# Seconds after which a wait in Redis is begun anew, which shows that its connection is alive.
_BLOCK = 5.0
# Seconds between two looks at whether the last running job has ended, while stopping.
_LOOK = 0.01


class Launcher:
    """Everything that runs while a pool runs.

    :param job_types: by job name, with all middleware around each.
    :param context: makes a fresh context for a job.
    """

    def __init__(
        self,
        redis: RedisClient,
        options: PoolOptions,
        job_types: dict[str, JobType],
        periodic: Sequence[PeriodicJob],
        context: Callable[[], Any],
        clock: Clock,
    ) -> None:
        periods, keys = options.periods, Keys(options.namespace)
        # Seconds after any moment in which nobody can have taken this pool for dead.
        trusted = periods.dead_after - periods.heartbeat
        self._redis = redis
        self.pool_id = make_identifier()
        self._masked_url = redis.masked_url
        self._grace = options.grace
        self._lanes = options.exchanges
        self._loop = asyncio.get_running_loop()
        self._giving: asyncio.Future[None] | None = None
        self._job_types = job_types
        self._max_concurrency = {name: each.options.max_concurrency for name, each in job_types.items()}
        self._periodic = periodic
        namespace = Namespace(redis, keys)
        self._registry, self._recovery = Registry(namespace), Recovery(namespace)
        self._work_queue = work_queue = WorkQueue(redis, keys, self.pool_id)
        # Shorter than that: a job begins some time after it was looked at.
        self._lease = Lease(periods.dead_after * 0.8, clock)
        self._possible_loss = asyncio.Event()
        self._dispatcher = Dispatcher(
            work_queue,
            [work_queue.queue(name, each.options.priority) for name, each in sorted(job_types.items())],
            self._lease,
            DispatchLimits(
                concurrency=options.concurrency,
                pipelines=options.exchanges,
                max_blocked=options.max_blocking_connections,
                # The pops of a stopped process end before it is considered dead: none takes a job after that.
                block=min(_BLOCK, trusted / 2),
                lease=trusted,
                longest_poll=periods.poll,
                reply_timeout=periods.exchange,
            ),
            running=self._running,
            possible_loss=self._possible_loss,
        )
        environment = WorkerEnvironment(
            self._dispatcher,
            job_types,
            context,
            clock,
            keys.unique_of,
            PoisonPills(self._dispatcher, self._workers_end),
            ending=self._workers_end,
            on_defect=self._worker_broke,
            runs=lambda job: any(worker.job is job for worker in self.workers),
            pid=forks.pid,
        )
        self.workers = [Worker(environment) for _ in range(options.concurrency)]
        self._observer = Observer(namespace, self.pool_id, self.workers, periods.observe)
        self._ledger = PoolMetrics({name: each.counter for name, each in job_types.items()})
        self._bookkeeper = MetricsWriter(MetricsStore(namespace), self._ledger, self.pool_id, periods.count)
        reconciler = Reconciler(work_queue, self._dispatcher, self.workers, periods.reconcile)
        self._reconciler = Loop(reconciler, wakeup=self._possible_loss)
        keys_of_periodic = [job.key for job in periodic]
        self._requeuers = [
            Requeuer(namespace, shelf, periods.requeue, keys_of_periodic) for shelf in (JobSet.RETRY, JobSet.SCHEDULED)
        ]
        reaper = Reaper(
            namespace,
            self.pool_id,
            period=periods.reap,
            dead_after=periods.dead_after,
            orphans_period=periods.orphans,
        )
        planner = PeriodicEnqueuer(namespace, periodic, period=periods.periodic, horizon=periods.horizon)
        self._background = [
            *map(Loop, self._requeuers),
            Loop(reaper, jitter=0.2),
            Loop(planner, jitter=0.2),
            Loop(GoRescuer(namespace, periods.revive), jitter=0.2),
            Loop(self._bookkeeper, jitter=0.2),
            self._reconciler,
        ]
        self._heartbeater = self._make_heartbeater(namespace, options, clock, beaten=False)
        watch = LoopWatchdog(periods.stall)
        self._heartbeat = HeartbeatThread(
            namespace,
            lambda own: [self._make_heartbeater(own, options, clock, beaten=True), watch],
            patience=max(_LEAST_PATIENCE, periods.dead_after / 4),
        )
        # Why the stop was not clean; empty if it was.
        self.stop_failure = ""
        self._quiet = False
        self._stopping = asyncio.Event()
        self._hurrying = asyncio.Event()
        self.started = asyncio.Event()
        self.told_to_stop = False
        self._task: asyncio.Task[Any] | None = None
        self._cutting_off = False
        # Whether what runs at the end may have caused it.
        self.by_defect = False
        self._broken: asyncio.Future[Exception] = self._loop.create_future()

    def _running(self) -> list[tuple[Queue, bytes]]:
        """Return the jobs that the workers have begun, or are about to, with their queues."""
        return [
            (each.queue, each.payload) for each in self.workers if each.queue is not None and each.payload is not None
        ]

    def _make_heartbeater(
        self, namespace: Namespace, options: PoolOptions, clock: Clock, *, beaten: bool
    ) -> Heartbeater:
        return Heartbeater(
            namespace,
            pool_id=self.pool_id,
            max_concurrency=self._max_concurrency,
            concurrency=options.concurrency,
            worker_ids=[worker.id for worker in self.workers],
            runner=f"asyncwork {version()}",
            periodic=self._periodic,
            state=self._state,
            ignored=self._ignored,
            period=options.periods.heartbeat,
            clock=clock,
            lease=self._lease,
            refused=self._give_room,
            beaten=beaten,
        )

    @property
    def blocked(self) -> int:
        """On how many queues free workers wait in Redis."""
        return self._dispatcher.blocked

    @property
    def tally(self) -> PoolCounts:
        """What has been done so far."""
        return replace(self._ledger.tally, ignored=sum(each.count for each in self._ignored()))

    def _ignored(self) -> tuple[IgnoredArgument, ...]:
        """Return which arguments were ignored so far. May be called from another thread."""
        return tuple(
            IgnoredArgument(name, argument, count)
            for name, each in self._job_types.items()
            for argument, count in list(each.ignored.items())
        )

    def _state(self) -> str:
        """Tell whether the pool is running, quiet or stopping. May be called from another thread: it only looks."""
        if self._stopping.is_set():
            return "stopping"
        return "quiet" if self._quiet else "running"

    def stop(self, *, now: bool = False) -> None:
        """Take nothing new and end when what runs has finished, after the grace period at the latest; or ``now``."""
        self.told_to_stop = True
        self._dispatcher.stop_fetching()
        self._stopping.set()
        if now:
            self._hurrying.set()

    async def quiet(self) -> None:
        """Take nothing new; keep running."""
        self._quiet = True
        await self._dispatcher.quiet()

    async def drain(self) -> None:
        """Return when the queues are empty, including what was due on the shelves at the time of the call.

        :raises RedisUnusable: when Redis refuses or cannot be reached.
        """
        try:
            for requeuer in self._requeuers:
                await requeuer.once()
            await self._dispatcher.drain()
        except REDIS_ERRORS as error:
            raise RedisUnusable(f"the queues cannot be looked at: Redis at {self._masked_url}: {error}") from error

    def _workers_end(self) -> bool:
        """Tell whether the workers are to end: the pool cuts them off, or is itself cancelled.

        The end of an event loop cancels all tasks at once, so that a worker may hear of it before the pool does.
        """
        return self._cutting_off or (self._task is not None and self._task.cancelling() > 0)

    def _worker_broke(self, error: Exception) -> None:
        if not self._broken.done():
            self._broken.set_result(error)

    async def run(self) -> None:
        """Serve until told to stop.

        :raises RedisUnusable: when Redis is lost before the first job.
        :raises Exception: a defect in one of the roles; the pool has stopped all the same.
        """
        self._task = asyncio.current_task()
        try:
            # Known before it takes the first job: should it crash then, it can be found.
            await self._announce()
            self._heartbeat.start()
            # Not anyio's groups: they cancel again and again, also the release of a Redis connection to its pool.
            async with asyncio.TaskGroup() as outermost:
                observing = Loop(self._observer)
                observer = outermost.create_task(observing.run())
                async with asyncio.TaskGroup() as background:
                    roles = [background.create_task(loop.run()) for loop in self._background]
                    await self._work()
                    for role in roles:
                        role.cancel()
                observing.end()
                await asyncio.wait([observer], timeout=_STEP_LIMIT)
                observer.cancel()
        except (RedisUnusable, asyncio.CancelledError):
            raise
        except BaseException:
            self.by_defect = True
            raise
        finally:
            await self._depart()

    async def _announce(self) -> None:
        try:
            await self._registry.write_caps(self._max_concurrency)
            await self._heartbeater.once()
            if (spare := await self._work_queue.spare_connections()) is not None:
                self._leave_room(spare)
        except REDIS_ERRORS as error:
            raise RedisUnusable(f"Redis at {self._masked_url} was lost at the start: {error}") from error

    def _leave_room(self, spare: int) -> None:
        """Take no more than a part of the connections that Redis still accepts."""
        shares = connection_shares(spare, self._lanes)
        if shares.short:
            text = "too few connections: Redis accepts %d more, and this pool needs %d; raise maxclients"
            logger.warning(text, spare, spare + shares.short)
        self._redis.limit_pooled(shares.pooled)
        self._dispatcher.limit_blocked(shares.parked, f"Redis accepts {spare} more")

    def _give_room(self, refusal: BaseException) -> None:
        """Give up connections for the heartbeat, for which Redis has refused one. Called from another thread."""

        def give() -> None:
            self._dispatcher.reduce_connections(refusal)
            self._giving = asyncio.ensure_future(self._redis.close_idle())

        with suppress(RuntimeError):  # the loop is closed
            self._loop.call_soon_threadsafe(give)

    async def _work(self) -> None:
        """Run the workers and the dispatcher until told to stop."""
        for worker in self.workers:
            worker.start()
        self._dispatcher.start()
        self.started.set()
        stopping = asyncio.create_task(self._stopping.wait())
        try:
            watched: list[asyncio.Future[Any]] = [stopping, *self._dispatcher.pipelines, self._broken]
            ended, _ = await asyncio.wait(watched, return_when=asyncio.FIRST_COMPLETED)
            if self._broken in ended:
                raise self._broken.result()
            for task in ended - {stopping}:
                await task  # a defect, raised here
            await self._finish()
        except asyncio.CancelledError:
            # The end of an event loop cancels all tasks. A job that cancels all others spares its own.
            self.by_defect = any(worker.task is not None and not worker.task.cancelling() for worker in self.workers)
            raise
        finally:
            stopping.cancel()
            self._stopping.set()  # a defect stops the pool too
            await self._cut_off()
            await self._settle()

    async def _finish(self) -> None:
        """Let what runs finish, within the grace period."""
        await self._dispatcher.quiet()
        if self._dispatcher.busy:
            logger.info("stopping; jobs still running: %d", self._dispatcher.busy)
        deadline = self._loop.time() + self._grace
        # Not an event, which each job of the hot path would have to set.
        while self._dispatcher.busy and not self._hurrying.is_set() and self._loop.time() < deadline:  # noqa: ASYNC110
            await asyncio.sleep(_LOOK)

    async def _cut_off(self) -> None:
        """End the workers; what one still runs is left in progress, and put back by :meth:`_depart`."""
        self._cutting_off = True
        # From here on none goes on in another task.
        tasks = [worker.task for worker in self.workers if worker.task is not None]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=_STEP_LIMIT)
        # One that swallows its cancellation and returns has ended.
        if cut := sum(worker.payload is not None for worker in self.workers):
            logger.warning("jobs cut off, which go back to the front of their queues: %d", cut)
        for worker in self.workers:
            if worker.task is not None and not worker.task.done():
                logger.error("%r does not end although it was cancelled; leaving it behind", worker.job)

    async def _settle(self) -> None:
        """Tell Redis the fates that it does not know yet."""
        with suppress(TimeoutError):
            async with asyncio.timeout(_STEP_LIMIT):
                await self._dispatcher.quiet()
                await self._dispatcher.close()
        await self._dispatcher.abort()

    async def _depart(self) -> None:
        """Put back what is left in this pool's lists, and remove its traces."""
        try:
            async with asyncio.timeout(_STEP_LIMIT):
                await self._settle_elsewhere()
                if self.by_defect:
                    # One of these may have caused it, and would end the next pool, too.
                    await self._recovery.record_crash(self.pool_id, self._job_types, None)
                await _insist(lambda: self._recovery.reap(self.pool_id, self._job_types, None))
                await _insist(self._observer.forget)
                await self._close_the_books()
                # The heartbeat goes on until here: nobody may take this pool for dead while it puts things back.
                await self._heartbeat.stop()
                await _insist(self._heartbeater.forget)
        except REDIS_ERRORS as error:
            why = f"{type(error).__name__}: {error}".rstrip(": ")
            self._not_clean(f"could not take leave of Redis ({why}): another pool will put this one's jobs back")
        finally:
            try:
                await self._heartbeat.stop()
            finally:
                await self._redis.close()

    async def _settle_elsewhere(self) -> None:
        """Settle what a silent connection has kept from being settled: what has ended must not be put back."""
        try:
            await _insist(self._dispatcher.send_pooled)
        finally:
            if unsettled := self._dispatcher.unacknowledged():
                self._not_clean(f"results that could not be written to Redis, whose jobs will run again: {unsettled}")

    async def _close_the_books(self) -> None:
        """Write what is left to be counted. Should Redis refuse that, it keeps nothing else from being put in order."""
        try:
            await _insist(self._bookkeeper.flush)
        except REDIS_ERRORS as error:
            logger.warning("the newest counts are lost (%s: %s)", type(error).__name__, error)

    def _not_clean(self, text: str) -> None:
        """Log why this stop is not clean, and keep it."""
        logger.error("%s", text)
        self.stop_failure = self.stop_failure or text


async def _insist(step: Callable[[], Awaitable[object]]) -> None:
    """Do one step of taking leave; once more if its connection broke, for there is no next pass.

    :raises RedisError, OSError: when that fails, too.
    """
    try:
        await step()
    except REDIS_ERRORS:
        await step()
