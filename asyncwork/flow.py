"""Flows: jobs that run after one another."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Literal, TypeVar, overload

from ._admin.flow_handle import FlowHandle
from ._jobs.batch_options import batch_options, short_text
from ._jobs.flow_builder import FlowBuilder
from ._jobs.flow_nodes import Node, Nodes
from ._jobs.given_jobs import job_of, nodes_of
from ._jobs.ids import make_flow_id
from ._jobs.job_call import JobCall
from ._jobs.names import Named
from ._jobs.printable import shown
from ._redis.base_client import translated_errors
from ._redis.batch_source import BatchSource
from ._redis.enqueue_steps import Steps
from ._redis.flow_writer import FlowOptions, FlowWriter, NewNodes
from .errors import AsyncworkError, UniqueConflictError, UsageError
from .models.flows import When

if TYPE_CHECKING:
    from .client import Client

__all__ = ["Flow", "SyncFlow"]

T = TypeVar("T")
V = TypeVar("V")


class BaseFlow:
    """The base of flows, whether their calls block or not.

    :ivar id: its id, ``w`` and 23 hex digits, for :meth:`Client.flow`.
    """

    def __init__(
        self, source: BatchSource, name: str, *, on_failure: str = "cancel", unique: str = "", tags: Sequence[str] = ()
    ) -> None:
        self.id: str = make_flow_id()
        self._source = source
        self._options = flow_options(self.id, name, on_failure, unique, tags, source.now)
        self._builder = FlowBuilder(self.id)
        self._nodes = NewNodes(source.keys, source.now)
        self._is_started = False

    @overload
    def add(
        self,
        job: JobCall[Coroutine[Any, Any, V]],
        args: None = None,
        *,
        after: Node[Any] | Nodes[Any] | Sequence[Node[Any] | Nodes[Any]] | None = None,
        when: When | Literal["success", "done", "failure"] = "success",
        label: str = "",
    ) -> Node[V]: ...
    @overload
    def add(
        self,
        job: JobCall[V],
        args: None = None,
        *,
        after: Node[Any] | Nodes[Any] | Sequence[Node[Any] | Nodes[Any]] | None = None,
        when: When | Literal["success", "done", "failure"] = "success",
        label: str = "",
    ) -> Node[V]: ...
    @overload
    def add(
        self,
        job: str | Named,
        args: Mapping[str, Any] | None = None,
        *,
        after: Node[Any] | Nodes[Any] | Sequence[Node[Any] | Nodes[Any]] | None = None,
        when: When | Literal["success", "done", "failure"] = "success",
        label: str = "",
    ) -> Node[Any]: ...
    def add(
        self,
        job: JobCall[Any] | str | Named,
        args: Mapping[str, Any] | None = None,
        *,
        after: Node[Any] | Nodes[Any] | Sequence[Node[Any] | Nodes[Any]] | None = None,
        when: When | Literal["success", "done", "failure"] = "success",
        label: str = "",
    ) -> Node[Any]:
        """Add a node: a job that runs once. Nothing is written before :meth:`Flow.start`.

        Since it can only follow nodes that were added before, no node can wait for itself.

        :param job: a ``task.call(…)``; or a job's name or task, with its arguments. An argument may be, or have within,
            the :attr:`Node.result` of a node that it then follows.
        :param after: the nodes that it follows.
        :param when: when it runs: if all of those are done (``success``), once they have ended, however (``done``), or
            once they have ended and at least one is not done (``failure``).
        :param label: what the pages call it; by default the name of the job.
        :raises UsageError: when one of these is not valid, ``after`` or a result is of another flow, the job is unique
            or has an id, or the flow has been started.
        :raises ArgumentEncodingError: when JSON cannot hold the arguments.
        """
        return Node(self.id, self._add([job_of(job, args)], after, when, label)[0])

    @overload
    def add_many(
        self,
        jobs: Iterable[JobCall[Coroutine[Any, Any, V]]],
        args: None = None,
        *,
        after: Node[Any] | Nodes[Any] | Sequence[Node[Any] | Nodes[Any]] | None = None,
        when: When | Literal["success", "done", "failure"] = "success",
        label: str = "",
    ) -> Nodes[V]: ...
    @overload
    def add_many(
        self,
        jobs: Iterable[JobCall[V]],
        args: None = None,
        *,
        after: Node[Any] | Nodes[Any] | Sequence[Node[Any] | Nodes[Any]] | None = None,
        when: When | Literal["success", "done", "failure"] = "success",
        label: str = "",
    ) -> Nodes[V]: ...
    @overload
    def add_many(
        self,
        jobs: Iterable[JobCall[Any] | tuple[str | Named, Mapping[str, Any] | None]] | str | Named,
        args: Iterable[Mapping[str, Any] | None] | None = None,
        *,
        after: Node[Any] | Nodes[Any] | Sequence[Node[Any] | Nodes[Any]] | None = None,
        when: When | Literal["success", "done", "failure"] = "success",
        label: str = "",
    ) -> Nodes[Any]: ...
    def add_many(
        self,
        jobs: Iterable[JobCall[Any] | tuple[str | Named, Mapping[str, Any] | None]] | str | Named,
        args: Iterable[Mapping[str, Any] | None] | None = None,
        *,
        after: Node[Any] | Nodes[Any] | Sequence[Node[Any] | Nodes[Any]] | None = None,
        when: When | Literal["success", "done", "failure"] = "success",
        label: str = "",
    ) -> Nodes[Any]:
        """Add many nodes that are shown as one group, as :meth:`add` adds one.

        :param jobs: calls that ``task.call(…)`` returns, and pairs of a name and arguments; or one name or task.
        :param args: the arguments of each, if ``jobs`` is a name or task.
        :raises UsageError, ArgumentEncodingError: as :meth:`add`, and when there is no job; the message says which job
            is not valid. None of them is added then.
        """
        first, count = self._add(nodes_of(jobs, args), after, when, label)
        return Nodes(self.id, first, count)

    def _add(self, jobs: list[object], after: object, when: object, label: object) -> tuple[int, int]:
        self._require_new()
        plan = self._builder.plan
        before = plan.mark()
        try:
            span, calls, roots = self._builder.add(jobs, after, when, label)
            self._nodes.add(self.id, span, calls, roots)
        except BaseException:
            plan.reset(before)
            raise
        return span.first, span.size

    def _require_new(self) -> None:
        if self._is_started:
            raise UsageError(
                f"flow {self.id} has been started: make another one, or add nodes in one that runs: job.flow.add(…)"
            )

    def _start_steps(self) -> tuple[FlowWriter, Steps[None]]:
        self._require_new()
        if not self._builder.plan.roots:
            raise UsageError(f"flow {self.id} has no node: add one with flow.add(task.call(…))")
        self._is_started = True
        writer = FlowWriter(self._source, self.id, self._options)
        return writer, writer.start(self._builder.plan, self._nodes)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.id}>"


class Flow(BaseFlow):
    """Jobs that run after one another, which :meth:`WorkerPool.flow` returns: add nodes, then start it.

    A flow of up to 1,000 nodes and 1 MB is written in one step: all of it or nothing. A larger one is written in parts,
    and its first nodes run meanwhile.

    :ivar id: its id, ``w`` and 23 hex digits, for :meth:`Client.flow`.
    """

    def __init__(
        self,
        source: BatchSource,
        run: Callable[[Steps[Any]], Awaitable[Any]],
        make_client: Callable[[], Client],
        wait_for: Callable[[str, float | None], Awaitable[None]],
        name: str = "",
        **options: Any,
    ) -> None:
        super().__init__(source, name, **options)
        self._run = run
        self._make_client = make_client
        self._wait_for = wait_for

    async def start(self) -> FlowHandle:
        """Write the flow, so that the nodes run that follow no others; return its handle. If the task is cancelled
        meanwhile, the nodes that were written are cancelled, too.

        :raises UsageError: when it has no nodes, or has been started.
        :raises UniqueConflictError: when another flow with its ``unique`` has not ended. Nothing is written then, and
            it may be started later. The error has the id of the other flow as ``holder_id``.
        :raises QueueFull: when too many jobs of the tenant of a node wait. The nodes that were written are cancelled.
        :raises RedisUnavailable: when Redis refuses or cannot be reached. The nodes that were written are
            cancelled, if possible.
        """
        writer, steps = self._start_steps()
        try:
            with translated_errors(self._source.masked_url):
                await self._run(steps)
        except UniqueConflictError:
            # Nothing was written, and it may be started later.
            self._is_started = False
            raise
        except (AsyncworkError, asyncio.CancelledError):
            # If Redis cannot be reached, the flow stays open, and the doctor finds it.
            with suppress(AsyncworkError), translated_errors(self._source.masked_url):
                await self._run(writer.abandon(NOT_WRITTEN))
            raise
        return FlowHandle(self.id, self._make_client, self._wait_for)


class SyncFlow(BaseFlow):
    """The same as :class:`Flow` for code without an event loop.

    :ivar id: its id, ``w`` and 23 hex digits, for :meth:`Client.flow`.
    """

    def __init__(self, source: BatchSource, run: Callable[[Steps[Any]], Any], name: str = "", **options: Any) -> None:
        super().__init__(source, name, **options)
        self._run = run

    def start(self) -> str:
        """Write the flow, as :meth:`Flow.start` does; return its id.

        :raises UsageError, UniqueConflictError, QueueFull, RedisUnavailable: as there.
        """
        writer, steps = self._start_steps()
        try:
            with translated_errors(self._source.masked_url):
                self._run(steps)
        except UniqueConflictError:
            self._is_started = False
            raise
        except (AsyncworkError, KeyboardInterrupt):
            with suppress(AsyncworkError), translated_errors(self._source.masked_url):
                self._run(writer.abandon(NOT_WRITTEN))
            raise
        return self.id


# Why the nodes of a flow are cancelled whose creator has failed.
NOT_WRITTEN = "its creator could not write all of its nodes"


def flow_options(flow_id: str, name: object, on_failure: object, unique: object, tags: object, now: int) -> FlowOptions:
    """Return what a flow is created with.

    :raises UsageError: when a value is not valid.
    """
    if on_failure not in ("cancel", "continue"):
        raise UsageError(f"on_failure must be 'cancel' or 'continue', not {shown(on_failure)}")
    assert isinstance(on_failure, str)
    text = "" if unique is None else short_text(unique, "unique, the text by which a flow is unique,")
    return FlowOptions(batch_options(flow_id, name, tags, {}, now, "flow"), on_failure, text)
