"""Actions on batches."""

from __future__ import annotations

from dataclasses import dataclass

from ..client import Client
from ..models.actions import ActionResult
from .params import Params
from .prepared_action import Prepare, PreparedAction


@dataclass(frozen=True, slots=True)
class BatchResult(ActionResult):
    """The result of an action on a batch.

    :ivar id: the id of the batch.
    """

    id: str = ""


def _cancel(client: Client, params: Params, seconds: float | None, user: str) -> PreparedAction:
    batch_id = params.required("id")

    async def cancel() -> ActionResult:
        before = await client.batch(batch_id)
        now = await client.cancel_batch(batch_id, who=user)
        done = now.cancelled - before.cancelled if before is not None and now is not None else 0
        return BatchResult(done, 0 if before is None else before.left, id=batch_id)

    return PreparedAction({"id": batch_id}, cancel())


def _retry(client: Client, params: Params, seconds: float | None, user: str) -> PreparedAction:
    batch_id = params.required("id")

    async def retry() -> ActionResult:
        result = await client.retry_batch(batch_id)
        return BatchResult(result.done, result.looked, id=batch_id)

    return PreparedAction({"id": batch_id}, retry())


# By path: the action as `authorize` gets it, which is the client's method.
PREPARED: dict[str, tuple[str, Prepare]] = {
    "/api/batches/cancel": ("cancel_batch", _cancel),
    "/api/batches/retry": ("retry_batch", _retry),
}
# The actions, in the order in which pages offer them.
BATCH_ACTIONS = tuple(action for action, _ in PREPARED.values())
