"""Flows of the chaos: graphs whose nodes fail at times, and whether each ran if and only if those before it said so."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from asyncwork import Flow, Job, Node, When

from ..flow_model import BAD, ModelFlow, ModelNode
from .record import DONE, Run

# The jobs of nodes: one returns its number, and takes those of others; the other one never ends well.
PASSING, DOOMED_NODE = "passing", "doomed"


async def passing(job: Job) -> int:
    """Returns its number, and dies if what those before it have returned is not what they should have."""
    expected = job.args.get("numbers", [])
    is_strict = job.args.get("strict", False)
    for number, got in zip(expected, job.args.get("of", []), strict=True):
        if got != number and (is_strict or got is not None):
            raise ValueError(f"node {number} has returned {got}")
    return job.arg("number", int)


@dataclass(slots=True)
class PlannedFlow:
    """A flow that a producer has started, or may have.

    :ivar nodes: by number, the nodes as they were added.
    :ivar numbers: by node, the producer's number of its job.
    """

    flow_id: str
    continues: bool
    nodes: dict[int, ModelNode] = field(default_factory=dict)
    numbers: list[int] = field(default_factory=list)


def plan_flow(flow: Flow, rng: random.Random, number_of: Any, *, continues: bool) -> PlannedFlow:
    """Add random nodes to a flow.

    :param number_of: returns the producer's number for a job of some name.
    """
    planned, nodes = PlannedFlow(flow.id, continues), list[Node[Any]]()
    for position in range(rng.choice((2, 4, 8))):
        after = rng.sample(nodes, min(len(nodes), rng.choice((0, 1, 1, 2, 3))))
        when = rng.choice(("success", "success", "success", "done", "failure")) if after else "success"
        name = DOOMED_NODE if rng.random() < 0.15 else PASSING
        args: dict[str, Any] = {"number": number_of(name)}
        if name == PASSING and after and rng.random() < 0.5:
            args["numbers"] = [planned.numbers[each.number] for each in after]
            args["of"] = [each.result for each in after]
            # All of them are done then.
            args["strict"] = when == "success" and not continues
        nodes.append(flow.add(name, args, after=after, when=When(when)))
        planned.numbers.append(args["number"])
        before = frozenset(each.number for each in after)
        planned.nodes[position] = ModelNode(before, when, "waiting" if before else "enqueued")
    return planned


def flow_problems(
    flows: Sequence[PlannedFlow], states: Mapping[str, Mapping[int, str]], runs: Sequence[Run]
) -> Iterator[str]:
    """Yield what is wrong with flows whose start was confirmed.

    :param states: by flow, how each of its nodes has ended.
    """
    ran: dict[str, set[str]] = {}
    for run in runs:
        ran.setdefault(run.job_id, set()).add(run.outcome)
    for flow in flows:
        found = states.get(flow.flow_id)
        if found is None or set(found) != set(flow.nodes):
            yield f"flow {flow.flow_id} of {len(flow.nodes)} nodes is {found}"
            continue
        yield from _of_flow(flow, found, ran)


def _of_flow(flow: PlannedFlow, found: Mapping[int, str], ran: Mapping[str, set[str]]) -> Iterator[str]:
    model = ModelFlow(continues=flow.continues, nodes={number: replace(node) for number, node in flow.nodes.items()})
    for number in sorted(flow.nodes):
        # What became of those that ran is no matter of the flow.
        if model.nodes[number].state == "enqueued" and found[number] in ("done", "failed"):
            model.settle(number, found[number])
    for number, node in sorted(model.nodes.items()):
        job_id, state = f"{flow.flow_id}-{number}", found[number]
        outcomes = ran.get(job_id, set())
        if state != node.state:
            before = {each: found[each] for each in node.before}
            yield f"node {job_id} ({node.when} of {before}) is {state}, and should be {node.state}"
        if state == "done" and DONE not in outcomes:
            yield f"node {job_id} is done, and has never come to its end"
        if state in ("cancelled", "skipped") and outcomes:
            yield f"node {job_id} is {state}, and ran"


def flow_lines(flows: Sequence[PlannedFlow], states: Mapping[str, Mapping[int, str]]) -> list[str]:
    """Return how many flows and nodes there were, for people."""
    found = [state for flow in flows for state in states.get(flow.flow_id, {}).values()]
    ended = ", ".join(f"{found.count(each)} {each}" for each in ("done", *BAD, "skipped"))
    return [f"flows {len(flows)}, nodes {len(found)}: {ended}"]
