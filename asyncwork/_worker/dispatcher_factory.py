"""Makes the dispatchers of a pool: that of its workers, and those of the job types that run in chunks."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace

from .._jobs.clock import Clock
from .._redis.queue import Queue
from .._redis.work_queue import WorkQueue
from ..options import PoolOptions
from .chunk_queue import ChunkQueue
from .chunk_runner import ChunkRunner
from .dispatch_limits import DispatchLimits
from .dispatcher import Dispatcher
from .job_type import JobType
from .lease import Lease, Leases
from .worker_environment import WorkerEnvironment


class DispatcherFactory:
    """Makes the dispatchers of one pool.

    :param job_types: by job name.
    """

    def __init__(
        self, work_queue: WorkQueue, options: PoolOptions, job_types: Mapping[str, JobType], clock: Clock
    ) -> None:
        self._work_queue = work_queue
        self._options = options
        self._job_types = job_types
        self._clock = clock
        self._leases: list[Lease] = []

    def leases(self) -> Leases:
        """Return the leases of all dispatchers that were made."""
        return Leases(self._leases)

    @property
    def connections(self) -> int:
        """How many connections the dispatchers hold, beside those on which pops block for the workers."""
        # A type that runs in chunks has a pipeline, and a connection that blocks.
        return self._options.tuning.pipelines + 2 * sum(each.chunked is not None for each in self._job_types.values())

    def _lease(self, *, has_queues: bool = True) -> Lease:
        # Shorter than `dead_after`, because a job begins some time after the lease is checked.
        lease = Lease(self._options.dead_after * 0.8, self._clock, self._leases if has_queues else None)
        if has_queues:
            # Without queues there are no jobs to claim, so this one stays in doubt.
            self._leases.append(lease)
        return lease

    def workers(self, running: Callable[[], Iterable[tuple[Queue, bytes]]], possible_loss: asyncio.Event) -> Dispatcher:
        """Return the dispatcher of the workers, for the types that do not run in chunks."""
        limits = DispatchLimits.of(self._options)
        queues = [
            self._work_queue.queue(name, each.options.priority)
            for name, each in sorted(self._job_types.items())
            if each.chunked is None
        ]
        lease = self._lease(has_queues=bool(queues))
        return Dispatcher(self._work_queue, queues, lease, limits, running=running, possible_loss=possible_loss)

    def chunk_runners(
        self,
        make_environment: Callable[[Dispatcher], WorkerEnvironment],
        most_calls: Callable[[], int],
    ) -> Sequence[ChunkRunner]:
        """Return what runs the types that run in chunks, each with a dispatcher of its own.

        :param make_environment: makes what the jobs need, given the dispatcher.
        :param most_calls: returns how many calls of each type may run at once.
        """
        return [
            self._chunk_runner(name, each, make_environment, most_calls)
            for name, each in sorted(self._job_types.items())
            if each.chunked is not None
        ]

    def _chunk_runner(
        self,
        name: str,
        job_type: JobType,
        make_environment: Callable[[Dispatcher], WorkerEnvironment],
        most_calls: Callable[[], int],
    ) -> ChunkRunner:
        queue = self._work_queue.queue(name, job_type.options.priority)

        def make_dispatcher(
            ready: ChunkQueue, running: Callable[[], Iterable[tuple[Queue, bytes]]], possible_loss: asyncio.Event
        ) -> Dispatcher:
            # One call after the other fetches: with two pipelines, each would take half a chunk.
            of_workers = DispatchLimits.of(self._options)
            limits = replace(
                of_workers,
                concurrency=job_type.options.chunk,
                look_ahead=False,
                pipelines=1,
                max_blocked=min(1, of_workers.max_blocked),
            )
            return Dispatcher(
                self._work_queue,
                [queue],
                self._lease(),
                limits,
                running=running,
                possible_loss=possible_loss,
                ready=ready,
            )

        return ChunkRunner(
            queue,
            job_type,
            make_dispatcher=make_dispatcher,
            make_environment=make_environment,
            most_calls=most_calls,
            overdue_in=self._options.tuning.overdue,
        )
