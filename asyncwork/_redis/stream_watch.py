"""Finds out what a stream does not say: that its job has ended without an entry, or has no stream at all.

A job that is cancelled or deleted before it starts writes nothing to its stream. A type without streams never will.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress

from ..errors import NoResultError, UsageError
from .errors import REDIS_ERRORS
from .job_waits import JobWaits
from .namespace import Namespace
from .pool_registry import PoolRegistry

# Seconds after the end of a job within which its reader gets the last entry, if there is one.
_GRACE = 0.2


class StreamWatch:
    """Watches one job beside the reader of its stream, over the connections that all waits share.

    :param on_news: called when the reader is to read once more, without waiting.
    :ivar error: that the job has no stream; ``None`` if that is not known.
    """

    def __init__(self, namespace: Namespace, waits: JobWaits, job_id: str, on_news: Callable[[], None]) -> None:
        self._registry = PoolRegistry(namespace)
        self._waits = waits
        self._job_id = job_id
        self._on_news = on_news
        self._tasks = list[asyncio.Task[None]]()
        self.error: UsageError | None = None

    def start(self, *, check: bool) -> None:
        """Begin.

        :param check: whether the job may have no stream.
        """
        if not self._tasks:
            steps = [self._wait_for_end(), self._check()] if check else [self._wait_for_end()]
            self._tasks = [asyncio.create_task(each, name="asyncwork watching a stream") for each in steps]

    async def stop(self) -> None:
        """End."""
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)

    async def _wait_for_end(self) -> None:
        # The reader finds out by itself that Redis refuses or is away.
        with suppress(NoResultError, UsageError, *REDIS_ERRORS):
            await self._waits.wait(self._job_id, "")
            await asyncio.sleep(_GRACE)
            self._on_news()

    async def _check(self) -> None:
        with suppress(*REDIS_ERRORS):
            found = await self._waits.search.find([self._job_id])
            if self._job_id in found and await self._has_no_streams(name := found[self._job_id].job.name):
                self.error = UsageError(
                    f"{name} jobs have no stream, so there is nothing to read: register {name!r} with "
                    "@pool.job(stream=SECONDS)"
                )
                self._on_news()

    async def _has_no_streams(self, name: str) -> bool:
        """Return whether pools serve a name, and none of them writes streams of its jobs."""
        serving = [each for each in await self._registry.heartbeats() if name in each.job_names]
        # Pools of gocraft/work have none. Those of an older asyncwork do not say whether they have.
        unknown = any(each.runner and each.streams is None for each in serving)
        return bool(serving) and not unknown and not any(name in (each.streams or ()) for each in serving)
