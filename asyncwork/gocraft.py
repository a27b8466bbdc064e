"""The methods of gocraft/work's Go client and enqueuer, for programs that are ported from it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ._jobs.location import JobSet
from ._jobs.names import Named
from .client import Client
from .enqueuer import Enqueuer
from .models.enqueued_job import EnqueuedJob
from .models.job_record import Page
from .models.pools import Heartbeat, Observation
from .models.queues import QueueInfo

__all__ = ["GocraftClient", "GocraftEnqueuer"]


class GocraftClient:
    """The methods of gocraft/work's ``work.Client``, which find a job by its time and id.

    New programs use the methods of :class:`Client`, which find a job by its ref and can undo a deletion.

    Every method raises :class:`RedisUnavailable` when Redis refuses or cannot be reached, and :class:`UsageError` for a
    time that cannot be right. Times are epoch seconds.

    :param client: its connections and its ``redact`` are used.
    """

    def __init__(self, client: Client) -> None:
        self._client = client
        self._actions = client._actions
        self._redis_errors = client._redis_errors

    async def worker_pool_heartbeats(self) -> list[Heartbeat]:
        """Return the heartbeat of each worker pool."""
        return await self._client.heartbeats()

    async def worker_observations(self) -> list[Observation]:
        """Return what the busy workers do."""
        return await self._client.observations()

    async def queues(self) -> list[QueueInfo]:
        """Return the queue of every job name that was ever enqueued or served, sorted by name."""
        return await self._client.queues()

    async def scheduled_jobs(self, page: int = 1) -> Page:
        """Return a page of 20 scheduled jobs, the next to run first."""
        return await self._client.jobs(JobSet.SCHEDULED, page)

    async def retry_jobs(self, page: int = 1) -> Page:
        """Return a page of 20 failed jobs that will be retried, the next to run first."""
        return await self._client.jobs(JobSet.RETRY, page)

    async def dead_jobs(self, page: int = 1) -> Page:
        """Return a page of 20 dead jobs, the first to die first."""
        return await self._client.jobs(JobSet.DEAD, page)

    async def retry_dead_job(self, died_at: int, job_id: str) -> bool:
        """Put a dead job on its queue as if it had never failed; return whether there was one."""
        return await self._retry(JobSet.DEAD, died_at, job_id)

    async def delete_dead_job(self, died_at: int, job_id: str) -> bool:
        """Delete a dead job for good; return whether there was one."""
        return await self._delete(JobSet.DEAD, died_at, job_id)

    async def run_retry_job(self, retry_at: int, job_id: str) -> bool:
        """Put a job that will be retried on its queue now; return whether there was one."""
        return await self._retry(JobSet.RETRY, retry_at, job_id)

    async def delete_retry_job(self, retry_at: int, job_id: str) -> bool:
        """Delete a job that would be retried, for good; return whether there was one."""
        return await self._delete(JobSet.RETRY, retry_at, job_id)

    async def run_scheduled_job(self, run_at: int, job_id: str) -> bool:
        """Put a scheduled job on its queue before its time; return whether there was one."""
        return await self._retry(JobSet.SCHEDULED, run_at, job_id)

    async def delete_scheduled_job(self, run_at: int, job_id: str) -> bool:
        """Delete a scheduled job for good, and free its unique key; return whether there was one."""
        return await self._delete(JobSet.SCHEDULED, run_at, job_id)

    async def retry_all_dead_jobs(self) -> int:
        """Put all dead jobs on their queues as if they had never failed; return how many."""
        return (await self._client.retry_matching(JobSet.DEAD)).done

    async def delete_all_dead_jobs(self) -> int:
        """Delete all dead jobs for good, and free their unique keys; return how many."""
        with self._redis_errors():
            return await self._actions.delete_all(JobSet.DEAD)

    async def _retry(self, job_set: JobSet, at: int, job_id: str) -> bool:
        with self._redis_errors():
            return await self._actions.retry_by_time(job_set, at, job_id)

    async def _delete(self, job_set: JobSet, at: int, job_id: str) -> bool:
        with self._redis_errors():
            return await self._actions.delete_by_time(job_set, at, job_id)


class GocraftEnqueuer:
    """The methods of gocraft/work's ``work.Enqueuer``, which return ``None`` for a duplicate.

    New programs use :meth:`Enqueuer.enqueue` and its options.

    Every method raises :class:`UsageError`, :class:`ArgumentEncodingError` and :class:`RedisUnavailable` as it does.

    :param enqueuer: enqueues the jobs.
    """

    def __init__(self, enqueuer: Enqueuer) -> None:
        self._enqueuer = enqueuer

    async def enqueue(self, name: str | Named, args: Mapping[str, Any] | None = None) -> EnqueuedJob:
        """Enqueue a job to run as soon as a worker is free."""
        return await self._enqueuer.enqueue(name, args)

    async def enqueue_in(self, name: str | Named, seconds: float, args: Mapping[str, Any] | None = None) -> EnqueuedJob:
        """Enqueue a job to run ``seconds`` from now."""
        return await self._enqueuer.enqueue(name, args, delay=seconds)

    async def enqueue_unique(self, name: str | Named, args: Mapping[str, Any] | None = None) -> EnqueuedJob | None:
        """Enqueue a job unless one with the same name and arguments waits."""
        return _new(await self._enqueuer.enqueue(name, args, unique=True))

    async def enqueue_unique_in(
        self, name: str | Named, seconds: float, args: Mapping[str, Any] | None = None
    ) -> EnqueuedJob | None:
        """Enqueue a unique job to run ``seconds`` from now."""
        return _new(await self._enqueuer.enqueue(name, args, delay=seconds, unique=True))

    async def enqueue_unique_by_key(
        self, name: str | Named, args: Mapping[str, Any] | None, key_map: Mapping[str, Any]
    ) -> EnqueuedJob | None:
        """Enqueue a job unless one with the same name and ``key_map`` waits, which then runs with these arguments."""
        return _new(await self._enqueuer.enqueue(name, args, unique=key_map))

    async def enqueue_unique_in_by_key(
        self, name: str | Named, seconds: float, args: Mapping[str, Any] | None, key_map: Mapping[str, Any]
    ) -> EnqueuedJob | None:
        """Enqueue a job unique by ``key_map`` to run ``seconds`` from now."""
        return _new(await self._enqueuer.enqueue(name, args, delay=seconds, unique=key_map))


def _new(job: EnqueuedJob) -> EnqueuedJob | None:
    return None if job.duplicate else job
