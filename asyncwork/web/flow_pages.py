"""The graph on the page of a flow, and the page of its nodes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cached_property

from anyio import to_thread
from markupsafe import Markup

from .._admin.flow_graph import mermaid
from .._admin.time_slices import TimeSlices
from .._jobs.membership import member_of
from ..client import Client
from ..errors import UsageError
from ..models.flows import FlowStatus, NodeGroup, NodeState
from . import flow_svg
from .flow_folding import Fold
from .flow_layout import Box, Layout, count_states, lay_out
from .formatting import plain_text, plural
from .links import Links, job_path
from .params import Params
from .render import PageContent, PageRequest

# Groups, or nodes, on one page of the nodes.
_ROWS = 50
# Groups of a flow that are laid out in the event loop. To lay out 10,000 takes a tenth of a second.
_MOST_AT_ONCE = 200
# Groups of a flow whose text for Mermaid is part of its page.
_MOST_IN_TEXT = 300


@dataclass(frozen=True)
class FlowGraph:
    """The graph of a flow, for its page.

    :ivar layout: where its boxes are.
    """

    flow: FlowStatus
    layout: Layout

    def draw(self, links: Links) -> Markup:
        """Return it as SVG."""
        flow_id = self.flow.batch.id
        title = f"Graph of the flow {plain_text(self.flow.batch.name or flow_id, 100)}"

        def link(box: Box) -> str:
            if box.fold is not Fold.NONE:
                return links.to("/batch/nodes", id=flow_id, fold=box.first)
            if box.count > 1:
                return links.to("/batch/nodes", id=flow_id, group=box.first)
            return links.to(job_path(f"{flow_id}-{box.first}"))

        return flow_svg.draw(self.layout, title, link)

    @cached_property
    def states(self) -> dict[NodeState, int]:
        """How many nodes are in each state."""
        return count_states(self.flow.groups)

    @property
    def folded(self) -> int:
        """How many groups are not boxes of their own."""
        return sum(len(box.groups) for box in self.layout.boxes if box.fold is not Fold.NONE)

    @property
    def mermaid(self) -> str:
        """The graph as text, for programs and documents that draw Mermaid; empty if it would be very long."""
        return mermaid(self.flow) if len(self.flow.groups) <= _MOST_IN_TEXT else ""


async def graph_of(flow: FlowStatus) -> FlowGraph:
    """Return the graph of a flow."""
    return FlowGraph(flow, await _lay_out(flow))


async def _lay_out(flow: FlowStatus) -> Layout:
    if len(flow.groups) <= _MOST_AT_ONCE:
        return lay_out(flow.groups)
    return await to_thread.run_sync(lay_out, flow.groups)


@dataclass(frozen=True, slots=True)
class GroupRow:
    """A group of nodes, as a row of a list.

    :ivar state: of its nodes as a whole.
    :ivar counts: how many nodes are in which state; empty for a single node.
    :ivar after: what its nodes run after.
    """

    group: NodeGroup
    name: str
    state: NodeState
    counts: str
    after: str
    ended: int


async def nodes(page: PageRequest) -> PageContent:
    """Show the nodes of a group by their states, or the groups of a box, or all groups."""
    batch_id = page.params.required("id")
    flow = await find_flow(page.client, batch_id)
    if flow is None:
        text = "There is no such flow, or it has ended so long ago that it is not kept any more."
        return PageContent("batch_gone.html", "/batch/nodes", "Flow not found", {"text": text}, status=404)
    values: dict[str, object] = {"batch": flow.batch, "group": None, "rows": (), "found": None}
    if "group" not in page.params:
        groups, title = await _groups_of(flow, page.params)
        number, pages = page.params.page(), max(1, -(-len(groups) // _ROWS))
        names = _names(flow)
        rows = [_row(names, each) for each in groups[_ROWS * (number - 1) :][:_ROWS]]
        values |= {"rows": rows, "page": number, "pages": pages, "states": count_states(groups)}
        return PageContent("flow_nodes.html", "/batch/nodes", title, values)
    first = page.params.integer("group", 0, low=0, high=10**9)
    group = next((each for each in flow.groups if each.first == first), None)
    if group is None:
        text = f"The flow has no group of nodes that begins with node {first}."
        return PageContent("batch_gone.html", "/batch/nodes", "Nodes not found", {"text": text}, status=404)
    state = page.params.choice("state", "", *NodeState)
    found = await page.client.flow_nodes(
        flow.batch.id, first, page.params.page(), per_page=_ROWS, state=NodeState(state) if state else None
    )
    values |= {"group": _row(_names(flow), group), "found": found, "state": state, "states": count_states([group])}
    return PageContent("flow_nodes.html", "/batch/nodes", _name(group), values)


async def find_flow(client: Client, flow_id: str) -> FlowStatus | None:
    """Return a flow; ``None`` if there is none with that id."""
    try:
        return await client.flow(flow_id)
    except UsageError:
        return None


@dataclass(frozen=True, slots=True)
class NodeOfJob:
    """A node as its flow knows it, when nothing else is kept of its job.

    :ivar name: what the group of the node is called.
    """

    name: str
    state: NodeState


async def find_node(client: Client, job_id: str) -> NodeOfJob | None:
    """Return what the flow of a job knows of it; ``None`` if the job is no node of a flow that is kept."""
    member = member_of(job_id)
    if member is None or (flow := await find_flow(client, member.batch_id)) is None:
        return None
    group = next((each for each in flow.groups if 0 <= member.number - each.first < each.count), None)
    if group is None:
        return None
    found = await client.flow_nodes(member.batch_id, group.first, member.number - group.first + 1, per_page=1)
    return NodeOfJob(_name(group), found.nodes[0].state) if found.nodes else None


async def flow_fields(flow: FlowStatus) -> dict[str, object]:
    """Return what the JSON API says of a flow in addition to its batch."""
    names, groups = [each.name for each in fields(NodeGroup)], list[dict[str, object]]()
    async for each in TimeSlices().of(flow.groups):
        values: dict[str, object] = {name: getattr(each, name) for name in names}
        groups.append({**values, "states": {state.value: count for state, count in each.states}})
    return {"on_failure": flow.on_failure, "unique": flow.unique, "groups": groups}


async def _groups_of(flow: FlowStatus, params: Params) -> tuple[Sequence[NodeGroup], str]:
    """Return the groups of the box that is asked for, or all, and the title of their page."""
    if "fold" in params:
        first = params.integer("fold", 0, low=0, high=10**9)
        for box in (await _lay_out(flow)).boxes:
            if box.first == first:
                return box.groups, f"{plural(box.count, 'node')} of the flow"
    return flow.groups, "All nodes"


def _names(flow: FlowStatus) -> dict[int, str]:
    """Return what the groups of a flow are called, by the numbers of their first nodes."""
    return {each.first: _name(each) for each in flow.groups}


def _row(names: Mapping[int, str], group: NodeGroup) -> GroupRow:
    """Return the row of a group.

    :param names: what all groups of the flow are called.
    """
    states = count_states([group])
    after = ", ".join(names.get(each, f"node {each}") for each in group.after) if len(group.after) <= 3 else ""
    return GroupRow(
        group,
        _name(group),
        flow_svg.state_of(states),
        flow_svg.counts_text(states) if group.count > 1 else "",
        after or (plural(len(group.after), "group") if group.after else ""),
        group.count - states.get(NodeState.WAITING, 0) - states.get(NodeState.ENQUEUED, 0),
    )


def _name(group: NodeGroup) -> str:
    return group.label or group.name or "(no name)"
