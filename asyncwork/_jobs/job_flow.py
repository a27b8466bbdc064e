"""The part of :class:`Job` that adds nodes to the flow of the job."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeVar, overload
from weakref import WeakSet

from ..errors import UsageError
from ..models.flows import When
from .flow_nodes import Node, Nodes
from .given_jobs import job_of, nodes_of
from .job_call import JobCall
from .membership import Member, batch_of, is_flow
from .names import Named

if TYPE_CHECKING:
    from ..job import Job

V = TypeVar("V")


class JobFlow:
    """The flow of a job that runs, which :attr:`Job.flow` returns: adds nodes to it. It cannot end meanwhile.

    :ivar id: the id of the flow, for :meth:`Client.flow`.
    """

    def __init__(self, member: Member, add: Callable[[list[object], object, object, object], Awaitable[int]]) -> None:
        self.id: str = member.batch_id
        self._node: Node[Any] = Node(member.batch_id, member.number)
        # Writes jobs, with what they follow, when, and their label; returns the number of the first node.
        self._add = add

    @property
    def result(self) -> Any:
        """Stands for what this job will return, as an argument of a node that then follows it; see
        :attr:`Node.result`.
        """
        return self._node.result

    @overload
    async def add(
        self,
        job: JobCall[Coroutine[Any, Any, V]],
        args: None = None,
        *,
        after: Job | Node[Any] | Nodes[Any] | Sequence[Job | Node[Any] | Nodes[Any]] | None = None,
        when: When | Literal["success", "done", "failure"] = "success",
        label: str = "",
    ) -> Node[V]: ...
    @overload
    async def add(
        self,
        job: JobCall[V],
        args: None = None,
        *,
        after: Job | Node[Any] | Nodes[Any] | Sequence[Job | Node[Any] | Nodes[Any]] | None = None,
        when: When | Literal["success", "done", "failure"] = "success",
        label: str = "",
    ) -> Node[V]: ...
    @overload
    async def add(
        self,
        job: str | Named,
        args: Mapping[str, Any] | None = None,
        *,
        after: Job | Node[Any] | Nodes[Any] | Sequence[Job | Node[Any] | Nodes[Any]] | None = None,
        when: When | Literal["success", "done", "failure"] = "success",
        label: str = "",
    ) -> Node[Any]: ...
    async def add(
        self,
        job: JobCall[Any] | str | Named,
        args: Mapping[str, Any] | None = None,
        *,
        after: Job | Node[Any] | Nodes[Any] | Sequence[Job | Node[Any] | Nodes[Any]] | None = None,
        when: When | Literal["success", "done", "failure"] = "success",
        label: str = "",
    ) -> Node[Any]:
        """Add a node to the flow, as :meth:`Flow.add` does. It is written at once, and runs at once if it follows no
        others. A later attempt of this job, after a failure or a crash, adds it again: to add it once, do that in a
        function that returns nothing, and call this as a :meth:`Job.step`.

        :param after: the nodes that it follows: this job, and those that this job has added.
        :raises UsageError, ArgumentEncodingError: as there.
        :raises BatchEndedError: when the flow was cancelled, or is not kept any more.
        :raises QueueFull: when too many jobs of its tenant wait.
        :raises RedisUnavailable: when Redis refuses or cannot be reached.
        """
        return Node(self.id, await self._add([job_of(job, args)], after, when, label))

    async def add_many(
        self,
        jobs: Iterable[JobCall[Any] | tuple[str | Named, Mapping[str, Any] | None]] | str | Named,
        args: Iterable[Mapping[str, Any] | None] | None = None,
        *,
        after: Job | Node[Any] | Nodes[Any] | Sequence[Job | Node[Any] | Nodes[Any]] | None = None,
        when: When | Literal["success", "done", "failure"] = "success",
        label: str = "",
    ) -> Nodes[Any]:
        """Add many nodes that are shown as one group, as :meth:`add` adds one.

        :param jobs: as for :meth:`Flow.add_many`.
        :raises UsageError, ArgumentEncodingError, BatchEndedError, QueueFull, RedisUnavailable: as :meth:`add`.
        """
        found = nodes_of(jobs, args)
        return Nodes(self.id, await self._add(found, after, when, label), len(found))


class FlowSource(Protocol):
    """Runs jobs; some of them are nodes of flows."""

    def open_flow(self, job: Any, flow_id: str) -> JobFlow | None:
        """Return the flow of a job that runs here; ``None`` if it does not."""


# The pools of this process that have been started.
sources: WeakSet[FlowSource] = WeakSet()


class HasFlow:
    """Has the flow of a job."""

    __slots__ = ()

    name: str
    id: str

    @property
    def flow(self) -> JobFlow:
        """The flow that has the job as a node, to add others: ``await job.flow.add(more.call(), after=job)``.

        :raises UsageError: when it is no node of a flow, or no pool of this process runs it.
        """
        flow_id = batch_of(self.id)
        if flow_id is None or not is_flow(flow_id):
            raise UsageError(f"{self.name} {self.id} is no node of a flow")
        for source in tuple(sources):
            if (found := source.open_flow(self, flow_id)) is not None:
                return found
        raise UsageError(f"{self.name} {self.id} adds no nodes: no pool of this process runs it")
