"""The steps of one attempt that are under way, in whichever tasks. The attempt ends when they have ended.

A step that goes on while its attempt ends would have its effect, and no record of it, so the next attempt would run it
again. This happens where steps run side by side and one of them fails: ``asyncio.gather`` lets the others go on.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from .attempt import Attempt, attempt_of

if TYPE_CHECKING:
    from ..job import Job


class ActiveSteps:
    """The steps of an attempt that are under way.

    :ivar closing: whether the handler has ended, so that no more steps begin.
    """

    def __init__(self, job: Job) -> None:
        self._job = job
        self._tasks = Counter[asyncio.Task[object] | None]()
        # The steps that run in threads, by the task that waits for each.
        self._in_threads: dict[asyncio.Task[object] | None, Attempt] = {}
        self._none = asyncio.Event()
        self._none.set()
        self.closing: bool = False

    def __bool__(self) -> bool:
        return not self._none.is_set()

    async def wait(self) -> None:
        """Wait until no step is under way, nor begins in the turn in which the last one ends."""
        while self:
            await self._none.wait()
            await asyncio.sleep(0)

    @contextmanager
    def one(self) -> Iterator[None]:
        """Keep the attempt from ending meanwhile."""
        task = asyncio.current_task()
        self._tasks[task] += 1
        self._none.clear()
        try:
            yield
        finally:
            self._tasks[task] -= 1
            if not self._tasks[task]:
                del self._tasks[task]
            if not self._tasks:
                self._none.set()
            elif self.closing and attempt_of(self._job).interrupted:
                self._interrupt()

    @contextmanager
    def in_thread(self, attempt: Attempt) -> Iterator[None]:
        """Note that a plain function runs in a thread meanwhile. It cannot be cancelled: its attempt interrupts it."""
        task = asyncio.current_task()
        self._in_threads[task] = attempt
        try:
            yield
        finally:
            del self._in_threads[task]

    async def finish(self, *, cancel: bool = False) -> None:
        """Let no more steps begin, because the handler has ended, and wait for those that are under way.

        :param cancel: whether to cancel these, because the handler was cancelled.
        :raises CancelledError: when the attempt is ended from outside meanwhile, and with it those that run as
            coroutines.
        """
        self.closing = True
        if not self:
            return
        if cancel or attempt_of(self._job).interrupted:
            self._interrupt()
        cancelled: asyncio.CancelledError | None = None
        while self:
            try:
                await self._none.wait()
            except asyncio.CancelledError as error:
                if cancelled is not None:
                    raise
                cancelled = error
                self._interrupt()
        if cancelled is not None:
            raise cancelled

    def _interrupt(self) -> None:
        # A stop of the pool waits for no thread, and cancels what waits for it.
        spared = self._in_threads if attempt_of(self._job).interrupted else {}
        for attempt in spared.values():
            attempt.interrupt()
        for task in [*self._tasks]:
            if task is not None and task not in spared and not task.cancelling():
                task.cancel()
