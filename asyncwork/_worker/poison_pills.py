"""Jobs that were running when a process died: one of them may have killed it.

A crash makes suspects of all that ran. Those that ran in two are put on trial: a pool runs one of them at a time, no
other suspect beside it, and accuses it. Should the process die once more, that one is blamed, unless something ran
beside it that nobody suspected: then it is let off, once, and the others are suspects, too. So the innocent come to
their end, and the culprits are left.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from .._jobs.calling import Call
from .._redis.keys import Queue
from .._redis.work_queue import Accuse, Acquit, Claim, Order
from ..job import Job
from .dispatcher import Dispatcher

# From so many crashes on a job is accused.
_ACCUSED_FROM = 2


class CrashedError(Exception):
    """A job that was running each time when its process died, as often as is allowed."""


class JobTakenError(Exception):
    """A job that had to wait before it could begin, and was taken by another pool meanwhile."""


class PoisonPills:
    """How a pool runs the jobs that are suspected.

    :param ending: tells whether the workers are to end, so that a job that is cancelled is cut off.
    """

    def __init__(self, dispatcher: Dispatcher, ending: Callable[[], bool]) -> None:
        self._dispatcher = dispatcher
        self._ending = ending
        self._trial = asyncio.Lock()
        # How many suspects run that are not on trial.
        self._at_large = 0
        self._none_at_large = asyncio.Event()
        self._none_at_large.set()

    def wrap(self, call: Call, queue: Queue, payload: bytes, crashes: int, limit: int) -> Call:
        """Return what runs a suspected job.

        :param crashes: how many times it was running when its process died.
        :param limit: from how many on it is not run any more; 0 for never.
        """

        async def run(context: Any, job: Job) -> None:
            if limit and crashes >= limit:
                self._acquit(queue, payload)
                raise CrashedError(f"it was running each time when its process died, {crashes} times")
            if crashes < _ACCUSED_FROM:
                async with self._outside_of_trials() as waited:
                    if waited:
                        await self._confirm_ours(Claim(queue, [payload]), [])
                    try:
                        await call(context, job)
                    except BaseException:
                        if not self._ending():
                            self._acquit(queue, payload)
                        raise
                    self._acquit(queue, payload)
                return
            async with self._trial:
                await self._none_at_large.wait()
                await self._confirm_ours(Accuse(queue, [payload]), 1)
                try:
                    await call(context, job)
                except Exception:
                    await self._dispatcher.confirm(Acquit(queue, [payload]))
                    raise
                except BaseException:
                    # Whoever raises this may not wait any more.
                    if not self._ending():
                        self._acquit(queue, payload)
                    raise
                # Before the next one is accused.
                await self._dispatcher.confirm(Acquit(queue, [payload]))

        return run

    @asynccontextmanager
    async def _outside_of_trials(self) -> AsyncIterator[bool]:
        """Begin while there is no trial, and have the next trial wait for the end; tell whether this had to wait."""
        waited = self._trial.locked()
        async with self._trial:
            self._at_large += 1
            self._none_at_large.clear()
        try:
            yield waited
        finally:
            self._at_large -= 1
            if not self._at_large:
                self._none_at_large.set()

    async def _confirm_ours(self, order: Order, expected: object) -> None:
        """Let a job that had to wait begin only if Redis says, in time, that it is still this pool's.

        :param expected: what Redis answers then.
        :raises JobTakenError: when it is not.
        """
        in_time = False
        while not in_time:
            answer, in_time = await self._dispatcher.confirm_in_time(order)
            if answer != expected:
                raise JobTakenError

    def _acquit(self, queue: Queue, payload: bytes) -> None:
        self._dispatcher.put(Acquit(queue, [payload]))
