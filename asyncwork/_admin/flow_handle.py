"""The handle of a flow that has been started."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING

from .._jobs.times import seconds_of
from ..errors import ResultLost, ResultTimeout
from ..models.actions import ActionResult
from ..models.batches import BatchStatus
from ..models.flows import FlowStatus
from .flow_graph import mermaid

if TYPE_CHECKING:
    from .flow_client import FlowClient

# Seconds between two readings of a flow that is waited for, at first and at most.
_FIRST_READING, _LAST_READING = 0.01, 0.5


class FlowHandle:
    """A flow that has been started. Its calls open a connection of their own.

    :ivar id: its id.
    """

    def __init__(self, flow_id: str, make_client: Callable[[], FlowClient]) -> None:
        self.id: str = flow_id
        self._make_client = make_client

    async def status(self) -> FlowStatus:
        """Return how far it is.

        :raises ResultLost: when it is not kept any more.
        :raises RedisUnavailable: when Redis refuses or cannot be reached.
        """
        async with self._make_client() as client:
            return await self._status(client)

    async def wait(self, timeout: float | timedelta | None = None) -> FlowStatus:
        """Wait until all of its nodes have ended; return how they have.

        :param timeout: seconds, or a ``timedelta``; ``None`` waits as long as it takes. The flow itself goes on.
        :raises ResultTimeout: when it has not ended in time.
        :raises ResultLost, RedisUnavailable: as :meth:`status`.
        """
        seconds = math.inf if timeout is None else seconds_of(timeout, "timeout")
        # Between two commands, because a command that is cut off costs its connection.
        until, delay = time.monotonic() + seconds, _FIRST_READING
        async with self._make_client() as client:
            while not await client._has_flow_ended(self.id):
                if (left := until - time.monotonic()) <= 0:
                    raise ResultTimeout(f"flow {self.id} has not ended within {seconds:g} s")
                await asyncio.sleep(min(delay, left))
                delay = min(1.5 * delay, _LAST_READING)
            return await self._status(client)

    async def cancel(self, reason: str = "", *, who: str = "") -> BatchStatus | None:
        """Cancel its nodes that have not ended, as :meth:`Client.cancel_batch` does.

        :raises UsageError, RedisUnavailable: as there.
        """
        async with self._make_client() as client:
            return await client.cancel_batch(self.id, reason, who=who)

    async def retry(self) -> ActionResult:
        """Run its dead nodes again, as :meth:`Client.retry_batch` does. Those that were cancelled because of them wait
        for them again.

        :raises RedisUnavailable: when Redis refuses or cannot be reached.
        """
        async with self._make_client() as client:
            return await client.retry_batch(self.id)

    async def graph(self) -> str:
        """Return a picture of it with the state of each group of nodes, as text for Mermaid.

        :raises ResultLost, RedisUnavailable: as :meth:`status`.
        """
        return mermaid(await self.status())

    async def _status(self, client: FlowClient) -> FlowStatus:
        status = await client.flow(self.id)
        if status is None:
            raise ResultLost(f"flow {self.id} is not kept any more")
        return status

    def __repr__(self) -> str:
        return f"<FlowHandle {self.id}>"
