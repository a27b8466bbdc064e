"""Writes flows and their nodes, in round trips without a connection.

A flow is a batch whose members are its nodes. Those that follow no others are enqueued as members of batches are. The
others wait in a hash of the flow, from which scripts take them when those before them have ended.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, suppress
from datetime import timedelta
from typing import NamedTuple

from .._jobs.batch_options import BatchOptions
from .._jobs.enqueue_options import EnqueueOptions
from .._jobs.flow_plan import FlowPlan, NodeSet, Span, joined
from .._jobs.job_call import JobCall
from .._jobs.membership import SETTLE_NAME, MemberState, member_id
from .._jobs.payload import encode_job
from .._jobs.stored_group import StoredGroup
from ..errors import QueueFull, UniqueConflictError
from . import scripts
from .base_client import unavailable
from .batch_source import BatchSource
from .batch_writer import BATCH_TTL, MOST_BYTES, MOST_MEMBERS, BatchWriter
from .enqueue_steps import Request, Steps, refusal_of
from .errors import REDIS_ERRORS
from .keys import Keys
from .member_calls import shared_keys
from .new_jobs import NewJobs
from .protocol import command, encode, pack
from .slices import slices

# Members settled by one command.
_SETTLED = 500


class FlowOptions(NamedTuple):
    """The checked options with which a flow is created.

    :ivar on_failure: ``cancel`` or ``continue``.
    :ivar unique: the text by which it is unique; empty if it is not.
    """

    batch: BatchOptions
    on_failure: str
    unique: str


class NewNodes:
    """The jobs of nodes that are about to be written, in the order of their numbers.

    :param now: epoch seconds.
    """

    def __init__(self, keys: Keys, now: int) -> None:
        self.roots = NewJobs(keys, now)
        self.waiting = NewJobs(keys, now)
        # By position among those that wait, how long they do that once those before them have ended.
        self._waits: dict[int, bytes] = {}

    def add(self, flow_id: str, span: Span, calls: Sequence[JobCall], roots: Sequence[bool]) -> None:
        """Add the jobs of nodes.

        :raises UsageError, ArgumentEncodingError: when one is not valid; then none of them is added.
        """
        counts = len(self.roots.jobs), len(self.waiting.jobs)
        ids = (member_id(flow_id, number) for number in range(span.first, span.stop))
        try:
            for position, (call, job_id, is_root) in enumerate(zip(calls, ids, roots, strict=True)):
                if not is_root and (wait := _wait_of(call.options)):
                    self._waits[len(self.waiting.jobs)] = wait
                new = self.roots if is_root else self.waiting
                new.add_all([call], iter((job_id,)), f"node {position}: " if span.size > 1 else "")
        except BaseException:
            self.roots.truncate(counts[0])
            self.waiting.truncate(counts[1])
            raise
        self.roots.ignore_limits()

    def field(self, position: int) -> bytes:
        """Return what the hash of the nodes holds of one that waits."""
        return self._waits.get(position, b"") + self.waiting.payload(position)


def _wait_of(options: EnqueueOptions) -> bytes:
    # The options have made numbers of these.
    assert not isinstance(options.delay, timedelta)
    if options.at is not None:
        return f"@{options.at} ".encode()
    return b"+%d " % math.ceil(options.delay) if options.delay else b""


class _Part(NamedTuple):
    """The part of a flow that is written in one transaction.

    :ivar span: the nodes.
    :ivar roots: the positions of those that follow no others.
    :ivar waiting: the positions of the others.
    :ivar sets: the sets whose last nodes are among these.
    :ivar groups: the groups whose last nodes are among these.
    """

    span: Span
    roots: range
    waiting: range
    sets: Sequence[NodeSet]
    groups: Sequence[StoredGroup]


class FlowWriter(BatchWriter):
    """One flow, as one program writes it.

    :param flow: what it is created with; ``None`` if it exists.
    """

    def __init__(self, source: BatchSource, flow_id: str, flow: FlowOptions | None) -> None:
        super().__init__(source, flow_id, None if flow is None else flow.batch)
        self._flow = flow
        # Nodes that are counted although nothing will ever schedule them.
        self._lost: list[int] = []
        # Nodes that were sent, and whose sets were not, except maybe the last ones.
        self._without_set = Span(0, 0)
        self._last_sets: Sequence[NodeSet] = ()

    def start(self, plan: FlowPlan, nodes: NewNodes) -> Steps[None]:
        """Write the flow with its nodes.

        :raises UniqueConflictError: when another flow has its text. Then nothing is written.
        :raises QueueFull: when too many jobs of the tenant of a node wait.
        :raises RedisError, OSError: when Redis refuses or cannot be reached.
        """
        assert self._flow is not None
        self._reserved = plan.next
        parts = list(_parts(plan, nodes))
        if self._flow.unique:
            yield from self._begin(self._flow)
        is_open = len(parts) > 1 or self.created
        yield from self._write_parts(plan, nodes, parts, is_open=is_open)
        if is_open:
            yield from self._close(0, close=True)

    def add_nodes(self, plan: FlowPlan, nodes: NewNodes) -> Steps[None]:
        """Write nodes whose numbers are reserved.

        :raises QueueFull, RedisError, OSError: as :meth:`start`.
        """
        try:
            yield from self._write_parts(plan, nodes, list(_parts(plan, nodes)), is_open=False)
        except Exception:
            # Nothing would have these run. If Redis cannot be reached, the doctor finds them.
            with suppress(*REDIS_ERRORS):
                yield from self.cancel_unlinked()
            raise

    def _begin(self, flow: FlowOptions) -> Steps[None]:
        """Create the flow if no other one has its text."""
        self._was_sent = True
        keys, unique = self._keys, encode(flow.unique)
        fields = self._fields(flow.batch, is_open=True)
        names = [keys.unique_flows, *keys.batch(self.batch_id), keys.batches, keys.open_batches]
        found = b""
        while True:
            holder = keys.batch(found.decode() or self.batch_id)[0]
            args = [unique, self.batch_id.encode(), found, b"%d" % BATCH_TTL, b"%d" % self._source.now, *fields]
            reply = yield from self._script("create_unique_flow", 9, pack(*map(encode, [*names, holder])), args)
            if not reply:
                self.created = True
                return
            if reply == found:
                other = found.decode(errors="replace")
                raise UniqueConflictError(
                    f"flow {other} is unique by {flow.unique!r}, and has not ended", flow.batch.name, other
                )
            found = reply

    def _fields(self, options: BatchOptions, *, is_open: bool) -> list[bytes]:
        fields = super()._fields(options, is_open=is_open)
        assert self._flow is not None
        fields += (b"flow", self._flow.on_failure.encode())
        if self._flow.unique:
            fields += (b"unique", encode(self._flow.unique))
        return fields

    def _write_parts(self, plan: FlowPlan, nodes: NewNodes, parts: Sequence[_Part], *, is_open: bool) -> Steps[None]:
        with ExitStack() as traces:
            for new in (nodes.roots, nodes.waiting):
                traces.enter_context(new.traced(self._source.tracing, self._source.namespace))
            for part in parts:
                yield from self._write_part(plan, nodes, part, is_open=is_open)

    def _write_part(self, plan: FlowPlan, nodes: NewNodes, part: _Part, *, is_open: bool) -> Steps[None]:
        first = self._without_set.first if self._without_set.size else part.span.first
        self._without_set, self._last_sets = Span(first, part.span.stop - first), part.sets
        roots, waiting = nodes.roots, nodes.waiting
        writes = roots.writes(part.roots) if part.roots else []
        names = [*roots.names(part.roots), *waiting.names(part.waiting)]
        before = [
            *self._creation(names, is_open=is_open),
            *self._counts(part.span.size),
            self._addition(plan, nodes, part),
        ]
        _, answered = yield from self._write_together(roots, list(dict.fromkeys(names)), before, writes)
        begun = max([*(each.stop for each in part.sets), first])
        self._without_set, self._last_sets = Span(begun, max(0, part.span.stop - begun)), ()
        failure: Exception | None = None
        for write, reply in answered:
            if isinstance(reply, Exception):
                self._lost += [int(roots.jobs[each].id[25:]) for each in write.jobs]
                failure = refusal_of(roots, write, reply)
        if failure is not None:
            yield from self._settle_lost()
            raise failure if isinstance(failure, QueueFull) else unavailable(failure, self._masked_url)

    def _addition(self, plan: FlowPlan, nodes: NewNodes, part: _Part) -> bytes:
        """Return the command that adds the nodes that wait, and what is known of all."""
        fields: list[bytes] = []
        for position in part.waiting:
            number = int(nodes.waiting.jobs[position].id[25:])
            fields += (b"job:%d" % number, nodes.field(position))
        if not plan.first and not part.span.first:
            _, entry = encode_job(
                SETTLE_NAME, {"flow": self.batch_id}, self._source.now, job_id=f"{self.batch_id}-settle"
            )
            fields += (b"settle", entry)
        groups = b"[%b]" % b",".join(each.encode() for each in part.groups) if part.groups else b""
        args = [b"%d" % BATCH_TTL, groups, b"%d" % (len(fields) // 2), *fields]
        for span in _wanted(plan, part.span):
            args += (b"%d" % span.first, b"%d" % span.size, b"wanted", b"0")
        for each in part.sets:
            args += (b"%d" % each.first, b"%d" % each.count, each.when.encode(), b"%d" % len(each.after))
            args += (b"%d" % number for span in each.after for number in span)
        keys = pack(*map(encode, [*shared_keys(self._keys), *self._keys.batch(self.batch_id)]))
        # With its source, because a transaction that lacks the script would be written without the nodes.
        return scripts.call("add_nodes", 9, keys, args, with_source=True)

    def abandon(self, reason: str) -> Steps[None]:
        """Cancel the nodes that were written and have not ended, and write no more. Does nothing to a flow that is not
        in Redis.

        :raises RedisError, OSError: when Redis refuses or cannot be reached.
        """
        yield from super().abandon(reason)
        if self.created:
            yield from self.cancel_unlinked()

    def cancel_unlinked(self) -> Steps[None]:
        """Cancel the nodes that were written without what they follow, as far as they were.

        :raises RedisError, OSError: when Redis refuses or cannot be reached.
        """
        numbers = set(range(self._without_set.first, self._without_set.stop))
        key = encode(self._keys.batch(self.batch_id)[4])
        for sets in slices(self._last_sets, _SETTLED):
            (found,) = yield Request([], [command(b"HMGET", key, *(b"set:%d" % each.first for each in sets))])
            if isinstance(found, list):
                for each, text in zip(sets, found, strict=True):
                    numbers.difference_update(range(each.first, each.stop) if text is not None else ())
        for some in slices(sorted(numbers), _SETTLED):
            # They are counted if they were written.
            (found,) = yield Request([], [command(b"HMGET", key, *(b"job:%d" % each for each in some))])
            if isinstance(found, list):
                self._lost += [each for each, job in zip(some, found, strict=True) if job is not None]
        yield from self._settle_lost()

    def _settle_lost(self) -> Steps[None]:
        keys = pack(*map(encode, [*shared_keys(self._keys), *self._keys.batch(self.batch_id)]))
        for some in slices(self._lost, _SETTLED):
            args = [part for each in some for part in (b"5", b"%d" % each, MemberState.CANCELLED.encode())]
            yield from self._script("settle_members", 9, keys, args)
        self._lost = []


def _parts(plan: FlowPlan, nodes: NewNodes) -> Iterator[_Part]:
    """Yield what is written at once: up to 1,000 nodes and 1 MB, in the order of their numbers."""
    sets, groups = iter(plan.sets), iter(plan.groups)
    set_, group = next(sets, None), next(groups, None)
    first, roots, waiting = plan.first, 0, 0
    while first < plan.next:
        number, size, root, wait = first, 0, roots, waiting
        while number < plan.next and number - first < MOST_MEMBERS and (size < MOST_BYTES or number == first):
            if plan.roots[number - plan.first]:
                size += nodes.roots.size_of(root)
                root += 1
            else:
                size += nodes.waiting.size_of(wait)
                wait += 1
            number += 1
        last_sets: list[NodeSet] = []
        last_groups: list[StoredGroup] = []
        while set_ is not None and set_.stop <= number:
            last_sets.append(set_)
            set_ = next(sets, None)
        while group is not None and group.first + group.count <= number:
            last_groups.append(group)
            group = next(groups, None)
        yield _Part(Span(first, number - first), range(roots, root), range(waiting, wait), last_sets, last_groups)
        first, roots, waiting = number, root, wait


def _wanted(plan: FlowPlan, span: Span) -> tuple[Span, ...]:
    """Return those of some nodes whose results are wanted by others."""
    if not plan.wanted:
        return ()
    if span.first == plan.first:
        # With the first of them, those that are there already.
        return joined(Span(each, 1) for each in plan.wanted if each < span.stop)
    return joined(Span(each, 1) for each in range(span.first, span.stop) if each in plan.wanted)
