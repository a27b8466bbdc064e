"""The timeout of a job that runs in place, in a task that goes on after it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Any

from .._worker.interruption import Interruption, TimeLimit
from ..job import Job


class _BorrowedTask:
    """The task of the code that has enqueued the job, as what an interruption cancels."""

    def __init__(self, task: asyncio.Task[Any]) -> None:
        self._task = task
        self.was_cancelled = False
        self._requests = 0

    def get_coro(self) -> object:
        return self._task.get_coro()

    def interrupt(self) -> None:
        self._requests += 1
        self._task.cancel()

    def take_back(self) -> bool:
        """Take back what :meth:`interrupt` has requested; return whether the task is to end all the same."""
        for _ in range(self._requests):
            self._task.uncancel()
        return self._task.cancelling() > 0


class _BorrowedWorker:
    """A stand-in for a worker, which runs one job."""

    def __init__(self, task: _BorrowedTask, overdue_in: float) -> None:
        self._task = task
        self._overdue_in = overdue_in
        self.interruption: Interruption | None = None

    def interrupt(self, job: Job, cause: BaseException) -> bool:
        """End the attempt of the job; see :meth:`Worker.interrupt`."""
        self.interruption = Interruption(job, self._task, cause, self._overdue_in)
        return True


async def run_within(seconds: float, suspended: Awaitable[object], job: Job, overdue_in: float) -> None:
    """Run a job that has started to its end, and interrupt it when its time is over.

    :param seconds: its timeout.
    :param overdue_in: seconds after which a job that was to end is overdue.
    :raises JobTimeoutError: when its time was over.
    :raises BaseException: what the handler raises.
    """
    current = asyncio.current_task()
    assert current is not None
    task = _BorrowedTask(current)
    worker = _BorrowedWorker(task, overdue_in)
    try:
        await TimeLimit(worker, job, seconds).within(suspended)
    except BaseException as error:
        if (interruption := worker.interruption) is None:
            raise
        interruption.end()
        if task.take_back() and isinstance(error, asyncio.CancelledError):
            raise
        raise interruption.error_of(error) from None
    if worker.interruption is not None:
        worker.interruption.end(returned=True)
        task.take_back()
