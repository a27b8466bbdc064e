"""Folds the graph of a flow that has more boxes than a reader can take in, so that some stand for several groups.

Groups with the same name, and the same ones before and after them, become one box, and so do runs in which each has one
before and one after it. If that is not enough, boxes of the same layer become one. The folding depends on the order of
the nodes and not on their states, so that boxes stay where they are while the flow runs.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from ..models.flows import NodeGroup


class Fold(StrEnum):
    """Why several groups are one box.

    :cvar NONE: it is one group.
    :cvar BESIDE: they have the same name, and run after and before the same ones.
    :cvar ROW: they run one after the other.
    :cvar LAYER: they are at the same distance from the beginning.
    """

    NONE = ""
    BESIDE = "beside"
    ROW = "row"
    LAYER = "layer"


@dataclass(slots=True)
class Graph:
    """Boxes by their numbers.

    :ivar members: of each box, the positions of its groups.
    :ivar kinds: of each box, what it is called; equal for boxes that can stand for each other.
    :ivar single: of each box, whether it is one node.
    """

    members: list[tuple[int, ...]]
    folds: list[Fold]
    kinds: list[Hashable]
    single: list[bool]
    before: list[frozenset[int]]
    after: list[frozenset[int]]

    @property
    def size(self) -> int:
        return len(self.members)

    def depths(self) -> list[int]:
        """Return the length of the longest path to each box."""
        depths, open_ones = [0] * self.size, [len(each) for each in self.before]
        free = [box for box, count in enumerate(open_ones) if not count]
        for box in free:
            for other in self.after[box]:
                depths[other] = max(depths[other], depths[box] + 1)
                open_ones[other] -= 1
                if not open_ones[other]:
                    free.append(other)
        return depths

    def merged(self, sets: Iterable[Sequence[int]], fold: Fold) -> Graph:
        """Return the graph in which each of these sets of boxes is one."""
        into = list(range(self.size))
        folded: dict[int, Sequence[int]] = {}
        for boxes in sets:
            folded[boxes[0]] = boxes
            for each in boxes:
                into[each] = boxes[0]
        kept = [box for box in range(self.size) if into[box] == box]
        number = {box: at for at, box in enumerate(kept)}
        graph = Graph([], [], [], [], [], [])
        for box in kept:
            boxes = folded.get(box, (box,))
            members = tuple(sorted(at for each in boxes for at in self.members[each]))
            graph.members.append(members)
            graph.folds.append(fold if box in folded else self.folds[box])
            kinds = tuple(self.kinds[each] for each in (boxes if fold is Fold.ROW else boxes[:1]))
            graph.kinds.append((fold, kinds) if box in folded else self.kinds[box])
            graph.single.append(self.single[box] and box not in folded)
            for edges, renamed in ((self.before, graph.before), (self.after, graph.after)):
                renamed.append(
                    frozenset(number[into[other]] for each in boxes for other in edges[each]) - {number[box]}
                )
        return graph


def _graph_of(groups: Sequence[NodeGroup]) -> Graph:
    firsts = [group.first for group in groups]
    before, after = list[frozenset[int]](), [set[int]() for _ in groups]
    for at, group in enumerate(groups):
        # Nodes that were added later name the nodes that they run after, and not the groups of those.
        found = frozenset(bisect_right(firsts, number, 0, at) - 1 for number in group.after if number < group.first)
        found -= {-1}
        before.append(found)
        for each in found:
            after[each].add(at)
    return Graph(
        [(at,) for at in range(len(groups))],
        [Fold.NONE] * len(groups),
        [(group.name, group.when) for group in groups],
        [group.count == 1 for group in groups],
        before,
        [frozenset(each) for each in after],
    )


def folded(groups: Sequence[NodeGroup], most: int) -> Graph:
    """Return the boxes of a flow, folded if there would be more.

    :param groups: sorted by the numbers of their nodes.
    :param most: how many boxes there may be.
    """
    graph = _graph_of(groups)
    size = graph.size + 1
    while most < graph.size < size:
        size = graph.size
        for find, fold in ((_beside, Fold.BESIDE), (_rows_of_nodes, Fold.ROW), (_rows, Fold.ROW)):
            if graph.size == size:
                graph = _merge_largest(graph, find(graph), fold, most)
    if graph.size > most:
        depths = graph.depths()
        graph = _merge_largest(graph, _sets(range(graph.size), lambda box: depths[box]), Fold.LAYER, most)
    if graph.size > most:
        # As many layers remain, with a box each or few.
        depths = graph.depths()
        together = -(-(max(depths) + 1) // most)
        graph = graph.merged(_sets(range(graph.size), lambda box: depths[box] // together), Fold.LAYER)
    return graph


def _merge_largest(graph: Graph, sets: list[list[int]], fold: Fold, most: int) -> Graph:
    """Merge sets of boxes, the largest first, until there are few enough boxes."""
    left, chosen = graph.size, list[list[int]]()
    for boxes in sorted(sets, key=lambda boxes: (-len(boxes), boxes[0])):
        if left <= most:
            break
        left -= len(boxes) - 1
        chosen.append(boxes)
    return graph.merged(chosen, fold) if chosen else graph


def _sets(boxes: Iterable[int], key: Callable[[int], Hashable]) -> list[list[int]]:
    """Return the sets of several boxes with the same key."""
    found = defaultdict[Hashable, list[int]](list)
    for box in boxes:
        found[key(box)].append(box)
    return [each for each in found.values() if len(each) > 1]


def _beside(graph: Graph) -> list[list[int]]:
    numbers: dict[Hashable, int] = {}
    # Kinds of folded boxes are nested; a number is compared faster.
    kinds = [numbers.setdefault(kind, len(numbers)) for kind in graph.kinds]
    return _sets(range(graph.size), lambda box: (kinds[box], graph.before[box], graph.after[box]))


def _rows_of_nodes(graph: Graph) -> list[list[int]]:
    """Return runs of single nodes. Groups of many nodes stay boxes of their own as long as possible."""
    return _rows(graph, lambda box: graph.single[box])


def _rows(graph: Graph, is_part: Callable[[int], bool] = lambda box: True) -> list[list[int]]:
    following: dict[int, int] = {}
    for box, after in enumerate(graph.after):
        if len(after) == 1 and len(graph.before[(other := next(iter(after)))]) == 1 and is_part(box) and is_part(other):
            following[box] = other
    rows = []
    for head in sorted(set(following) - set(following.values())):
        row = [head]
        while row[-1] in following:
            row.append(following[row[-1]])
        rows.append(row)
    return rows
