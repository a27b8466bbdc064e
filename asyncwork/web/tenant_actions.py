"""Actions on the tenants of fair queues."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Literal

from .._environment import number
from ..client import Client
from ..errors import UsageError
from ..rate import Rate
from .formatting import quoted
from .params import Params
from .prepared_action import Prepare, PreparedAction, counted


def _tenant(params: Params) -> tuple[str, str, dict[str, object]]:
    """Return the queue and the tenant, whose name may be empty, and both for the log."""
    queue = params.required("queue")
    if "partition" not in params:
        raise UsageError("partition is required: the name of the tenant, empty for the jobs without one")
    partition = params.text("partition")
    return queue, partition, {"queue": queue, "partition": partition}


def _named(act: Callable[[Client, str, str], Awaitable[None]]) -> Prepare:
    def prepare(client: Client, params: Params, seconds: float | None, user: str) -> PreparedAction:
        queue, partition, details = _tenant(params)
        return PreparedAction(details, counted(act(client, queue, partition)))

    return prepare


def _set(client: Client, params: Params, seconds: float | None, user: str) -> PreparedAction:
    queue, partition, details = _tenant(params)
    limit, weight, rate = _limit(params), _weight(params), _rate(params)
    if limit is None and weight is None and rate is None:
        raise UsageError("give concurrency, weight, rate, or some of them")
    given = (("concurrency", limit), ("weight", weight), ("rate", None if rate is None else str(rate)))
    details |= {name: value for name, value in given if value is not None}
    setting = client.set_partition(queue, partition, concurrency=limit, weight=weight, rate=rate)
    return PreparedAction(details, counted(setting))


def _rate(params: Params) -> Rate | Literal["default", "none"] | None:
    text = params.text("rate").strip()
    if not text:
        return None
    match text:
        case "default" | "none":
            return text
    return Rate.parse(text)


def _limit(params: Params) -> int | Literal["default"] | None:
    text = params.text("concurrency").strip()
    if not text:
        return None
    if text == "default":
        return "default"
    return params.maximum("concurrency", "the maximum number of running jobs, 0 for no limit, or default")


def _weight(params: Params) -> float | None:
    text = params.text("weight").strip()
    if not text:
        return None
    try:
        return number(text, float, "a number")
    except UsageError:
        raise UsageError(f"weight must be a number from 0.01 to 100, not {quoted(text)}") from None


# By path, the permission that the action needs, and what prepares it.
PREPARED: dict[str, tuple[str, Prepare]] = {
    "/api/tenants/pause": ("pause_tenant", _named(lambda client, queue, tenant: client.pause_partition(queue, tenant))),
    "/api/tenants/unpause": (
        "unpause_tenant",
        _named(lambda client, queue, tenant: client.unpause_partition(queue, tenant)),
    ),
    "/api/tenants/set": ("set_tenant", _set),
}
