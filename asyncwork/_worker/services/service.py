"""The loop that runs each background service. It alone handles time, jitter and outages of Redis."""

from __future__ import annotations

import asyncio
import random
from contextlib import suppress
from typing import Protocol

from ..._redis.errors import REDIS_ERRORS
from .outage import Outage


class Service(Protocol):
    """Work that a pool repeats as long as it runs."""

    @property
    def name(self) -> str:
        """The name of the service in the log."""

    async def run_once(self) -> float:
        """Do one pass; return the seconds after which the next pass is due at the latest."""


class ServiceLoop:
    """Runs a service again and again until the loop is stopped or cancelled.

    :param wakeup: set by others so that the next pass comes now; an event of its own by default.
    :param jitter: the share of its delay by which a pass may come early, so that pools do not act in step.
    """

    def __init__(self, service: Service, *, jitter: float = 0.0, wakeup: asyncio.Event | None = None) -> None:
        self._service = service
        self._jitter = jitter
        self._wakeup = wakeup or asyncio.Event()
        self._stopping = False
        self._outage = Outage(service.name)

    def wake(self) -> None:
        """Start the next pass now."""
        self._wakeup.set()

    def stop(self) -> None:
        """Make :meth:`run` return after the current pass, so that Redis has processed everything that the pass sent."""
        self._stopping = True
        self.wake()

    async def run(self) -> None:
        """Run passes until stopped. A Redis error or an unexpected error does not end the loop: it is logged once until
        a pass succeeds, and each next pass is delayed a little longer.
        """
        while True:
            self._wakeup.clear()
            try:
                delay = await self._service.run_once()
            except REDIS_ERRORS as error:
                delay = self._outage.failed(error)
            except BaseException as error:
                task = asyncio.current_task()
                cancelled = isinstance(error, asyncio.CancelledError) and task is not None and task.cancelling()
                if cancelled or isinstance(error, GeneratorExit):
                    raise
                # The cause may be gone by the next pass, and the jobs are not affected. Not even SystemExit may end the
                # pool, because services read objects that handlers have made.
                delay = self._outage.failed(error, unexpected=True)
            else:
                self._outage.over()
                delay *= 1 - random.random() * self._jitter
            if self._stopping:
                return
            with suppress(TimeoutError):
                async with asyncio.timeout(delay):
                    await self._wakeup.wait()
