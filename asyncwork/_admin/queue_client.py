"""Shows queues and pools, and changes them, for the client."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from .._jobs.names import Named
from ..models.actions import ActionResult
from ..models.diagnosis import Overview
from ..models.pools import Deployment, Heartbeat, Observation
from ..models.queues import FairQueue, JobCounts, QueueInfo, RunTimes
from ..rate import Rate
from .limit_client import LimitClient
from .metrics import MetricsReader
from .pool_actions import PoolActions
from .queue_actions import QueueActions
from .redaction import Redact
from .tenants import Tenants


class QueueClient(LimitClient):
    """Shows queues and pools, and changes them."""

    def __init__(self, url: str | None, namespace: str | None, redact: Redact | None) -> None:
        super().__init__(url, namespace, redact)
        self._metrics = MetricsReader(self._in_redis, self._inspector)
        self._queue_actions = QueueActions(self._in_redis)
        self._pool_actions = PoolActions(self._in_redis)
        self._tenants = Tenants(self._in_redis, self._readers)

    async def heartbeats(self) -> list[Heartbeat]:
        """Return the heartbeat of each worker pool, also of dead pools that no reaper has removed yet."""
        with self._redis_errors():
            return await self._status.heartbeats()

    async def observations(self) -> list[Observation]:
        """Return what the busy workers do, as of a second ago at most."""
        with self._redis_errors():
            return [observation for observation, _ in await self._status.running()]

    async def queues(self) -> list[QueueInfo]:
        """Return the queue of every job name that was ever enqueued or served, sorted by name."""
        with self._redis_errors():
            return await self._status.queues()

    async def deployments(self) -> list[Deployment]:
        """Return the version labels of the pools that have run here, at most 50, the newest first.

        Each is recorded once, when the first pool with it starts. See ``version_label`` of :class:`WorkerPool`.
        """
        with self._redis_errors():
            return await self._status.deployments()

    async def minutes(self, count: int = 60, *, queue: str | Named = "") -> list[JobCounts]:
        """Return the counts of each of the last minutes, up to 1440, the oldest first, of one queue or of all."""
        with self._redis_errors():
            return await self._metrics.minutes(queue, count)

    async def days(self, count: int = 30, *, queue: str | Named = "") -> list[JobCounts]:
        """Return the counts of each of the last days (UTC), up to 400, otherwise as :meth:`minutes`."""
        with self._redis_errors():
            return await self._metrics.days(queue, count)

    async def run_times(self, queue: str | Named, days: int = 7) -> RunTimes:
        """Return how long the attempts at the jobs of a queue took, in the last days (UTC) with the current one, up
        to 40.
        """
        with self._redis_errors():
            return await self._metrics.run_times(queue, days)

    async def recent(self, minutes: int = 5) -> dict[str, JobCounts]:
        """Return the counts of each queue in the last whole minutes and the current one; ``""`` is their sum."""
        with self._redis_errors():
            return await self._metrics.recent(minutes)

    async def overview(self) -> Overview:
        """Return the pools, queues, sizes, problems and server of the namespace, in a few round trips."""
        with self._redis_errors():
            return await self._status.overview()

    async def _minutes_of(self, queues: Sequence[str]) -> dict[str, list[JobCounts]]:
        """Return the :meth:`minutes` of each of several queues, in as few round trips as for one."""
        with self._redis_errors():
            return await self._metrics.minutes_of(queues, 60)

    async def _daily_run_times(self, queue: str, days: int) -> list[tuple[str, RunTimes]]:
        """Return the date of each of the last days (UTC) and how long its attempts took, the oldest day first."""
        with self._redis_errors():
            return await self._metrics.daily_run_times(queue, days)

    # Actions on queues

    async def pause(self, name: str | Named) -> None:
        """Stop all pools from fetching jobs of a queue; running jobs go on."""
        with self._redis_errors():
            await self._queue_actions.pause(name)

    async def unpause(self, name: str | Named) -> None:
        """Let pools fetch jobs of a queue again, also of one that rests."""
        with self._redis_errors():
            await self._queue_actions.unpause(name)

    async def set_max_concurrency(self, name: str | Named, cap: int) -> None:
        """Set how many jobs of a name may run at once over all pools; 0 for any number.

        It holds until the next pool with that name starts, which sets its own.
        """
        with self._redis_errors():
            await self._queue_actions.set_max_concurrency(name, cap)

    async def tenants(self, name: str | Named) -> FairQueue:
        """Return a fair queue, and its tenants that have jobs or settings of their own, those that wait longest first.

        :raises UsageError: when it is not a fair queue.
        """
        with self._redis_errors():
            return await self._tenants.read(name)

    async def set_partition(
        self,
        name: str | Named,
        partition: str | int,
        *,
        concurrency: int | Literal["default"] | None = None,
        weight: float | None = None,
        rate: Rate | Literal["default", "none"] | None = None,
    ) -> None:
        """Set the limit, the weight and the rate of one tenant of a fair queue. They hold until they are set again.

        :param partition: the tenant.
        :param concurrency: how many of its jobs may run at once over all pools; 0 for any number, ``"default"`` for
            that of the queue, and ``None`` to leave it as it is. Ordered jobs run one at a time all the same.
        :param weight: how many turns it gets for each turn of others, from 0.01 to 100; 1 by default, and ``None`` to
            leave it as it is.
        :param rate: how many of its jobs may start within a time over all pools; ``"none"`` for any number,
            ``"default"`` for that of the queue, and ``None`` to leave it as it is.
        :raises UsageError: when it is not a fair queue, or a value is not valid.
        """
        with self._redis_errors():
            await self._tenants.change(name, partition, concurrency=concurrency, weight=weight, rate=rate)

    async def pause_partition(self, name: str | Named, partition: str | int) -> None:
        """Stop all pools from fetching jobs of one tenant of a fair queue; running jobs go on.

        :raises UsageError: when it is not a fair queue, or no tenant can have that name.
        """
        with self._redis_errors():
            await self._tenants.change(name, partition, paused=True)

    async def unpause_partition(self, name: str | Named, partition: str | int) -> None:
        """Let pools fetch jobs of one tenant of a fair queue again; its rest ends, too.

        :raises UsageError: as :meth:`pause_partition`.
        """
        with self._redis_errors():
            await self._tenants.change(name, partition, paused=False)

    async def set_max_waiting(self, name: str | Named, limit: int | None) -> None:
        """Set how many jobs may wait in a queue: an enqueue that would exceed it raises :class:`QueueFull`.

        It replaces the ``max_waiting`` of the job type, and of calls that pass one, until it is set to ``None``. Jobs
        that wait already stay, and retries and scheduled jobs that fall due are never refused. It holds at once for
        all enqueuers that have a ``max_waiting`` themselves, by their task or their call. Others do not read it, nor do
        programs of gocraft/work.

        :param limit: 0 for any number; ``None`` for what job types and calls have.
        """
        with self._redis_errors():
            await self._queue_actions.set_max_waiting(name, limit)

    async def set_rate(self, name: str | Named, rate: Rate | None) -> None:
        """Set how many jobs of a queue may start within a time over all pools; ``None`` for any number.

        It holds until :meth:`reset_rate`, whatever rates the code of pools has. Running pools follow within a moment.

        :raises UsageError: when no queue can have the name, or ``rate`` is no :class:`Rate`.
        """
        with self._redis_errors():
            await self._queue_actions.set_rate(name, rate)

    async def reset_rate(self, name: str | Named) -> None:
        """Return to the rate of the pools' code, or to none if the code has none."""
        with self._redis_errors():
            await self._queue_actions.reset_rate(name)

    async def empty(self, name: str | Named, *, who: str = "") -> ActionResult:
        """Delete all jobs that wait in a queue and free their unique keys. It can be undone for ten minutes.

        It takes some 15 s for a million jobs, and pools go on meanwhile: pause the queue first if none of its jobs may
        run any more.
        """
        with self._redis_errors():
            return await self._queue_actions.empty(name, who)

    async def forget(self, name: str | Named) -> None:
        """Remove a job name from the registered names, its pause, its concurrency limit and its rate.

        Jobs of that name that are retried or scheduled stay where they are until a pool serves the name again.

        :raises UsageError: when jobs of that name wait or run, or a running pool has a handler for it.
        """
        with self._redis_errors():
            await self._queue_actions.forget(name)

    # Actions on pools

    async def quiet_pool(self, pool_id: str, *, who: str = "") -> None:
        """Have a pool fetch no more jobs; its running jobs go on.

        The pool does so at once, or with its next heartbeat, and logs ``who`` has asked for it. Its
        :attr:`Heartbeat.state` is ``quiet`` then.

        :param pool_id: as in :meth:`heartbeats`.
        :raises UsageError: when there is no such pool, it is stopping, or it takes no requests, as those of
            gocraft/work.
        """
        with self._redis_errors():
            await self._pool_actions.request(pool_id, "quiet", who)

    async def unquiet_pool(self, pool_id: str, *, who: str = "") -> None:
        """Have a quiet pool fetch jobs again, whatever has made it quiet; otherwise as :meth:`quiet_pool`."""
        with self._redis_errors():
            await self._pool_actions.request(pool_id, "running", who)

    async def resize_pool(self, pool_id: str, concurrency: int, *, who: str = "") -> None:
        """Have a pool run another number of jobs at once, until it ends; otherwise as :meth:`quiet_pool`.

        A larger pool fetches more jobs at once. A smaller one lets its running jobs go on, and fetches none until fewer
        run than the new number. Its :attr:`Heartbeat.concurrency` is the new number then. A quiet pool stays quiet.

        :param concurrency: from 1 to 10,000.
        :raises UsageError: also when ``concurrency`` is not such a whole number.
        """
        with self._redis_errors():
            await self._pool_actions.resize(pool_id, concurrency, who)

    async def stop_pool(self, pool_id: str, *, who: str = "") -> None:
        """Stop a pool as SIGTERM does: its running jobs have its grace period to finish.

        ``asyncwork run`` ends with exit code 0. In another program, only the pool ends. It cannot be undone. Otherwise
        as :meth:`quiet_pool`.
        """
        with self._redis_errors():
            await self._pool_actions.request(pool_id, "stopping", who)
