"""Pages about batches."""

from __future__ import annotations

from ..errors import UsageError
from ..models.batches import BatchStatus
from .labels import action_label
from .render import PageContent, PageRequest

# Failed members on one page.
_FAILURES = 20

_CONFIRMATION = (
    "The members that wait are deleted, and those that run are cancelled. No more can be added. You cannot undo this."
)


async def batches(page: PageRequest) -> PageContent:
    """Show the batches."""
    found = await page.client.batches(page.params.page(), per_page=page.params.per_page())
    return PageContent("batches.html", "/batches", "Batches", {"found": found})


async def batch(page: PageRequest) -> PageContent:
    """Show one batch, with the members that have failed."""
    found = await _find(page)
    if found is None:
        text = "It never was, or it has ended so long ago that it is not kept any more."
        return PageContent("batch_gone.html", "/batch", "Batch not found", {"text": text}, status=404)
    failures = await page.client.batch_failures(found.id, page.params.page(), per_page=_FAILURES)
    title = found.name or f"Batch {found.id}"
    return PageContent("batch.html", "/batch", title, {"batch": found, "failures": failures})


async def confirm_batch(page: PageRequest, action: str) -> PageContent:
    """Ask for confirmation before the members of a batch are cancelled."""
    batch_id = page.params.required("id")
    found = await _find(page)
    values: dict[str, object] = {
        "action": action,
        "job_query": None,
        "count": None if found is None else found.left,
        "cursor": "",
        "endpoint": "/api/batches/cancel",
        "params": {"id": batch_id},
        "up": "/batch",
        "up_params": {"id": batch_id},
        "label": action_label(action),
        "sliced": False,
        "text": _CONFIRMATION,
    }
    name = batch_id if found is None or not found.name else found.name
    return PageContent("confirm.html", "/confirm", f"{action_label(action)} {name}?", values)


async def _find(page: PageRequest) -> BatchStatus | None:
    try:
        return await page.client.batch(page.params.required("id"))
    except UsageError:
        if "id" not in page.params:
            raise
        return None
