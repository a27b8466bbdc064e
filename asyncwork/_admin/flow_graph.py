"""Draws a flow as text for Mermaid, from its status alone."""

from __future__ import annotations

from ..models.flows import FlowStatus, NodeGroup, NodeState, When

# How a group is drawn: in the state of these that it has first.
_ORDER = (
    NodeState.FAILED,
    NodeState.CANCELLED,
    NodeState.ENQUEUED,
    NodeState.WAITING,
    NodeState.DONE,
    NodeState.SKIPPED,
)
_COLOURS = {
    NodeState.WAITING: "fill:#eeeeee,stroke:#777777,color:#222222",
    NodeState.ENQUEUED: "fill:#dbeafe,stroke:#1d4ed8,color:#172554",
    NodeState.DONE: "fill:#dcfce7,stroke:#15803d,color:#052e16",
    NodeState.FAILED: "fill:#fee2e2,stroke:#b91c1c,color:#450a0a",
    NodeState.CANCELLED: "fill:#ffedd5,stroke:#c2410c,color:#431407",
    NodeState.SKIPPED: "fill:#ffffff,stroke:#777777,color:#555555,stroke-dasharray:4 3",
}


def mermaid(flow: FlowStatus) -> str:
    """Return a flow as a flowchart of Mermaid: a box for each group, with its states in words and in colours."""
    lines = ["flowchart TD"]
    used: set[NodeState] = set()
    for group in flow.groups:
        state = state_of(group)
        used.add(state)
        lines.append(f'    n{group.first}["{_text(group)}"]:::{state.value}')
    for group in flow.groups:
        arrow = "-->" if group.when is When.SUCCESS else f"-- {group.when.value} -->"
        lines += (f"    n{first} {arrow} n{group.first}" for first in group.after)
    lines += (f"    classDef {state.value} {_COLOURS[state]}" for state in NodeState if state in used)
    return "\n".join(lines) + "\n"


def state_of(group: NodeGroup) -> NodeState:
    """Return the one state that is shown for a group: that of the nodes that need attention first."""
    found = {state for state, count in group.states if count}
    return next((each for each in _ORDER if each in found), NodeState.WAITING)


def _text(group: NodeGroup) -> str:
    times = f" × {group.count:,}" if group.count > 1 else ""
    states = ", ".join(f"{count:,} {state.value}" if group.count > 1 else state.value for state, count in group.states)
    return f"{_escaped(group.label or group.name)}{times}<br/>{states}"


def _escaped(text: str) -> str:
    """Return a text in which Mermaid finds no syntax of its own, as it decodes codes of characters."""
    return "".join(each if each.isalnum() or each in " _.-" else f"#{ord(each)};" for each in text)
