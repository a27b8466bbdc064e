"""The plan of a flow: its nodes, which follow which, and whose results are wanted. Pure.

Nodes that follow the same nodes, and come one after another, are a set. Redis counts for each set, not for each node,
how many before it have ended.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from ..models.flows import When
from .stored_group import StoredGroup


class Span(NamedTuple):
    """Nodes with numbers that follow each other."""

    first: int
    size: int

    @property
    def stop(self) -> int:
        """The number after the last."""
        return self.first + self.size


@dataclass(slots=True)
class NodeSet:
    """Nodes that follow the same nodes.

    :ivar after: the nodes that they follow.
    """

    first: int
    count: int
    when: When
    after: tuple[Span, ...]

    @property
    def stop(self) -> int:
        """The number after the last of them."""
        return self.first + self.count


@dataclass(slots=True)
class FlowPlan:
    """The nodes that are to be added to a flow.

    :param first: the number of the first of them.
    :ivar next: the number of the next.
    :ivar roots: for each node, whether it follows no others.
    :ivar wanted: the numbers of the nodes whose results are wanted.
    """

    first: int = 0
    groups: list[StoredGroup] = field(default_factory=list)
    sets: list[NodeSet] = field(default_factory=list)
    roots: list[bool] = field(default_factory=list)
    wanted: set[int] = field(default_factory=set)

    @property
    def next(self) -> int:
        """The number of the next node."""
        return self.first + len(self.roots)

    def mark(self) -> tuple[int, ...]:
        """Return how much there is, for :meth:`reset`."""
        last = self.sets[-1].count if self.sets else 0
        return len(self.groups), len(self.sets), len(self.roots), last

    def reset(self, mark: tuple[int, ...]) -> None:
        """Remove the groups that were added since a mark. The results that they wanted stay wanted."""
        groups, sets, roots, last = mark
        del self.groups[groups:], self.sets[sets:], self.roots[roots:]
        if self.sets:
            self.sets[-1].count = last

    def add(
        self,
        names: Sequence[str],
        label: str,
        when: When,
        after: Sequence[Span],
        taken: Sequence[Sequence[range]],
    ) -> Span:
        """Add a group of nodes; return their numbers.

        :param after: the nodes that all of them follow, each of one group.
        :param taken: for each of them, the nodes whose results it takes, and which it therefore follows.
        """
        span = Span(self.next, len(names))
        alike = not any(taken)
        set_ = self._add_alike(span, when, joined(after)) if alike else self._add_each(span, when, after, taken)
        before = {self._group_of(each.first) for each in after}
        before.update(self._group_of(each.start) for ranges in taken for each in ranges)
        self.groups.append(StoredGroup(span.first, span.size, names[0], label, when, tuple(sorted(before)), set_))
        return span

    def _group_of(self, number: int) -> int:
        """Return the first number of the group of a node; the number itself for one that is not in this plan."""
        at = bisect_right(self.groups, number, key=lambda group: group.first)
        return self.groups[at - 1].first if at and number >= self.first else number

    def _add_alike(self, span: Span, when: When, after: tuple[Span, ...]) -> int:
        """Add nodes that follow the same nodes; return the first number of their set, -1 if they follow none."""
        self.roots += [not after] * span.size
        if not after:
            return -1
        last = self.sets[-1] if self.sets else None
        if last is not None and last.stop == span.first and last.when is when and last.after == after:
            last.count += span.size
            return last.first
        self.sets.append(NodeSet(span.first, span.size, when, after))
        return span.first

    def _add_each(self, span: Span, when: When, after: Sequence[Span], taken: Sequence[Sequence[range]]) -> int | None:
        """Add nodes that take results; return the first number of their set, ``None`` if they have several."""
        several = [joined([*after, *(Span(each.start, len(each)) for each in ranges)]) for ranges in taken]
        for ranges in taken:
            self.wanted.update(*ranges)
        if all(each == several[0] for each in several):
            return self._add_alike(span, when, several[0])
        for number, spans in enumerate(several, span.first):
            self.roots.append(not spans)
            if spans:
                self.sets.append(NodeSet(number, 1, when, spans))
        return None


def joined(spans: Iterable[Span]) -> tuple[Span, ...]:
    """Return spans sorted, and without overlaps."""
    found: list[Span] = []
    for each in sorted(spans):
        if not each.size:
            continue
        if found and each.first <= found[-1].stop:
            stop = max(found[-1].stop, each.stop)
            found[-1] = Span(found[-1].first, stop - found[-1].first)
        else:
            found.append(each)
    return tuple(found)
