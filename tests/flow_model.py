"""A plain model of a flow: what becomes of its nodes, one node at a time."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field


def result_of(number: int) -> bytes:
    """Return what a node returns, JSON."""
    return b'"result of %d"' % number


# States of a node that has ended without being done.
BAD = ("failed", "cancelled")


@dataclass
class ModelNode:
    """A node.

    :ivar before: the nodes that it follows.
    :ivar state: ``waiting``, ``enqueued``, ``done``, ``failed``, ``cancelled`` or ``skipped``.
    :ivar by_others: whether it was cancelled because of those before it.
    :ivar is_linked: whether Redis knows already which nodes it follows.
    :ivar releases: how often its job was scheduled.
    :ivar result: what it has left for others.
    """

    before: frozenset[int]
    when: str = "success"
    state: str = "waiting"
    by_others: bool = False
    is_linked: bool = True
    releases: int = 0
    result: bytes | None = None


@dataclass
class ModelFlow:
    """What a flow should be.

    :ivar open: whether its creator still writes nodes.
    :ivar wanted: the nodes whose results others take.
    :ivar has_ended: whether it has, although it may go on since one of its nodes was tried again.
    :ivar is_exact: whether it is known what follows at once. Otherwise it only knows the nodes.
    """

    continues: bool = False
    unique: str = ""
    open: bool = False
    cancelled: bool = False
    nodes: dict[int, ModelNode] = field(default_factory=dict)
    wanted: set[int] = field(default_factory=set)
    is_exact: bool = True
    has_ended: bool = False

    @property
    def members(self) -> dict[int, str]:
        """The states of the nodes by their numbers."""
        return {number: each.state for number, each in self.nodes.items()}

    def counts(self) -> Counter[str]:
        return Counter("left" if each.state in ("waiting", "enqueued") else each.state for each in self.nodes.values())

    @property
    def ended(self) -> bool:
        return not self.open and not self.counts()["left"]

    def settle(self, number: int, state: str) -> None:
        """Take note of how a node has ended."""
        if not self.is_exact:
            return
        node = self.nodes[number]
        assert node.state not in ("waiting", "skipped"), f"node {number} was {node.state}, and has ended"
        if node.state in ("done", state):
            return
        node.state, node.by_others = state, False
        if state == "done" and number in self.wanted:
            node.result = result_of(number)
        self.cascade()

    def retry(self, number: int) -> None:
        """Take note that a node that has failed runs again."""
        if not self.cancelled and self.nodes[number].state == "failed":
            self.nodes[number].state = "enqueued"
            self.cascade()

    def cascade(self) -> None:
        """Let follow what does. A node comes after those that it follows."""
        if not self.is_exact:
            return
        for number in sorted(self.nodes):
            node = self.nodes[number]
            if node.is_linked and node.before:
                self._decide(node)
        self.has_ended = self.has_ended or self.ended

    def _decide(self, node: ModelNode) -> None:
        before = [self.nodes[each].state for each in node.before]
        is_bad = any(each in BAD for each in before)
        goes_on = self.continues or not is_bad
        if node.state == "cancelled" and node.by_others and node.when == "success" and goes_on and not self.cancelled:
            node.state, node.by_others = "waiting", False
        if node.state != "waiting":
            return
        if node.when == "success" and not goes_on:
            node.state, node.by_others = "cancelled", True
        elif any(each in ("waiting", "enqueued") for each in before):
            return
        elif "skipped" in before if node.when == "success" else node.when == "failure" and not is_bad:
            node.state = "skipped"
        elif self.cancelled:
            node.state, node.by_others = "cancelled", True
        else:
            node.state = "enqueued"
            node.releases += 1

    def check_outcome(self) -> None:
        """Check of a flow that has ended that each node ran if and only if its edges were met, by what all are in the
        end. A node may have been released before one that had failed was done after all.
        """
        for number, node in self.nodes.items():
            before = [self.nodes[each].state for each in node.before]
            has_run = node.releases > 0 or not node.before
            assert node.releases <= 1, number
            if node.state in ("done", "failed"):
                assert has_run, number
            elif node.state == "skipped":
                assert not has_run, number
                assert node.when == "failure" or "skipped" in before, number
            elif not has_run:
                # Cancelled by others.
                assert self.cancelled or any(each in BAD for each in before), number
            if has_run and node.when == "success" and not self.continues:
                assert all(each == "done" for each in before), number
