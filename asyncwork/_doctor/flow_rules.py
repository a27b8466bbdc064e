"""Rules for flows. Pure functions, which read nothing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice

from .._jobs.printable import plural
from ..models.diagnosis import FlowRepair, Problem
from ..models.flows import When
from .flow_reader import FlowReading, StoredSet
from .wording import REPAIR, listed

# Sets and nodes of one flow that one diagnosis names; the others follow once these are repaired.
_MOST = 1000
NOTHING_WRONG = FlowRepair({}, (), ())


@dataclass(frozen=True, slots=True)
class FlowFindings:
    """The problems of flows.

    :ivar stuck: by id, the nodes that wait although all before them have ended.
    :ivar drift: by id, the sets of nodes whose counts of those before them do not follow from these.
    :ivar halted: by id, how many steps are left that no pool takes.
    :ivar lost_jobs: by id, the nodes that wait whose job is gone, or cannot be read.
    """

    stuck: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    drift: Mapping[str, Mapping[int, bytes]] = field(default_factory=dict)
    halted: Mapping[str, int] = field(default_factory=dict)
    lost_jobs: Mapping[str, tuple[int, ...]] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.stuck or self.drift or self.halted or self.lost_jobs)

    def still(self, later: FlowFindings) -> FlowFindings:
        """Return what is the same in another reading."""
        return FlowFindings(
            {each: nodes for each, nodes in later.stuck.items() if self.stuck.get(each) == nodes},
            {each: sets for each, sets in later.drift.items() if self.drift.get(each) == sets},
            {each: rest for each, rest in later.halted.items() if each in self.halted},
            {each: nodes for each, nodes in later.lost_jobs.items() if self.lost_jobs.get(each) == nodes},
        )

    def ids(self) -> list[str]:
        """Return the ids of the flows."""
        return sorted({*self.stuck, *self.drift, *self.halted, *self.lost_jobs})

    def repairs(self) -> dict[str, FlowRepair]:
        """Return how to repair them, by the ids of the flows."""
        return {
            each: FlowRepair(self.drift.get(each, {}), self.stuck.get(each, ()), self.lost_jobs.get(each, ()))
            for each in self.ids()
        }


def flow_findings(flows: Mapping[str, FlowReading]) -> FlowFindings:
    """Return what is wrong with flows."""
    still = {flow_id: each for flow_id, each in flows.items() if each.is_consistent}
    return FlowFindings(
        {flow_id: nodes for flow_id, each in still.items() if (nodes := tuple(islice(_stuck(each), _MOST)))},
        {flow_id: sets for flow_id, each in still.items() if (sets := dict(islice(_drift(each), _MOST)))},
        {flow_id: each.rest for flow_id, each in still.items() if each.rest and not each.is_scheduled},
        {flow_id: nodes for flow_id, each in still.items() if (nodes := tuple(islice(_lost_jobs(each), _MOST)))},
    )


def _drift(flow: FlowReading) -> Iterator[tuple[int, bytes]]:
    """Yield the sets whose counts do not follow from the nodes before them, as they are stored."""
    return ((each.span.first, each.text) for each in flow.sets if flow.counts_of(each) != each.counts)


def _stuck(flow: FlowReading) -> Iterator[int]:
    """Yield the nodes that wait for no others.

    While steps are left, any of these may follow from them.
    """
    if flow.rest:
        return
    for each in flow.sets:
        left = [number for number in each.numbers if number not in flow.ended]
        if each.state == "released":
            yield from (number for number in left if number in flow.jobs)
        elif each.state != "waiting" or _is_due(flow, each):
            yield from left


def _is_due(flow: FlowReading, each: StoredSet) -> bool:
    counts = flow.counts_of(each)
    return counts.left == 0 or (each.when is When.SUCCESS and counts.bad > 0 and not flow.goes_on)


def _lost_jobs(flow: FlowReading) -> Iterator[int]:
    """Yield the nodes that wait and have no job that could run."""
    for each in flow.sets:
        if each.state == "waiting":
            yield from (
                number
                for number in each.numbers
                if number not in flow.ended and (number not in flow.jobs or number in flow.unreadable)
            )


def flow_problems(found: FlowFindings) -> Iterator[Problem]:
    """Yield the problems of flows."""
    if found.drift:
        count = sum(map(len, found.drift.values()))
        yield Problem(
            "flow_counts",
            "",
            f"{plural(count, 'group')} of nodes count others before them as ended, or not, that are not so "
            f"({listed(found.drift)})",
            "let the doctor count them anew, so that the nodes run when those before them have ended",
            REPAIR,
        )
    for flow_id, nodes in found.stuck.items():
        waits = "waits" if len(nodes) == 1 else "wait"
        yield Problem(
            "stuck_nodes",
            flow_id,
            f"{plural(len(nodes), 'node')} of flow {flow_id} still {waits}, although enough of those before "
            f"{'it' if len(nodes) == 1 else 'them'} have ended to decide what follows",
            "let the doctor go on with them; a key of the flow may have held another type",
            REPAIR,
        )
    for flow_id, rest in found.halted.items():
        yield Problem(
            "halted_flow",
            flow_id,
            f"flow {flow_id} has {plural(rest, 'step')} left that no pool takes, because its entry among the scheduled "
            "jobs is gone",
            "let the doctor schedule the entry again",
            REPAIR,
        )
    for flow_id, nodes in found.lost_jobs.items():
        are = "is" if len(nodes) == 1 else "are"
        yield Problem(
            "lost_nodes",
            flow_id,
            f"flow {flow_id} has {plural(len(nodes), 'node')} whose job {are} gone, or cannot be read, "
            f"node {nodes[0]} first",
            "they fail when their turn comes, so that the flow ends; let the doctor remove what cannot be read",
            REPAIR,
        )
