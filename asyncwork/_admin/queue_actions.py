"""Pauses, limits, empties and forgets queues."""

from __future__ import annotations

from .._jobs.location import check_location, queue_location
from .._jobs.names import Named, name_of
from .._jobs.option_checks import check_maximum
from .._jobs.printable import shown
from .._redis.deletions import Deletions
from .._redis.namespace import Namespace
from .._redis.pool_registry import PoolRegistry
from .._redis.queue_settings import QueueSettings
from .._redis.undo import UndoStore
from ..errors import UsageError
from ..models.actions import ActionResult
from ..rate import Rate, check_rate
from .arguments import check_arguments


class QueueActions:
    """Changes the queues of a namespace.

    Every method raises RedisError or OSError when Redis refuses or cannot be reached, and UsageError for a name that no
    queue can have. A queue is given by its name or its task.
    """

    def __init__(self, namespace: Namespace) -> None:
        self._settings = QueueSettings(namespace)
        self._deletions = Deletions(namespace)
        self._undo = UndoStore(namespace)
        self._registry = PoolRegistry(namespace)

    async def pause(self, name: str | Named) -> None:
        """Stop all pools from fetching jobs of a queue."""
        name = _checked(name)
        await self._settings.pause(name)

    async def unpause(self, name: str | Named) -> None:
        """Let pools fetch jobs of a queue again."""
        name = _checked(name)
        await self._settings.unpause(name)

    async def set_max_concurrency(self, name: str | Named, cap: int) -> None:
        """Set how many jobs of a name may run at once over all pools; 0 for any number.

        :raises UsageError: also when ``cap`` is negative or too large.
        """
        name = _checked(name)
        check_maximum(cap, "max_concurrency")
        await self._settings.set_max_concurrency(name, cap)

    async def set_max_waiting(self, name: str | Named, limit: int | None) -> None:
        """Set how many jobs may wait in a queue; 0 for any number, ``None`` for what enqueuers have.

        :raises UsageError: also when ``limit`` is negative or too large.
        """
        name = _checked(name)
        if limit is not None:
            check_maximum(limit, "max_waiting")
        await self._settings.set_max_waiting(name, limit)

    async def set_rate(self, name: str | Named, rate: Rate | None) -> None:
        """Set the rate of a queue, whatever the code says; ``None`` for any number of jobs.

        :raises UsageError: also when ``rate`` is not a rate.
        """
        name = _checked(name)
        check_rate(rate)
        await self._settings.set_rate(name, rate)

    async def reset_rate(self, name: str | Named) -> None:
        """Return to the rate of the code."""
        await self._settings.reset_rate(_checked(name))

    async def empty(self, name: str | Named, who: str) -> ActionResult:
        """Delete all jobs that wait in a queue and free their unique keys, so that it can be undone."""
        name = _checked(name)
        check_arguments(who=who)
        undo = await self._undo.prepare(queue_location(name), who)
        count = await self._deletions.empty_queue(name, undo)
        return ActionResult(count, count, undo=undo if count else "")

    async def forget(self, name: str | Named) -> None:
        """Remove a job name from the registered names, its pause and its concurrency limit.

        :raises UsageError: also when jobs of that name wait or run, or a registered pool has a handler for it.
        """
        name = _checked(name)
        serving = [each.host for each in await self._registry.heartbeats() if name in each.job_names]
        if serving:
            raise UsageError(f"{shown(name)} cannot be forgotten: a pool on {serving[0]} has a handler for it")
        if not await self._settings.forget(name):
            raise UsageError(f"{shown(name)} cannot be forgotten: jobs of that name wait or run")


def _checked(queue: str | Named) -> str:
    """Return the name of a queue.

    :raises UsageError: when no queue can have it.
    """
    name = name_of(queue)
    check_location(queue_location(name))
    return name
