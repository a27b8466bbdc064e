"""Actions whose parameters are validated, and that have not started yet."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import NamedTuple

from ..client import Client
from ..models.actions import ActionResult
from .params import Params


class PreparedAction(NamedTuple):
    """An action with validated parameters that has not started yet.

    :ivar details: its parameters, for the log.
    :ivar outcome: does the action when it is awaited.
    """

    details: dict[str, object]
    outcome: Awaitable[ActionResult]


# Given the parameters, the time limit in seconds (None for no limit), and the user's name.
Prepare = Callable[[Client, Params, float | None, str], PreparedAction]


async def counted(outcome: Awaitable[int | None]) -> ActionResult:
    """Return the outcome of a client method that returns a number of jobs, or nothing."""
    done = await outcome
    return ActionResult(1 if done is None else int(done), 1)
