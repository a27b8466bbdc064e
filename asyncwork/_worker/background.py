"""The services that run beside the workers of a pool."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

from .._jobs.location import JobSet
from .._jobs.periodic_job import PeriodicJob
from .._redis.fair_queues import FairOptions
from .._redis.metrics import MetricsStore
from .._redis.namespace import Namespace
from .._redis.work_queue import WorkQueue
from ..options import JobOptions, PoolOptions
from .chunk_runner import ChunkRunner
from .dispatchers import Dispatchers
from .expiry import times_to_start
from .job_type import JobType, fair_options
from .metrics import PoolMetrics
from .periodic_uniqueness import PeriodicUniqueness
from .services.canceller import Canceller
from .services.dead_trimmer import DeadTrimmer
from .services.go_rescuer import GoRescuer
from .services.metrics_writer import MetricsWriter
from .services.observer import Observer
from .services.periodic_enqueuer import PeriodicEnqueuer
from .services.rate_reader import RateReader
from .services.reaper import Reaper
from .services.reconciler import Reconciler
from .services.requeuer import Requeuer
from .services.service import ServiceLoop
from .services.shared_limits import SharedLimits
from .services.tenant_reviewer import TenantReviewer
from .worker_set import WorkerSet

# The share of its delay by which a pass may come early, so that pools do not act in step.
_JITTER = 0.2


class BackgroundServices:
    """The services of one pool, except for those of the heartbeat's thread.

    :param periodic: the periodic jobs of the code.
    :param possible_loss: set when the reconciler should run now.
    :param job_types: by job name, those that the pool handles.
    :ivar observer: not among the loops, because it outlives the other services.
    :ivar rate_reader: to be started before the first fetch.
    :ivar requeuers: those of the retry set and of the scheduled set.
    :ivar any_due: whether a batch has scheduled jobs, which are due at once, since they were last requeued.
    :ivar loops: the loops of all services except the observer.
    """

    def __init__(
        self,
        namespace: Namespace,
        options: PoolOptions,
        *,
        work_queue: WorkQueue,
        dispatchers: Dispatchers,
        workers: WorkerSet,
        canceller: Canceller,
        metrics: PoolMetrics,
        periodic: Sequence[PeriodicJob],
        possible_loss: asyncio.Event,
        job_types: Mapping[str, JobType],
    ) -> None:
        periodic_keys, pool_id = [job.key for job in periodic], work_queue.pool_id
        tuning, job_options = options.tuning, {name: each.options for name, each in job_types.items()}
        expires, unique = times_to_start(job_options), PeriodicUniqueness(job_options)
        self.observer = Observer(namespace, pool_id, dispatchers.all_workers, workers.is_announced, tuning.observe)
        self.metrics_writer = MetricsWriter(MetricsStore(namespace), metrics, pool_id, tuning.count)
        self.requeuers = [
            Requeuer(namespace, job_set, tuning.requeue, periodic_keys, expires=expires, unique=unique)
            for job_set in (JobSet.RETRY, JobSet.SCHEDULED)
        ]
        self.rate_reader = _rate_reader_of(namespace, pool_id, job_options, options.heartbeat, dispatchers)
        reconciler = Reconciler(work_queue, dispatchers.main, workers.workers, tuning.reconcile)
        reaper = Reaper(
            namespace, pool_id, period=tuning.reap, dead_after=options.dead_after, orphans_period=tuning.orphans
        )
        trimmer = DeadTrimmer(namespace, period=tuning.trim, most=tuning.dead_max, seconds=tuning.dead_for)
        periodic_enqueuer = PeriodicEnqueuer(
            namespace, periodic, job_types.keys(), period=tuning.periodic, horizon=tuning.horizon
        )
        self.any_due = False
        dispatchers.on_due(self.on_due)
        self.loops = [
            *map(ServiceLoop, self.requeuers),
            ServiceLoop(canceller),
            ServiceLoop(self.rate_reader),
            ServiceLoop(reaper, jitter=_JITTER),
            ServiceLoop(periodic_enqueuer, jitter=_JITTER),
            ServiceLoop(GoRescuer(namespace, tuning.revive), jitter=_JITTER),
            ServiceLoop(trimmer, jitter=_JITTER),
            ServiceLoop(self.metrics_writer, jitter=_JITTER),
            ServiceLoop(reconciler, wakeup=possible_loss),
            *(_reconciler_of(each, work_queue, tuning.reconcile) for each in dispatchers.runners),
        ]
        self.loops += _reviewers(namespace, fair_options(job_options), tuning.orphans)

    def on_due(self) -> None:
        """Move what a batch has scheduled to its queue at once."""
        self.any_due = True
        self.loops[len(self.requeuers) - 1].wake()

    async def requeue_due(self) -> bool:
        """Requeue all due jobs; return whether a batch has scheduled any since the last time.

        :raises RedisError, OSError: when Redis refuses or cannot be reached.
        """
        any_due, self.any_due = self.any_due, False
        if any_due:
            for requeuer in self.requeuers:
                while await requeuer.run_once() == 0:
                    # A batch that is a member has ended another one.
                    pass
        return any_due


def _reviewers(namespace: Namespace, fair: Mapping[str, FairOptions], period: float) -> list[ServiceLoop]:
    """Return what reviews the tenants of a pool's fair queues, if it has any."""
    return [ServiceLoop(TenantReviewer(namespace, fair, period), jitter=_JITTER)] if fair else []


def _rate_reader_of(
    namespace: Namespace, pool_id: str, options: Mapping[str, JobOptions], period: float, dispatchers: Dispatchers
) -> RateReader:
    rates = {name: each.rate for name, each in options.items() if each.rate is not None}
    shared = SharedLimits(namespace, pool_id, options)
    return RateReader(namespace, pool_id, options.keys(), rates, period, dispatchers, shared)


def _reconciler_of(runner: ChunkRunner, work_queue: WorkQueue, period: float) -> ServiceLoop:
    reconciler = Reconciler(work_queue, runner.dispatcher, runner.members, period)
    return ServiceLoop(reconciler, wakeup=runner.possible_loss)
