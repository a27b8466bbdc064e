"""Adds nodes to the flows of the jobs that a pool runs."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

from .._jobs.flow_builder import FlowBuilder
from .._jobs.flow_nodes import Node
from .._jobs.job_flow import JobFlow, sources
from .._jobs.membership import member_of
from .._redis.base_client import translated_errors
from .._redis.batch_source import BatchSource
from .._redis.enqueue_steps import Steps
from .._redis.errors import REDIS_ERRORS
from .._redis.flow_writer import FlowWriter, NewNodes
from .._worker.launcher import Launcher
from ..enqueuer import Enqueuer
from ..job import Job


class FlowOpener:
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
        if launcher is None or member is None or not launcher.runs(job):
            return None
        source = self._enqueuer._batch_source()
        return JobFlow(member, NodeAdder(source, self._enqueuer._producer.run, flow_id, launcher.wake_requeuer).add)


class NodeAdder:
    """Adds nodes to a flow while one of its jobs runs.

    :param wake: has due jobs moved to their queues.
    """

    def __init__(
        self,
        source: BatchSource,
        run: Callable[[Steps[Any]], Awaitable[Any]],
        flow_id: str,
        wake: Callable[[], None],
    ) -> None:
        self._flow_id = flow_id
        self._source = source
        self._run = run
        self._wake = wake

    async def add(self, jobs: list[object], after: object, when: object, label: object) -> int:
        """Write jobs as nodes; return the number of the first one.

        :raises UsageError, ArgumentEncodingError, BatchEndedError, QueueFull, RedisUnavailable: as :meth:`JobFlow.add`.
        """
        nodes_before, writer = self._nodes_of(after), FlowWriter(self._source, self._flow_id, None)
        with translated_errors(self._source.masked_url):
            try:
                first: int = await self._run(self._add_steps(writer, jobs, nodes_before, when, label))
            except asyncio.CancelledError:
                # Nothing would have these run. If Redis cannot be reached, the doctor finds them.
                with suppress(*REDIS_ERRORS):
                    await self._run(writer.cancel_unlinked())
                raise
        # The nodes before the new ones may have ended.
        self._wake()
        return first

    def _add_steps(
        self, writer: FlowWriter, jobs: list[object], after: object, when: object, label: object
    ) -> Steps[int]:
        # Check the nodes before numbers are reserved.
        FlowBuilder(self._flow_id, _HIGHEST).add(jobs, after, when, label)
        first = yield from writer.reserve(len(jobs))
        builder, nodes = FlowBuilder(self._flow_id, first), NewNodes(self._source.keys, self._source.now)
        span, calls, roots = builder.add(jobs, after, when, label)
        # Nodes may be added later that take the results of these.
        builder.plan.wanted.update(range(span.first, span.stop))
        nodes.add(self._flow_id, span, calls, roots)
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
