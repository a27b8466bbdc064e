"""Shows flows, for the client."""

from __future__ import annotations

from .._jobs.membership import check_flow_id
from .._jobs.option_checks import check_whole
from .._jobs.printable import shown
from ..errors import UsageError
from ..models.flows import FlowNodes, FlowStatus, NodeState
from .batch_client import BatchClient
from .flows import FlowReader
from .redaction import Redact


class FlowClient(BatchClient):
    """Shows flows."""

    def __init__(self, url: str | None, namespace: str | None, redact: Redact | None) -> None:
        super().__init__(url, namespace, redact)
        self._flows = FlowReader(self._in_redis)

    async def flow(self, flow_id: str) -> FlowStatus | None:
        """Return a flow; ``None`` if there is none with this id, or it is not kept any more: it is kept as a batch is.

        :meth:`cancel_batch` and :meth:`retry_batch` act on flows, too, and :meth:`batches` lists them.

        :raises UsageError: when no flow can have this id.
        """
        check_flow_id(flow_id)
        with self._redis_errors():
            return await self._flows.read(flow_id)

    async def flow_nodes(
        self, flow_id: str, first: int, page: int = 1, *, per_page: int = 20, state: NodeState | str | None = None
    ) -> FlowNodes:
        """Return a page of the nodes that one ``add`` or ``add_many`` has added to a flow.

        :param first: the number of the first of them, :attr:`NodeGroup.first`.
        :param page: pages start at 1, and have up to 200 nodes.
        :param state: only nodes in this state; ``None`` for all.
        :raises UsageError: when no flow can have this id, or another value is not valid.
        """
        check_flow_id(flow_id)
        check_whole(first, "first", 0)
        try:
            wanted = None if state is None else NodeState(state)
        except ValueError:
            states = ", ".join(each.value for each in NodeState)
            raise UsageError(f"state must be one of {states}, not {shown(state)}") from None
        with self._redis_errors():
            return await self._flows.nodes(flow_id, first, page, per_page, wanted)

    async def _has_flow_ended(self, flow_id: str) -> bool:
        """Return whether a flow has ended, or is gone."""
        with self._redis_errors():
            return await self._flows.has_ended(flow_id)
