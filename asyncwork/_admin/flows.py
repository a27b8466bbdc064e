"""Reads flows: their nodes and how far each is."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence

from .._jobs.membership import member_id
from .._jobs.stored_group import StoredGroup
from .._json import codec
from .._redis.batch_store import BatchStore, Bits
from .._redis.flow_store import FlowStore
from .._redis.namespace import Namespace
from .._redis.protocol import decode
from ..errors import PayloadError
from ..models.flows import FlowNode, FlowNodes, FlowStatus, NodeGroup, NodeState
from .batches import read_batch
from .lookup import start_of
from .time_slices import TimeSlices


class FlowReader:
    """Reads flows.

    Every method raises RedisError or OSError when Redis refuses or cannot be reached.
    """

    def __init__(self, namespace: Namespace) -> None:
        self._batches = BatchStore(namespace)
        self._flows = FlowStore(namespace)

    async def has_ended(self, flow_id: str) -> bool:
        """Return whether a flow has ended, or is gone."""
        return await self._flows.has_ended(flow_id)

    async def read(self, flow_id: str) -> FlowStatus | None:
        """Return a flow; ``None`` if it is gone, or never was."""
        (fields,) = await self._batches.read([flow_id])
        if not fields:
            return None
        slices = TimeSlices()
        groups = await self._groups(flow_id, slices)
        bits = await self._batches.bits(flow_id)
        sets = await self._flows.set_states(flow_id, [number async for number in slices.of(_sets_of(groups))])
        firsts, shown = [each.first for each in groups], list[NodeGroup]()
        async for each in slices.of(groups):
            states = _states(each, bits, sets)
            shown.append(
                NodeGroup(
                    each.first,
                    each.count,
                    each.name,
                    each.label,
                    each.when,
                    tuple(sorted({_group_of(number, firsts) for number in each.after})),
                    ((next(states), 1),) if each.count == 1 else await _counted(slices.of(states)),
                )
            )
        return FlowStatus(
            read_batch(flow_id, fields),
            on_failure=decode(fields.get(b"flow", b"cancel")),
            unique=decode(fields.get(b"unique", b"")),
            groups=tuple(shown),
        )

    async def _groups(self, flow_id: str, slices: TimeSlices) -> list[StoredGroup]:
        """Return the groups of nodes in the order of their numbers. Groups that cannot be read are left out."""
        found: list[StoredGroup] = []
        async for part in slices.of(await self._flows.groups(flow_id)):
            try:
                groups = codec.decode(part)
            except PayloadError:
                continue
            found += [group async for each in slices.of(groups) if (group := StoredGroup.read(each)) is not None]
        return sorted(found, key=lambda each: each.first)

    async def left_before(self, flow_id: str, number: int) -> int:
        """Return how many nodes before one that waits have not ended; 0 for one that does not wait."""
        groups = await self._groups(flow_id, TimeSlices())
        group = next((each for each in groups if number in each.numbers), None)
        if group is None:
            return 0
        return await self._flows.left_before(flow_id, number, number if group.set is None else group.set)

    async def nodes(self, flow_id: str, first: int, page: int, per_page: int, state: NodeState | None) -> FlowNodes:
        """Return a page of the nodes of a group; none if there is no such group.

        :raises UsageError: when a number is out of range.
        """
        start = start_of(page, per_page)
        slices = TimeSlices()
        groups = await self._groups(flow_id, slices)
        group = next((each for each in groups if each.first == first), None)
        if group is None:
            return FlowNodes((), 0, page, 1)
        bits = await self._batches.bits(flow_id)
        sets = await self._flows.set_states(flow_id, [number async for number in slices.of(_sets_of([group]))])
        states, found = zip(group.numbers, _states(group, bits, sets), strict=True), list[tuple[int, NodeState]]()
        async for each in slices.of(states):
            if state is None or each[1] is state:
                found.append(each)
        shown = tuple(
            FlowNode(number, member_id(flow_id, number), each) for number, each in found[start : start + per_page]
        )
        return FlowNodes(shown, len(found), page, max(1, -(-len(found) // per_page)))


def _group_of(number: int, firsts: Sequence[int]) -> int:
    at = bisect_right(firsts, number)
    return firsts[at - 1] if at else number


def _sets_of(groups: Sequence[StoredGroup]) -> Iterator[int]:
    seen: set[int] = {-1}
    for each in groups:
        for number in each.numbers if each.set is None else (each.set,):
            if number not in seen:
                seen.add(number)
                yield number


def _states(group: StoredGroup, bits: Bits, sets: Mapping[int, str]) -> Iterator[NodeState]:
    for number in group.numbers:
        at, mask = number // 8, 0x80 >> number % 8
        state = sets.get(number if group.set is None else group.set, "released")
        if not (at < len(bits.ended) and bits.ended[at] & mask):
            yield NodeState.WAITING if state == "waiting" else NodeState.ENQUEUED
        elif at < len(bits.failed) and bits.failed[at] & mask:
            yield NodeState.FAILED
        elif at < len(bits.cancelled) and bits.cancelled[at] & mask:
            yield NodeState.CANCELLED
        else:
            yield NodeState.SKIPPED if state == "skipped" else NodeState.DONE


async def _counted(states: AsyncIterator[NodeState]) -> tuple[tuple[NodeState, int], ...]:
    counts = Counter[NodeState]()
    async for each in states:
        counts[each] += 1
    return tuple((each, counts[each]) for each in NodeState if counts[each])
