"""The jobs of a test, for tests without an event loop."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING

from .._jobs.names import Named
from ..errors import UsageError
from .records import DRAIN_LIMIT, JobRun

if TYPE_CHECKING:
    from .jobs import Jobs


class SyncJobs:
    """The methods of :class:`Jobs` that wait, as blocking calls for tests without an event loop."""

    def __init__(self, jobs: Jobs) -> None:
        self._jobs = jobs

    def drain(
        self, task: str | Named | None = None, /, *, raise_first: bool = False, timeout: float | timedelta = DRAIN_LIMIT
    ) -> list[JobRun]:
        """Run the pool until its queues are empty, as :meth:`Jobs.drain` does, in an event loop of another thread.

        :raises UsageError: when the name is not valid, or the pool runs in the event loop of this thread, which would
            wait for itself.
        :raises TimeoutError, HandlerError, RedisUnavailable: as there.
        """
        running = self._jobs.pool._task if self._jobs.pool._is_running else None
        if running is not None and running.get_loop() is _loop_of_this_thread():
            raise UsageError(
                "the pool runs in this event loop, which jobs.sync.drain() would block: await jobs.drain()"
            )
        return self._jobs._background.run(self._jobs.drain(task, raise_first=raise_first, timeout=timeout))


def _loop_of_this_thread() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None
