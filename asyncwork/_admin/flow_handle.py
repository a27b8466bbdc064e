"""The handle of a flow that has been started."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import TYPE_CHECKING

from .._jobs.times import seconds_of
from ..errors import ResultLost
from ..models.actions import ActionResult
from ..models.batches import BatchStatus
from ..models.flows import FlowStatus
from .flow_graph import mermaid

if TYPE_CHECKING:
    from .flow_client import FlowClient


class FlowHandle:
    """A flow that has been started. Its calls open a connection of their own, but all that wait share one.

    :ivar id: its id.
    """

    def __init__(
        self,
        flow_id: str,
        make_client: Callable[[], FlowClient],
        wait_for: Callable[[str, float | None], Awaitable[None]],
    ) -> None:
        self.id: str = flow_id
        self._make_client = make_client
        self._wait_for = wait_for

    async def status(self) -> FlowStatus:
        """Return how far it is.

        :raises ResultLost: when it is not kept any more.
        :raises RedisUnavailable: when Redis refuses or cannot be reached.
        """
        async with self._make_client() as client:
            return await self._status(client)

    async def wait(self, timeout: float | timedelta | None = None) -> FlowStatus:
        """Wait until all of its nodes have ended; return how they have. While Redis is away, it goes on waiting.

        :param timeout: seconds, or a ``timedelta``; ``None`` waits as long as it takes. The flow itself goes on.
        :raises ResultTimeout: when it has not ended in time.
        :raises ResultLost, RedisUnavailable: as :meth:`status`.
        """
        seconds = None if timeout is None else seconds_of(timeout, "timeout")
        async with self._make_client() as client:
            # Read here, too, because a wait may be too short for anything else.
            if await client._has_flow_ended(self.id):
                return await self._status(client)
        await self._wait_for(self.id, seconds)
        return await self.status()

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
