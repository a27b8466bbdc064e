"""Text of a flow in the terminal: its groups of nodes as a tree, each below the last of those that it runs after."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from .._jobs.printable import printable
from ..models.flows import FlowStatus, NodeGroup, NodeState, When

_WHEN = {When.SUCCESS: "", When.DONE: ", however they end", When.FAILURE: ", if one fails"}
# How many names of others that a group runs after are shown.
_NAMES = 3


def tree_lines(flow: FlowStatus, most: int) -> list[str]:
    """Return a flow as a tree.

    A group that runs after several stands below the last of them, and names the others.

    :param most: how many groups are shown.
    """
    groups = {each.first: each for each in flow.groups}
    parents = {each.first: _parent(each, groups) for each in flow.groups}
    below: dict[int, list[NodeGroup]] = {}
    for group in flow.groups:
        below.setdefault(parents[group.first], []).append(group)
    lines, left = list[str](), most
    for prefix, group in _walk(below):
        if not left:
            lines.append(f"… and {len(groups) - most:,} more groups: add --limit, or --json")
            break
        left -= 1
        lines.append(f"{prefix}{_text(group, parents[group.first], groups)}")
    return lines


def _parent(group: NodeGroup, groups: dict[int, NodeGroup]) -> int:
    """Return the last group that a group runs after; -1 if it runs after none."""
    return max((first for first in group.after if first in groups and first < group.first), default=-1)


# The prefixes of a group, and the indents of the groups below each.
_ROOT, _NEXT, _ONE, _LAST = "", "-> ", "|- ", "`- "
_INNER = {_ROOT: "", _NEXT: "   ", _ONE: "|  ", _LAST: "   "}


def _walk(below: dict[int, list[NodeGroup]]) -> Iterator[tuple[str, NodeGroup]]:
    """Yield the groups from the first branch to the last, each with what stands before it."""
    # Not by recursion, because a chain may have thousands of nodes.
    open_ones = [("", _ROOT, group) for group in reversed(below.get(-1, []))]
    while open_ones:
        lead, branch, group = open_ones.pop()
        yield lead + branch, group
        following = below.get(group.first, [])
        if len(following) == 1:
            # A chain does not move to the right.
            open_ones.append((lead if branch is _NEXT else lead + _INNER[branch], _NEXT, following[0]))
            continue
        inner = lead + _INNER[branch]
        open_ones += [(inner, _LAST if each is following[-1] else _ONE, each) for each in reversed(following)]


def _text(group: NodeGroup, parent: int, groups: dict[int, NodeGroup]) -> str:
    times = f" x{group.count:,}" if group.count > 1 else ""
    job = f" ({printable(group.name)})" if group.label and group.label != group.name else ""
    others = [first for first in group.after if first != parent]
    names = [_name(groups[first]) if first in groups else f"node {first}" for first in others[:_NAMES]]
    more = f" and {len(others) - _NAMES:,} more" if len(others) > _NAMES else ""
    after = f"  also after {', '.join(names)}{more}" if others else ""
    when = _WHEN[group.when]
    return f"{_name(group)}{job}{times}: {states_text(group)}{when}{after}"


def _name(group: NodeGroup) -> str:
    return printable(group.label or group.name or "(no name)")


def states_text(group: NodeGroup) -> str:
    """Return the states of a group, as ``done``, or ``9,998 done, 2 failed``."""
    if group.count == 1:
        return next((state.value for state, _ in group.states), NodeState.WAITING.value)
    return ", ".join(f"{count:,} {state}" for state, count in group.states) or NodeState.WAITING.value


def groups_json(groups: Sequence[NodeGroup]) -> list[dict[str, Any]]:
    """Return groups as JSON objects have them."""
    return [
        {
            "first": each.first,
            "count": each.count,
            "name": each.name,
            "label": each.label,
            "when": each.when.value,
            "after": list(each.after),
            "states": {state.value: count for state, count in each.states},
        }
        for each in groups
    ]
