"""Actions on shared limits."""

from __future__ import annotations

from ..client import Client
from ..rate import Rate
from .params import Params
from .prepared_action import Prepare, PreparedAction, counted


def _set(client: Client, params: Params, seconds: float | None, user: str) -> PreparedAction:
    name, text = params.required("limit"), params.required("rate").strip()
    details: dict[str, object] = {"limit": name, "rate": text}
    if text == "code":
        return PreparedAction(details, counted(client.reset_limit(name)))
    most = params.maximum("concurrency", "the maximum number of jobs and slots at once, or 0 for no limit")
    rate = None if text == "none" else Rate.parse(text)
    details["concurrency"] = most
    return PreparedAction(details, counted(client.set_limit(name, rate=rate, concurrency=most)))


# By path, the permission that the action needs, and what prepares it.
PREPARED: dict[str, tuple[str, Prepare]] = {"/api/limits/set": ("rate", _set)}
