"""The one loop that all background roles share. It alone knows time, jitter and what happens when Redis is away."""

from __future__ import annotations

import asyncio
import random
from contextlib import suppress
from typing import Protocol

from ..._redis.errors import REDIS_ERRORS
from .outage import Outage


class Role(Protocol):
    """Something that is done again and again while a pool runs."""

    @property
    def name(self) -> str:
        """What it is called in the log."""

    async def once(self) -> float:
        """Do one pass; return how many seconds from now the next is due at the latest."""


class Loop:
    """Keeps a role going until it is cancelled.

    :param wakeup: set by others to have the next pass now; an event of its own by default.
    :param jitter: by which share of its delay the next pass may come sooner, so that pools do not act in step.
    """

    def __init__(self, role: Role, *, jitter: float = 0.0, wakeup: asyncio.Event | None = None) -> None:
        self._role = role
        self._jitter = jitter
        self._poked = wakeup or asyncio.Event()
        self._ending = False
        self._outage = Outage(role.name)

    def poke(self) -> None:
        """Have the next pass now."""
        self._poked.set()

    def end(self) -> None:
        """Have :meth:`run` return when the pass under way is over: what it has sent to Redis is done by then."""
        self._ending = True
        self.poke()

    async def run(self) -> None:
        """Run passes until told to end. Redis being away is survived, and so is a defect: both are logged once until a
        pass succeeds, and the next pass comes a little later each time.
        """
        while True:
            self._poked.clear()
            try:
                delay = await self._role.once()
            except REDIS_ERRORS as error:
                delay = self._outage.failed(error)
            except BaseException as defect:
                task = asyncio.current_task()
                cancelled = isinstance(defect, asyncio.CancelledError) and task is not None and task.cancelling()
                if cancelled or isinstance(defect, GeneratorExit):
                    raise
                # What the role stumbled over may be gone by the next pass; the jobs need not know of it. Not even an
                # exit is to end the pool: what the role looks at is made by handlers.
                delay = self._outage.failed(defect, by_defect=True)
            else:
                self._outage.over()
                delay *= 1 - random.random() * self._jitter
            if self._ending:
                return
            with suppress(TimeoutError):
                async with asyncio.timeout(delay):
                    await self._poked.wait()
