"""Nodes of a flow, as ``flow.add`` returns them: what others follow, and whose results they take."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Generic, TypeVar, overload

from .membership import member_id
from .node_results import NodeResults

V_co = TypeVar("V_co", covariant=True)


class Node(Generic[V_co]):
    """A node of a flow, which :meth:`Flow.add` has returned: pass it as ``after`` of another one.

    :ivar flow_id: the flow.
    :ivar number: its number in the flow, from 0.
    """

    __slots__ = ("flow_id", "number")

    def __init__(self, flow_id: str, number: int) -> None:
        self.flow_id: str = flow_id
        self.number: int = number

    @property
    def id(self) -> str:
        """Its id as a job."""
        return member_id(self.flow_id, self.number)

    @property
    def result(self) -> V_co:
        """Stands for what its handler will return, as an argument of a node of the same flow: ``flow.add(task.call(
        node.result))``. That node then follows this one. It gets ``None`` if this one has not returned.
        """
        return NodeResults(self.flow_id, self.number)  # type: ignore[return-value]

    def __repr__(self) -> str:
        return f"<Node {self.id}>"


class Nodes(Generic[V_co]):
    """Nodes of a flow that were added together, which :meth:`Flow.add_many` has returned: a sequence of them.

    :ivar flow_id: the flow.
    :ivar first: the number of the first of them.
    """

    __slots__ = ("_count", "first", "flow_id")

    def __init__(self, flow_id: str, first: int, count: int) -> None:
        self.flow_id: str = flow_id
        self.first: int = first
        self._count = count

    @property
    def results(self) -> list[V_co]:
        """Stands for the list of what their handlers will return, in their order, as :attr:`Node.result` does."""
        found: Any = NodeResults(self.flow_id, self.first, self._count)
        return found  # type: ignore[no-any-return]

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Node[V_co]]:
        return (Node(self.flow_id, number) for number in range(self.first, self.first + self._count))

    @overload
    def __getitem__(self, index: int) -> Node[V_co]: ...
    @overload
    def __getitem__(self, index: slice) -> list[Node[V_co]]: ...
    def __getitem__(self, index: int | slice) -> Node[V_co] | list[Node[V_co]]:
        numbers = range(self.first, self.first + self._count)[index]
        if isinstance(numbers, range):
            return [Node(self.flow_id, number) for number in numbers]
        return Node(self.flow_id, numbers)

    def __repr__(self) -> str:
        return f"<{self._count} Nodes from {member_id(self.flow_id, self.first)}>"
