"""Pages about batches."""

from __future__ import annotations

from ..errors import UsageError
from ..models.batches import BatchStatus
from .flow_pages import find_flow, graph_of
from .labels import action_label
from .render import PageContent, PageRequest

# Failed members on one page.
_FAILURES = 20

_CONFIRMATION = "The {} that wait are {}, and those that run are cancelled. No more can be added. You cannot undo this."


async def batches(page: PageRequest) -> PageContent:
    """Show the batches."""
    found = await page.client.batches(page.params.page(), per_page=page.params.per_page())
    return PageContent("batches.html", "/batches", "Batches", {"found": found})


async def batch(page: PageRequest) -> PageContent:
    """Show one batch, with the members that have failed; a flow with its graph."""
    found = await _find(page)
    if found is None:
        text = "It never was, or it has ended so long ago that it is not kept any more."
        return PageContent("batch_gone.html", "/batch", "Batch not found", {"text": text}, status=404)
    failures = await page.client.batch_failures(found.id, page.params.page(), per_page=_FAILURES)
    flow = await find_flow(page.client, found.id) if found.is_flow else None
    title = found.name or f"{_kind(found)} {found.id}"
    values = {"batch": found, "failures": failures, "graph": None if flow is None else await graph_of(flow)}
    return PageContent("batch.html", "/batch", title, values)


async def confirm_batch(page: PageRequest, action: str) -> PageContent:
    """Ask for confirmation before the members of a batch are cancelled."""
    batch_id = page.params.required("id")
    found = await _find(page)
    is_flow = found is not None and found.is_flow
    label = "Cancel the flow" if is_flow else action_label(action)
    values: dict[str, object] = {
        "action": action,
        "job_query": None,
        "count": None if found is None else found.left,
        "cursor": "",
        "endpoint": "/api/batches/cancel",
        "params": {"id": batch_id},
        "up": "/batch",
        "up_params": {"id": batch_id},
        "label": label,
        "sliced": False,
        "text": _CONFIRMATION.format(*(("nodes", "cancelled") if is_flow else ("members", "deleted"))),
    }
    name = batch_id if found is None or not found.name else found.name
    return PageContent("confirm.html", "/confirm", f"{label} {name}?", values)


def _kind(batch: BatchStatus) -> str:
    return "Flow" if batch.is_flow else "Batch"


async def _find(page: PageRequest) -> BatchStatus | None:
    try:
        return await page.client.batch(page.params.required("id"))
    except UsageError:
        if "id" not in page.params:
            raise
        return None
