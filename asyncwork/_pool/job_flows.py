"""Adds nodes to the flows of the jobs that a pool runs."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any, Literal

from .._jobs.flow_builder import FlowBuilder, job_of, jobs_of
from .._jobs.flow_nodes import Node, Nodes
from .._jobs.job_call import JobCall
from .._jobs.job_flow import JobFlow, sources
from .._jobs.membership import member_of
from .._jobs.names import Named
from .._redis.base_client import translated_errors
from .._redis.batch_source import BatchSource
from .._redis.enqueue_steps import Steps
from .._redis.errors import REDIS_ERRORS
from .._redis.flow_writer import FlowWriter, NewNodes
from .._worker.launcher import Launcher
from ..enqueuer import Enqueuer
from ..job import Job
from ..models.flows import When


class JobFlows:
    """Opens the flows of the jobs that a pool runs.

    :param enqueuer: the pool's.
    :param launcher: returns what runs its jobs; ``None`` while it does not run.
    """

    def __init__(self, enqueuer: Enqueuer, launcher: Callable[[], Launcher | None]) -> None:
        self._enqueuer = enqueuer
        self._launcher = launcher

    def start(self) -> None:
        """Let the jobs of the pool add nodes."""
        sources.add(self)

    def open_flow(self, job: Any, flow_id: str) -> JobFlow | None:
        """Return the flow of a job that the pool runs; ``None`` if it does not."""
        launcher, member = self._launcher(), member_of(job.id)
        if launcher is None or member is None or not any(each.job is job for each in launcher._all_workers):
            return None
        source = self._enqueuer._batch_source()
        return _RunningFlow(source, self._enqueuer._producer.run, flow_id, member.number, launcher._services._on_due)


class _RunningFlow(JobFlow):
    """The flow of a job that runs.

    :param number: that of the job among the nodes.
    :param wake: has due jobs moved to their queues.
    """

    def __init__(
        self,
        source: BatchSource,
        run: Callable[[Steps[Any]], Awaitable[Any]],
        flow_id: str,
        number: int,
        wake: Callable[[], None],
    ) -> None:
        self.id: str = flow_id
        self._source = source
        self._run = run
        self._node: Node[Any] = Node(flow_id, number)
        self._wake = wake

    @property
    def result(self) -> Any:
        return self._node.result

    async def add(
        self,
        job: JobCall[Any] | str | Named,
        args: Mapping[str, Any] | None = None,
        *,
        after: Job | Node[Any] | Nodes[Any] | Sequence[Job | Node[Any] | Nodes[Any]] | None = None,
        when: When | Literal["success", "done", "failure"] = "success",
        label: str = "",
    ) -> Node[Any]:
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
        found = jobs_of(jobs, args)
        return Nodes(self.id, await self._add(found, after, when, label), len(found))

    async def _add(self, jobs: list[object], after: object, when: object, label: object) -> int:
        nodes_before, writer = self._nodes_of(after), FlowWriter(self._source, self.id, None)
        with translated_errors(self._source.masked_url):
            try:
                first: int = await self._run(self._add_steps(writer, jobs, nodes_before, when, label))
            except asyncio.CancelledError:
                # Nothing would have these run. If Redis cannot be reached, the doctor finds them.
                with suppress(*REDIS_ERRORS):
                    await self._run(writer.cancel_unlinked())
                raise
        # Those before it may have ended.
        self._wake()
        return first

    def _add_steps(
        self, writer: FlowWriter, jobs: list[object], after: object, when: object, label: object
    ) -> Steps[int]:
        # What is not valid is found before numbers are reserved.
        FlowBuilder(self.id, _HIGHEST).add(jobs, after, when, label)
        first = yield from writer.reserve(len(jobs))
        builder, nodes = FlowBuilder(self.id, first), NewNodes(self._source.keys, self._source.now)
        span, calls, roots = builder.add(jobs, after, when, label)
        # Others may be added that take their results when they have ended.
        builder.plan.wanted.update(range(span.first, span.stop))
        nodes.add(self.id, span, calls, roots)
        yield from writer.add_nodes(builder.plan, nodes)
        return first

    def _nodes_of(self, after: object) -> object:
        """Return what nodes are to follow, with the node of this job in the place of the job."""
        if isinstance(after, Job):
            member = member_of(after.id)
            return after if member is None else Node(member.batch_id, member.number)
        return [self._nodes_of(each) for each in after] if isinstance(after, (list, tuple)) else after


# More than any number of a node.
_HIGHEST = 10**9
