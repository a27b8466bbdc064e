"""Reads flows with their nodes, to compare what is counted of those with what follows from them.

``FlowReading`` has more than ten fields, because they are read at one moment, and each is compared with others.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

from .._admin.batches import numbers_of
from .._jobs.flow_plan import Span
from .._jobs.membership import is_flow
from .._redis.batch_store import BatchFields, BatchStore, Bits
from .._redis.flow_store import FlowStore
from .._redis.namespace import Namespace
from .._redis.protocol import read_count
from ..errors import PayloadError
from ..job import Job
from ..models.flows import When
from .batch_reader import READ_AGAIN_FOR

# Nodes whose successors one field lists.
_BLOCK = 64


@dataclass(frozen=True, slots=True)
class NodeCounts:
    """How the nodes before some others have ended.

    :ivar left: how many have not.
    :ivar bad: how many have failed or were cancelled.
    :ivar skipped: how many were skipped.
    """

    left: int
    bad: int
    skipped: int


@dataclass(frozen=True, slots=True)
class StoredSet:
    """Nodes that follow the same nodes, as Redis holds them.

    :ivar state: ``waiting``, ``released``, ``cancelled`` or ``skipped``.
    :ivar after: the nodes that they follow.
    :ivar text: the field.
    """

    span: Span
    when: When
    state: str
    counts: NodeCounts
    after: tuple[Span, ...]
    text: bytes

    @property
    def numbers(self) -> range:
        """The numbers of the nodes."""
        return range(self.span.first, self.span.stop)


@dataclass(frozen=True, slots=True)
class Change:
    """A step that counts a change of nodes in the sets that follow these.

    :ivar before: how the nodes were before; ``later``: how they are since then.
    :ivar counted: ranges of nodes, and the sets that follow them, in which it has been counted in part: nodes before
        ``counted_to``.
    """

    span: Span
    before: str
    later: str
    counted: frozenset[tuple[Span, int]] = frozenset()
    counted_to: int = 0

    def uncounted(self, after: Span, set_: int) -> int:
        """Return how many of some nodes, which a set follows, have changed without being counted there."""
        both = _overlap(after, self.span)
        if (after, set_) in self.counted:
            both -= _overlap(after, Span(self.span.first, min(self.counted_to, self.span.stop) - self.span.first))
        return both


@dataclass(frozen=True, slots=True)
class FlowReading:
    """A flow at one moment.

    :ivar goes_on: whether nodes run after others that are not done.
    :ivar is_cancelled: whether it was cancelled.
    :ivar rest: how many steps were not taken yet.
    :ivar settle: the entry of the scheduled set by which they are; empty if there is none.
    :ivar is_scheduled: whether that entry is there.
    :ivar changes: the changes of nodes among the steps.
    :ivar jobs: the nodes whose jobs wait in the flow.
    :ivar unreadable: those of them whose job cannot be read.
    :ivar is_consistent: whether nothing has changed while it was read. Nothing follows from the counts of a flow that
        changes all the time, except that it goes on.
    """

    goes_on: bool = False
    is_cancelled: bool = False
    rest: int = 0
    settle: bytes = b""
    is_scheduled: bool = False
    sets: Sequence[StoredSet] = ()
    changes: Sequence[Change] = ()
    jobs: frozenset[int] = frozenset()
    unreadable: frozenset[int] = frozenset()
    ended: frozenset[int] = frozenset()
    bad: frozenset[int] = frozenset()
    skips: tuple[Span, ...] = ()
    is_consistent: bool = True

    def waiting(self, *, is_open: bool) -> set[int]:
        """Return the nodes that have not ended, and whose jobs are not to be anywhere but in the flow.

        :param is_open: whether its creator is at work. Only then may a node wait whose set was not written yet.
        """
        found = {number for each in self.sets if each.state != "released" for number in each.numbers}
        linked = {number for each in self.sets for number in each.numbers}
        return (found | (self.jobs if is_open else self.jobs & linked)) - self.ended

    def counts_of(self, set_: StoredSet) -> NodeCounts:
        """Return how the nodes before a set have ended, as far as that has been counted in it."""
        after = set_.after
        numbers = [number for each in after for number in range(each.first, each.stop)]
        counts = {
            "left": sum(number not in self.ended for number in numbers),
            "bad": sum(number in self.bad for number in numbers),
            "skipped": sum(_overlap(each, skip) for each in after for skip in self.skips),
        }
        for change in self.changes:
            both = sum(change.uncounted(each, set_.span.first) for each in after)
            for state, less in ((change.later, both), (change.before, -both)):
                if (name := _COUNTED.get(state)) is not None:
                    counts[name] -= less
        return NodeCounts(**counts)


_COUNTED = {"left": "left", "failed": "bad", "cancelled": "bad", "skipped": "skipped"}


def _overlap(one: Span, other: Span) -> int:
    return max(0, min(one.stop, other.stop) - max(one.first, other.first))


@dataclass(slots=True)
class _Fields:
    """The fields of the hash of nodes, by their kinds."""

    sets: dict[int, bytes] = field(default_factory=dict)
    edges: dict[int, set[Span]] = field(default_factory=dict)
    blocks: dict[int, list[tuple[Span, int]]] = field(default_factory=dict)
    steps: dict[int, list[str]] = field(default_factory=dict)
    jobs: set[int] = field(default_factory=set)
    unreadable: set[int] = field(default_factory=set)
    settle: bytes = b""
    skips: tuple[Span, ...] = ()

    def add(self, name: bytes, value: bytes) -> None:
        kind, _, text = name.decode(errors="replace").partition(":")
        number = int(text) if text.lstrip("-").isascii() and text.lstrip("-").isdigit() else None
        if kind == "settle":
            self.settle = value
        elif kind == "skips":
            self.skips = tuple(_spans(_numbers(value)))
        elif number is None:
            return
        elif kind == "set":
            self.sets[number] = value
        elif kind == "next":
            words = _numbers(value)
            ranges = zip(words[::3], words[1::3], words[2::3], strict=False)
            self.blocks[number] = [(Span(first, count), set_) for first, count, set_ in ranges]
            for span, set_ in self.blocks[number]:
                self.edges.setdefault(set_, set()).add(span)
        elif kind == "rest":
            self.steps[number] = value.decode(errors="replace").split()
        elif kind == "job":
            self.jobs.add(number)
            if not _is_job(value):
                self.unreadable.add(number)


async def read_flows(namespace: Namespace, flow_ids: Sequence[str]) -> dict[str, FlowReading]:
    """Return flows by their ids; those that are gone are left out, and so are batches that are none.

    :raises RedisError, OSError: when Redis refuses or cannot be reached.
    """
    batches, flows, found = BatchStore(namespace), FlowStore(namespace), dict[str, FlowReading]()
    for flow_id in filter(is_flow, flow_ids):
        deadline = time.monotonic() + READ_AGAIN_FOR
        (fields,) = await batches.read([flow_id])
        while fields:
            before = fields
            bits, nodes = await batches.bits(flow_id), _Fields()
            async for some in flows.scan(flow_id):
                for name, value in some.items():
                    nodes.add(name, value)
            is_scheduled = bool(nodes.settle) and await flows.is_scheduled(nodes.settle)
            (fields,) = await batches.read([flow_id])
            # A reading is inconsistent if nodes have ended meanwhile, and would show problems that the flow does not
            # have.
            if fields and (fields == before or time.monotonic() >= deadline):
                reading = _reading(fields, bits, nodes, is_scheduled=is_scheduled)
                found[flow_id] = replace(reading, is_consistent=fields == before)
                break
    return found


def _reading(fields: BatchFields, bits: Bits, nodes: _Fields, *, is_scheduled: bool) -> FlowReading:
    head, tail = _rest(fields.get(b"rest", b""))
    steps = [nodes.steps[number] for number in range(head, tail) if number in nodes.steps]
    return FlowReading(
        goes_on=fields.get(b"flow") == b"continue",
        is_cancelled=b"cancel" in fields,
        rest=tail - head,
        settle=nodes.settle,
        is_scheduled=is_scheduled,
        sets=tuple(_sets(nodes)),
        changes=tuple(_change(each[1:], nodes) for each in steps if len(each) == 6 and each[0] == "change"),
        jobs=frozenset(nodes.jobs),
        unreadable=frozenset(nodes.unreadable),
        ended=frozenset(numbers_of(bits.ended)),
        bad=frozenset([*numbers_of(bits.failed), *numbers_of(bits.cancelled)]),
        skips=nodes.skips,
    )


def _change(words: Sequence[str], nodes: _Fields) -> Change:
    first, count, at = int(words[0]), int(words[1]), int(words[4])
    block = first // _BLOCK
    counted = frozenset(nodes.blocks.get(block, [])[:at])
    return Change(Span(first, count), words[2], words[3], counted, _BLOCK * (block + 1))


def _sets(nodes: _Fields) -> Iterator[StoredSet]:
    for first, text in sorted(nodes.sets.items()):
        words = text.decode(errors="replace").split()
        counts = [read_count(each.encode()) for each in (words[:1] + words[3:])]
        if len(words) != 6 or words[1] not in [each.value for each in When] or None in counts:
            continue
        count, left, bad, skipped = (each or 0 for each in counts)
        after = tuple(sorted(nodes.edges.get(first, ())))
        yield StoredSet(Span(first, count), When(words[1]), words[2], NodeCounts(left, bad, skipped), after, text)


def _rest(text: bytes) -> tuple[int, int]:
    numbers = _numbers(text)
    return (numbers[0], numbers[1]) if len(numbers) == 2 else (0, 0)


def _numbers(text: bytes) -> list[int]:
    try:
        return list(map(int, text.split()))
    except ValueError:
        return []


def _spans(numbers: Sequence[int]) -> Iterator[Span]:
    return (Span(first, count) for first, count in zip(numbers[::2], numbers[1::2], strict=False))


def _is_job(text: bytes) -> bool:
    if text[:1] in (b"+", b"@"):
        _, _, text = text.partition(b" ")
    try:
        Job.decode(text)
    except PayloadError:
        return False
    return True
