"""The layout of the graph of a flow: boxes in layers, each below all that it runs after, from the flow's groups alone.

Nodes that were added together are one box, and a large flow is folded.

The steps are those of layered graph drawing: layers by the longest path, an order within each layer with few crossings
(barycenters), and then positions as near to those above and below as the widths allow.
"""

from __future__ import annotations

from bisect import bisect_right, insort
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ..models.flows import NodeGroup, NodeState
from .flow_folding import Fold, Graph, folded

# Boxes of a graph; a flow that has more is folded.
MOST_BOXES = 60
# Sizes and gaps, pixels.
BOX_WIDTH, BOX_HEIGHT = 208, 64
_BOX_GAP, _LINE_GAP, _LAYER_GAP = 24, 14, 40
_MARGIN = 6
# How often the layers are ordered, and how often positions are moved to those above and below.
_ORDERINGS = 8
_MOVES = 6
# How much a neighbor that is a box counts for a position, and one that is a line counts 1.
_WEIGHT = 4


@dataclass(frozen=True, slots=True)
class Box:
    """A box of the graph.

    :ivar groups: what it stands for, in the order in which they were added.
    :ivar x: its left edge, pixels.
    :ivar y: its upper edge, pixels.
    """

    groups: tuple[NodeGroup, ...]
    fold: Fold
    x: float
    y: float

    @property
    def first(self) -> int:
        """The number of its first node, by which it is known."""
        return self.groups[0].first

    @property
    def count(self) -> int:
        """How many nodes it stands for."""
        return sum(each.count for each in self.groups)

    @property
    def states(self) -> dict[NodeState, int]:
        """How many of its nodes are in each state, without those with none."""
        return count_states(self.groups)


@dataclass(frozen=True, slots=True)
class Line:
    """A piece of an edge, from one layer to the next or through one. It never goes up.

    :ivar arrow: whether it ends at a box.
    """

    x1: float
    y1: float
    x2: float
    y2: float
    arrow: bool = False


@dataclass(frozen=True, slots=True)
class Layout:
    """The graph of a flow.

    :ivar boxes: the boxes, from the top.
    :ivar lines: the pieces of the edges. Edges from one box share them as far as they go together.
    """

    boxes: tuple[Box, ...]
    lines: tuple[Line, ...]
    width: float
    height: float


def count_states(groups: Iterable[NodeGroup]) -> dict[NodeState, int]:
    """Return how many nodes of the groups are in each state, in the order of the states, without those with none."""
    counts = dict.fromkeys(NodeState, 0)
    for group in groups:
        for state, count in group.states:
            counts[state] += count
    return {state: count for state, count in counts.items() if count}


def lay_out(groups: Sequence[NodeGroup], most: int = MOST_BOXES) -> Layout:
    """Return the layout of a graph.

    :param groups: in the order in which they were added, and so by their numbers. If one names a group that was not
        added before it, that is left out.
    :param most: how many boxes there may be.
    """
    graph = folded(groups, most)
    layers = _Layers(graph)
    layers.order()
    return layers.layout(groups)


class _Layers:
    """The layers of a graph.

    An edge that spans several layers has a position in each of those between, which all edges of its box share. So
    the vertices are the boxes, and after them those positions.
    """

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        depths = graph.depths()
        self._layers = [list[int]() for _ in range(max(depths, default=-1) + 1)]
        self._up = [list[int]() for _ in range(graph.size)]
        self._down = [list[int]() for _ in range(graph.size)]
        for box, depth in enumerate(depths):
            self._layers[depth].append(box)
        for box, depth in enumerate(depths):
            last = box
            targets = sorted(graph.after[box], key=lambda other: (depths[other], other))
            for target in targets:
                while depth + 1 < depths[target]:
                    depth += 1
                    last = self._pass_through(depth, last)
                self._connect(last, target)

    def _pass_through(self, depth: int, above: int) -> int:
        vertex = len(self._up)
        self._up.append([])
        self._down.append([])
        self._layers[depth].append(vertex)
        self._connect(above, vertex)
        return vertex

    def _connect(self, above: int, below: int) -> None:
        self._down[above].append(below)
        self._up[below].append(above)

    def order(self) -> None:
        """Order each layer so that few edges cross."""
        best, fewest = [list(layer) for layer in self._layers], self._crossings()
        for turn in range(_ORDERINGS):
            if not fewest:
                break
            downwards = turn % 2 == 0
            edges = self._up if downwards else self._down
            for layer in self._layers if downwards else reversed(self._layers):
                self._sort(layer, edges)
            crossings = self._crossings()
            if crossings < fewest:
                best, fewest = [list(layer) for layer in self._layers], crossings
        self._layers = best

    def _positions(self) -> list[float]:
        positions = [0.0] * len(self._up)
        for layer in self._layers:
            for at, vertex in enumerate(layer):
                positions[vertex] = at
        return positions

    def _sort(self, layer: list[int], edges: Sequence[Sequence[int]]) -> None:
        positions = self._positions()
        layer.sort(key=lambda vertex: _mean([positions[each] for each in edges[vertex]], positions[vertex]))

    def _crossings(self) -> int:
        positions, crossings = self._positions(), 0
        for layer in self._layers:
            ends = list[float]()
            for vertex in layer:
                below = sorted(positions[each] for each in self._down[vertex])
                crossings += sum(len(ends) - bisect_right(ends, end) for end in below)
                for end in below:
                    insort(ends, end)
        return crossings

    def layout(self, groups: Sequence[NodeGroup]) -> Layout:
        """Return the boxes and lines."""
        centers = self._centers()
        left = min((centers[box] for box in range(self._graph.size)), default=0.0) - BOX_WIDTH / 2
        left = min([left, *centers]) - _MARGIN
        centers = [round(each - left, 1) for each in centers]
        boxes, lines = list[Box](), list[Line]()
        for depth, layer in enumerate(self._layers):
            top = _MARGIN + depth * (BOX_HEIGHT + _LAYER_GAP)
            bottom = top + BOX_HEIGHT
            for vertex in layer:
                x = centers[vertex]
                if vertex < self._graph.size:
                    members = tuple(groups[at] for at in self._graph.members[vertex])
                    boxes.append(Box(members, self._graph.folds[vertex], x - BOX_WIDTH / 2, top))
                else:
                    lines.append(Line(x, top, x, bottom))
                below = bottom + _LAYER_GAP
                lines += [Line(x, bottom, centers[each], below, each < self._graph.size) for each in self._down[vertex]]
        right = max([each.x + BOX_WIDTH for each in boxes] + centers, default=_MARGIN)
        height = len(self._layers) * (BOX_HEIGHT + _LAYER_GAP) - _LAYER_GAP if boxes else 0.0
        return Layout(tuple(boxes), tuple(lines), right + _MARGIN, height + 2 * _MARGIN)

    def _width(self, vertex: int) -> float:
        return BOX_WIDTH + _BOX_GAP if vertex < self._graph.size else _LINE_GAP

    def _centers(self) -> list[float]:
        """Return the horizontal center of each vertex."""
        centers = [0.0] * len(self._up)
        for layer in self._layers:
            at = 0.0
            for vertex in layer:
                centers[vertex] = at + self._width(vertex) / 2
                at += self._width(vertex)
            for vertex in layer:
                centers[vertex] -= at / 2
        for turn in range(_MOVES):
            downwards = turn % 2 == 0
            edges = self._up if downwards else self._down
            for layer in self._layers if downwards else reversed(self._layers):
                wanted = [self._wanted(vertex, edges[vertex], centers) for vertex in layer]
                for vertex, center in zip(layer, _apart(wanted, list(map(self._width, layer))), strict=True):
                    centers[vertex] = center
        return centers

    def _wanted(self, vertex: int, neighbors: Sequence[int], centers: Sequence[float]) -> float:
        """Return the mean of the neighbors' centers. Boxes count for more, because readers follow those."""
        weights = [_WEIGHT if each < self._graph.size else 1 for each in neighbors]
        if not weights:
            return centers[vertex]
        return sum(weight * centers[each] for weight, each in zip(weights, neighbors, strict=True)) / sum(weights)


def _mean(values: Sequence[float], otherwise: float) -> float:
    return sum(values) / len(values) if values else otherwise


def _apart(wanted: Sequence[float], widths: Sequence[float]) -> list[float]:
    """Return the positions nearest to those that are wanted, by the squares of the distances, without overlaps.

    They keep their order. Neighbors that would overlap are joined, and their block is moved to its mean position.
    """
    offsets, at = list[float](), 0.0
    for width in widths:
        offsets.append(at + width / 2)
        at += width
    blocks = list[tuple[float, int]]()
    for position, offset in zip(wanted, offsets, strict=True):
        total, count = position - offset, 1
        while blocks and blocks[-1][0] / blocks[-1][1] > total / count:
            more, members = blocks.pop()
            total, count = total + more, count + members
        blocks.append((total, count))
    starts = [total / count for total, count in blocks for _ in range(count)]
    return [start + offset for start, offset in zip(starts, offsets, strict=True)]
