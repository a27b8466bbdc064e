"""Actions on periodic jobs."""

from __future__ import annotations

from collections.abc import Awaitable
from dataclasses import dataclass
from typing import Any

from ..client import Client
from ..models.actions import ActionResult
from .params import Params
from .periodic_input import read_arguments
from .prepared_action import Prepare, PreparedAction, counted, named


@dataclass(frozen=True, slots=True)
class PeriodicResult(ActionResult):
    """The result of an action on a periodic job.

    :ivar key: the key of the periodic job.
    :ivar job_id: the job that was enqueued; empty if none was.
    """

    key: str = ""
    job_id: str = ""


def _run(client: Client, params: Params, seconds: float | None, user: str) -> PreparedAction:
    key = params.required("key")

    async def run() -> ActionResult:
        return PeriodicResult(1, 1, key=key, job_id=await client.run_periodic(key, who=user))

    return PreparedAction({"key": key}, run())


def _add(client: Client, params: Params, seconds: float | None, user: str) -> PreparedAction:
    spec, name, tz = params.required("spec").strip(), params.required("name"), params.text("tz").strip()
    args = read_arguments(params)

    async def add() -> ActionResult:
        return PeriodicResult(1, 1, key=await client.add_periodic(spec, name, args, tz=tz or None, who=user))

    # Arguments may hold secrets, so that the log does not have them.
    details: dict[str, object] = {"spec": spec, "name": name, "tz": tz or "-"}
    return PreparedAction(details, add())


def _edit(client: Client, params: Params, seconds: float | None, user: str) -> PreparedAction:
    key, spec, tz = params.required("key"), params.text("spec").strip() or None, params.text("tz").strip()
    # Empty arguments remove those in force, and missing ones keep them.
    arguments = (read_arguments(params) or {}) if "args" in params else None
    zone: dict[str, Any] = {"tz": tz or None} if "tz" in params else {}
    edited: Awaitable[None] = client.edit_periodic(key, spec=spec, arguments=arguments, who=user, **zone)
    changes = {"spec": spec, "tz": (tz or "-") if zone else None, "args": "new" if arguments is not None else None}
    details: dict[str, object] = {"key": key, **{name: value for name, value in changes.items() if value is not None}}
    return PreparedAction(details, counted(edited))


# By path: the action as `authorize` gets it, which is the client's method.
PREPARED: dict[str, tuple[str, Prepare]] = {
    "/api/periodic/pause": (
        "pause_periodic",
        named("key", lambda client, key, user: client.pause_periodic(key, who=user)),
    ),
    "/api/periodic/unpause": (
        "unpause_periodic",
        named("key", lambda client, key, user: client.unpause_periodic(key, who=user)),
    ),
    "/api/periodic/run": ("run_periodic", _run),
    "/api/periodic/add": ("add_periodic", _add),
    "/api/periodic/edit": ("edit_periodic", _edit),
    "/api/periodic/reset": (
        "reset_periodic",
        named("key", lambda client, key, user: client.reset_periodic(key, who=user)),
    ),
    "/api/periodic/remove": (
        "remove_periodic",
        named("key", lambda client, key, user: client.remove_periodic(key, who=user)),
    ),
}
# The actions, in the order in which pages offer them.
PERIODIC_ACTIONS = tuple(action for action, _ in PREPARED.values())
