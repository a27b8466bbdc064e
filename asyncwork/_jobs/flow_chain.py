"""Chains: flows whose nodes follow each other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from ..errors import UsageError
from .flow_nodes import Node
from .job_call import JobCall
from .option_checks import check_callable
from .printable import shown


class TakesNodes(Protocol):
    """A flow that has not been started."""

    def add(self, job: Any, args: Any = None, *, after: Any = None) -> Node[Any]:
        """Add a node."""
        ...


def chain_into(flow: TakesNodes, steps: Sequence[object]) -> None:
    """Add nodes to a flow, each after the one before it.

    :param steps: calls of tasks, and functions that return one, given what stands for the result of the node before.
    :raises UsageError, ArgumentEncodingError: as :meth:`Flow.add`.
    """
    if not steps:
        raise UsageError("a chain needs at least one job: pass task.call(…)")
    previous: Node[Any] | None = None
    for position, step in enumerate(steps):
        call: Any = step
        if not isinstance(step, (JobCall, tuple)):
            check_callable(step, f"job {position} of a chain", "returns a task.call(…), or be one")
            if previous is None:
                raise UsageError("the first job of a chain has no job before it: pass a task.call(…)")
            call = step(previous.result)  # type: ignore[operator]
        if isinstance(call, tuple) and len(call) == 2:
            previous = flow.add(call[0], call[1], after=previous)
        elif isinstance(call, JobCall):
            previous = flow.add(call, after=previous)
        else:
            raise UsageError(f"job {position} of a chain must be a task.call(…), not {shown(call)}")
