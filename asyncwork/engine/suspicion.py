"""Jobs that were running when a process died: one of them may have killed it.

The first crash makes suspects of all that ran, the second of those that ran in both. From then on a pool runs one
suspect at a time, and accuses it: should the process die once more, that one alone is blamed. So the innocent come to
their end, and the culprit is left.
"""

from __future__ import annotations

import asyncio
from typing import Any

from ..handler import Call
from ..job import Job
from ..store.floor import Accuse, Acquit
from ..store.keys import Queue
from .dispatcher import Dispatcher

# From so many crashes on a job is accused.
_ACCUSED_FROM = 2


class CrashedError(Exception):
    """A job that was running each time when its process died, as often as is allowed."""


class Suspicion:
    """How a pool runs the jobs that are suspected."""

    def __init__(self, dispatcher: Dispatcher) -> None:
        self._dispatcher = dispatcher
        self._trial = asyncio.Lock()

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
                try:
                    await call(context, job)
                except Exception:
                    self._acquit(queue, payload)
                    raise
                self._acquit(queue, payload)
                return
            async with self._trial:
                await self._dispatcher.confirm(Accuse(queue, [payload]))
                try:
                    await call(context, job)
                except Exception:
                    await self._dispatcher.confirm(Acquit(queue, [payload]))
                    raise
                # Before the next one is accused.
                await self._dispatcher.confirm(Acquit(queue, [payload]))

        return run

    def _acquit(self, queue: Queue, payload: bytes) -> None:
        self._dispatcher.put(Acquit(queue, [payload]))
