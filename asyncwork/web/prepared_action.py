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


def named(parameter: str, act: Callable[[Client, str, str], Awaitable[int | None]]) -> Prepare:
    """Return what prepares an action on that which one parameter names.

    :param act: does the action, given the client, the value of the parameter, and the user's name; returns a number of
        jobs, or nothing.
    """

    def prepare(client: Client, params: Params, seconds: float | None, user: str) -> PreparedAction:
        value = params.required(parameter)
        return PreparedAction({parameter: value}, counted(act(client, value, user)))

    return prepare
