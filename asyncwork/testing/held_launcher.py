"""Runs a pool of a test, which holds its jobs back: it takes them only while it is drained."""

from __future__ import annotations

from typing import Any

from .._worker.launcher import Launcher
from ..job import Job


class HeldLauncher(Launcher):
    """Runs a pool that takes no job except during :meth:`drain`, until it is released. It obeys no rates.

    :param launcher_args: see :class:`Launcher`.
    :param is_released: whether it takes jobs from the start.
    """

    def __init__(self, *launcher_args: Any, is_released: bool) -> None:
        super().__init__(*launcher_args)
        self._is_released = is_released
        self._drains = 0
        # A test waits for nothing but its jobs.
        self._services.rate_reader.ignore()
        self._dispatcher.waits_for_rests = False
        if not is_released:
            self._dispatchers.stop()

    def _now_in_redis(self) -> float:
        """Return the time by the clock of the test, which is ahead of the clock of Redis."""
        return self._clock()

    def release(self) -> None:
        """Take jobs from now on."""
        if not self._is_released:
            self._is_released = True
            self._resume()

    def _resume(self) -> None:
        takes_jobs = self._is_released or self._drains
        if takes_jobs and not (self.state.is_quiet or self.state.stop_requested):
            super()._resume()

    async def drain(self) -> None:
        """Take jobs until the queues are empty; see :meth:`Launcher.drain`."""
        if self._is_released:
            await super().drain()
            return
        self._drains += 1
        self._resume()
        try:
            await super().drain()
        finally:
            self._drains -= 1
            if not self._drains and not self._is_released:
                await self._dispatchers.quiet()
        # A blocking pop may have taken a job at the last moment, which is then requeued.
        await self._dispatchers.until_idle()


def cause_of(launcher: Launcher | None, job: Job, error: BaseException) -> BaseException:
    """Return the error with which an attempt ends: a timeout or a cancellation in place of what it has caused.

    :param launcher: runs the job.
    :param error: what the handler raised.
    """
    workers = () if launcher is None else launcher.all_workers
    interruption = next((each.interruption for each in workers if each.job is job), None)
    return error if interruption is None else interruption.replaces(error) or error
