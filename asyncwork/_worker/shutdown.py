"""The steps in which a pool stops, each of them within a time limit.

1. Running jobs and hooks finish, within the grace period.
2. The workers are cancelled. The jobs that they still run stay in progress in Redis.
3. The results that Redis does not have yet are written. Hooks that still run are cancelled.
4. The pool is deregistered: the jobs that it has in progress are requeued, and its keys are deleted.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Sequence
from contextlib import suppress

from .._jobs.printable import plural
from .._redis.errors import REDIS_ERRORS
from .._redis.job_end import JobEnd
from .._redis.namespace import Namespace
from .._redis.pool_registry import PoolRegistry
from .._redis.recovery import Recovery
from .background import BackgroundServices
from .dispatchers import Dispatchers
from .hooks import HookRunner
from .services.heartbeat_thread import HeartbeatThread
from .services.service import ServiceLoop
from .worker import Worker

logger = logging.getLogger("asyncwork")

# Seconds that each step after the grace period may take.
_STEP_LIMIT = 5.0
# Seconds between two checks whether the last running job has ended.
_CHECK_PERIOD = 0.01


class Shutdown:
    """Stop a pool step by step.

    :param job_names: the jobs that the pool handles.
    :ivar failure: why the shutdown was not clean; empty if it was.
    """

    def __init__(
        self,
        namespace: Namespace,
        pool_id: str,
        *,
        job_names: Collection[str],
        dispatchers: Dispatchers,
        workers: Sequence[Worker],
        services: BackgroundServices,
        heartbeat_thread: HeartbeatThread,
        hooks: HookRunner | None,
    ) -> None:
        self._redis = namespace.redis
        self._recovery = Recovery(namespace)
        self._registry = PoolRegistry(namespace)
        self._pool_id = pool_id
        self._job_names = job_names
        self._dispatchers = dispatchers
        self._workers = workers
        self._services = services
        self._heartbeat_thread = heartbeat_thread
        self._hooks = hooks
        # The records to write of the attempts that were cut off, by queue.
        self._cut_off: dict[str, list[JobEnd]] = {}
        self.failure = ""

    async def finish_jobs(self, grace: float, hurry: asyncio.Event) -> None:
        """Wait until no job or hook is running, for the grace period in seconds, or until ``hurry`` is set."""
        await self._dispatchers.quiet()
        if self._dispatchers.busy:
            logger.info("stopping; waiting for %s", plural(self._dispatchers.busy, "running job"))
        loop = asyncio.get_running_loop()
        deadline = loop.time() + grace
        # Polled, because an event would have to be set by each job on the hot path.
        while self._is_busy() and not hurry.is_set() and loop.time() < deadline:  # noqa: ASYNC110
            await asyncio.sleep(_CHECK_PERIOD)

    def _is_busy(self) -> bool:
        return self._dispatchers.busy > 0 or (self._hooks is not None and self._hooks.running > 0)

    async def cancel_workers(self) -> None:
        """Cancel the workers. The jobs that they still run stay in progress until :meth:`deregister` requeues them."""
        tasks = [worker.task for worker in self._workers if worker.task is not None]
        for task in tasks:
            task.cancel()
        calls = self._dispatchers.cut_off_calls()
        if tasks or calls:
            await asyncio.wait([*tasks, *calls], timeout=_STEP_LIMIT)
        # A job that swallows its cancellation and returns has ended, and is not counted.
        if cancelled := sum(worker.payload is not None for worker in self._workers):
            logger.warning("cancelled %s; they go back to the front of their queues", plural(cancelled, "running job"))
        for worker in self._workers:
            if worker.queue is not None and (attempt := worker.cut_off_attempt()) is not None:
                self._cut_off.setdefault(worker.queue.name, []).append(attempt)
            if worker.task is not None and not worker.task.done():
                logger.error("abandoned %r: it did not end when it was cancelled", worker.job)
        for call in calls:
            if not call.done():
                logger.error("abandoned %s: it did not end when it was cancelled", call.get_name())

    async def write_results(self) -> None:
        """Write to Redis the results that it does not have yet, and close the dispatchers."""
        with suppress(TimeoutError):
            async with asyncio.timeout(_STEP_LIMIT):
                await self._dispatchers.quiet()
                await self._dispatchers.close()
        await self._dispatchers.abort()

    async def stop_service(self, loop: ServiceLoop, task: asyncio.Task[None]) -> None:
        """Let a service finish its pass; cancel it if that takes too long."""
        loop.stop()
        await asyncio.wait([task], timeout=_STEP_LIMIT)
        task.cancel()

    async def deregister(self, *, crashed: bool) -> None:
        """Requeue the jobs that this pool has in progress, delete its keys, and close its connections.

        :param crashed: whether an unexpected error has ended the pool, so that it counts against the running jobs.
        """
        try:
            async with asyncio.timeout(_STEP_LIMIT):
                await self._write_results_elsewhere()
                if crashed:
                    # One of the running jobs may have caused the error, and would end the next pool, too.
                    await self._recovery.record_crash(self._pool_id, self._job_names, None)
                # After a crash, the next attempt adds this one.
                attempts = {} if crashed else self._cut_off
                await _with_retry(lambda: self._recovery.reap(self._pool_id, self._job_names, None, attempts))
                await _with_retry(self._services.observer.delete_written)
                await self._write_metrics()
                # The heartbeat goes on until here, so that no other pool considers this one dead while it requeues.
                await self._heartbeat_thread.stop()
                await _with_retry(
                    lambda: self._registry.forget_pool(self._pool_id, sorted(each.id for each in self._workers))
                )
        except REDIS_ERRORS as error:
            reason = f"{type(error).__name__}: {error}".rstrip(": ")
            self._failed(f"could not deregister from Redis ({reason}): another pool will requeue this one's jobs")
        finally:
            try:
                await self._heartbeat_thread.stop()
            finally:
                await self._redis.close()

    async def _write_results_elsewhere(self) -> None:
        """Write the results that a silent connection has kept back over another, so that no ended job is requeued."""
        try:
            await _with_retry(self._dispatchers.send_pooled)
        finally:
            if unwritten := self._dispatchers.unacknowledged():
                self._failed(f"could not write {plural(unwritten, 'result')} to Redis: these jobs will run again")

    async def _write_metrics(self) -> None:
        """Write the last metrics. A refusal of Redis does not keep the next steps from being taken."""
        try:
            await _with_retry(self._services.metrics_writer.flush)
        except REDIS_ERRORS as error:
            logger.warning("lost the newest metrics (%s: %s)", type(error).__name__, error)

    def _failed(self, reason: str) -> None:
        """Log why this shutdown is not clean, and keep the first reason."""
        logger.error("%s", reason)
        self.failure = self.failure or reason


async def _with_retry(step: Callable[[], Awaitable[object]]) -> None:
    """Take one step, and again if Redis fails it, because there is no later pass to repeat it.

    :raises RedisError, OSError: when the second try fails, too.
    """
    try:
        await step()
    except REDIS_ERRORS:
        await step()
