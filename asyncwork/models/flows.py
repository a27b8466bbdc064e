"""Flows: jobs that run after one another, and how far they are."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from .batches import BatchStatus


class NodeState(StrEnum):
    """How far a node of a flow is.

    :cvar WAITING: it waits for others.
    :cvar ENQUEUED: those before it have ended, and its job is on its way: it waits on its queue, runs, or is to be
        retried.
    :cvar DONE: its job is done.
    :cvar FAILED: its job has failed for good.
    :cvar CANCELLED: it was cancelled or deleted, or cannot run any more because one before it is not done.
    :cvar SKIPPED: it was to run after a failure, and there was none; or one before it was skipped.
    """

    WAITING = "waiting"
    ENQUEUED = "enqueued"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"
    SKIPPED = "skipped"


class When(StrEnum):
    """When a node runs, once all those before it have ended.

    :cvar SUCCESS: when all of them are done.
    :cvar DONE: however they have ended.
    :cvar FAILURE: when at least one of them is not done.
    """

    SUCCESS = "success"
    DONE = "done"
    FAILURE = "failure"


@dataclass(frozen=True, slots=True)
class NodeGroup:
    """The nodes that one ``add`` or ``add_many`` has added to a flow.

    :ivar first: the number of the first of them, from 0; also names the group. The id of the job of node 7 of the flow
        ``ID`` is ``ID-7``.
    :ivar count: how many they are; 1 if ``add`` has added it.
    :ivar name: the name of their jobs; of several names, the first.
    :ivar label: what the program has called them; empty if it has not.
    :ivar when: when they run.
    :ivar after: the numbers of the first nodes of the groups that they run after.
    :ivar states: of each state, how many of them are in it; those with 0 are left out.
    """

    first: int
    count: int
    name: str
    label: str = ""
    when: When = When.SUCCESS
    after: tuple[int, ...] = ()
    states: tuple[tuple[NodeState, int], ...] = ()


@dataclass(frozen=True, slots=True)
class FlowStatus:
    """A flow.

    :ivar batch: its id, name, tags, counters, times and cancellation. A flow is counted like a batch whose members are
        its nodes: those that wait for others are ``left``; skipped ones count as done.
    :ivar on_failure: ``cancel`` or ``continue``, what happens to nodes after one that is not done.
    :ivar unique: the text by which it is unique; empty if it is not.
    :ivar groups: its nodes in the order in which they were added, those that were added together as one.
    """

    batch: BatchStatus
    on_failure: str = "cancel"
    unique: str = ""
    groups: tuple[NodeGroup, ...] = ()


@dataclass(frozen=True, slots=True)
class FlowNode:
    """A node of a flow.

    :ivar number: its number in the flow, from 0.
    :ivar id: its id as a job.
    """

    number: int
    id: str
    state: NodeState


@dataclass(frozen=True, slots=True)
class FlowNodes:
    """A page of the nodes of a group, in the order in which they were added.

    :ivar nodes: up to ``per_page`` nodes.
    :ivar total: how many nodes of the group are in the wanted state; all of them if none was asked for.
    :ivar page: the number of the page, from 1.
    :ivar pages: the number of pages; 1 if there is no node.
    """

    nodes: tuple[FlowNode, ...]
    total: int
    page: int
    pages: int
