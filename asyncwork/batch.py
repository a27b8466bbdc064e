"""Batches: jobs that belong together, with callbacks that are enqueued when they have ended."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterable, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from types import TracebackType
from typing import Any, Self, TypeVar

from ._jobs.given_jobs import job_of, jobs_of
from ._jobs.job_call import JobCall
from ._jobs.names import Named
from ._jobs.printable import shown
from ._redis.base_batch import NOT_BEGUN, BaseBatch, Use, new_writer
from ._redis.base_client import translated_errors
from ._redis.batch_source import BatchSource
from ._redis.batch_writer import MOST_MEMBERS, BatchWriter
from ._redis.enqueue_steps import Steps
from .errors import AsyncworkError, UsageError

__all__ = ["Batch", "SyncBatch"]

T = TypeVar("T")


class Batch(BaseBatch):
    """Jobs that belong together: an asynchronous context manager, which :meth:`WorkerPool.batch` returns.

    Members run as soon as they are written, while others are added. The members of a small batch, of up to 1,000 jobs
    and 1 MB, are written in one step at the end of the block, and the batch with them: all of it or nothing. With
    more, they are written by the thousand. An exception in the block cancels the members that were written.

    :ivar id: its id, 24 hex digits, for :meth:`Client.batch`.
    """

    def __init__(
        self,
        source: BatchSource,
        writer: BatchWriter,
        run: Callable[[Steps[Any]], Awaitable[Any]],
        *,
        at_once: bool = False,
        parent: Batch | None = None,
    ) -> None:
        super().__init__(source, writer, at_once=at_once)
        self._run_steps = run
        self._parent = parent
        self._lock = asyncio.Lock()

    async def add(self, job: JobCall[Any] | str | Named, args: Mapping[str, Any] | None = None) -> None:
        """Add a job.

        :param job: a ``task.call(…)``; or a job's name or task, with its arguments.
        :raises UsageError, ArgumentEncodingError: when it is not valid, has an id of its own, is unique by a mapping,
            or has a rule by which a newer job takes its place; this is called outside the batch's block; or a write
            of members before has failed.
        :raises BatchEndedError: when the batch has ended, was cancelled or is not kept any more; in a block, only once
            the job is written.
        :raises QueueFull, UniqueConflictError: when members are refused that are written now, because too many jobs
            wait, or another one has the key of a job with ``Unique(conflict="raise")``.
        :raises RedisUnavailable: when Redis refuses it or cannot be reached.
        """
        await self._run(lambda: self._add_steps([job_of(job, args)]))

    async def add_many(
        self,
        jobs: Iterable[JobCall[Any] | tuple[str | Named, Mapping[str, Any] | None]]
        | AsyncIterable[JobCall[Any] | tuple[str | Named, Mapping[str, Any] | None]]
        | str
        | Named,
        args: Iterable[Mapping[str, Any] | None] | AsyncIterable[Mapping[str, Any] | None] | None = None,
    ) -> None:
        """Add many jobs, which may be made one after another meanwhile: a generator of a million needs no memory.

        :param jobs: calls that ``task.call(…)`` returns, and pairs of a name and arguments; also from an asynchronous
            iterator. Or one name or task.
        :param args: the arguments of each job, if ``jobs`` is a name or task.
        :raises UsageError, ArgumentEncodingError, BatchEndedError, RedisUnavailable: as :meth:`add`. The message says
            which job is not valid. Jobs before it may have been added.
        """
        members, first = _members(jobs, args), 0
        if isinstance(members, AsyncIterable):
            some: list[object] = []
            async for each in members:
                some.append(each)
                if len(some) == MOST_MEMBERS:
                    await self._run_with(some, first)
                    some, first = [], first + MOST_MEMBERS
            members = some
        await self._run_with(members, first)

    async def flush(self) -> None:
        """Write the members that were added so far, so that they run now.

        :raises UsageError, BatchEndedError, RedisUnavailable: as :meth:`add`.
        """
        await self._run(self._flush_steps)

    def add_batch(
        self,
        name: str = "",
        *,
        on_success: JobCall[Any] | tuple[str | Named, Mapping[str, Any] | None] | None = None,
        on_done: JobCall[Any] | tuple[str | Named, Mapping[str, Any] | None] | None = None,
        on_failure: JobCall[Any] | tuple[str | Named, Mapping[str, Any] | None] | None = None,
        tags: Sequence[str] = (),
    ) -> Batch:
        """Return a batch that is a member of this one: it counts as one member, which has ended when all of its own
        have, as they have.

        :raises UsageError, ArgumentEncodingError: as :meth:`Enqueuer.batch`; or this is called outside the batch's
            block. Entering the other batch raises what :meth:`add` does.
        """
        self._require_open()
        return self._child(new_writer(self._source, name, tags, on_success, on_done, on_failure), self)

    async def cancel(self, reason: str = "") -> None:
        """Cancel the members that were written and have not ended. Those that wait are dropped when a pool meets them;
        :meth:`Client.cancel_batch` deletes them at once. No more can be added.

        :raises UsageError, RedisUnavailable: as :meth:`add`.
        """
        if not isinstance(reason, str):
            raise UsageError(f"reason must be text, not {shown(reason)}")
        self._require_open()
        await self._send(lambda: self._writer.abandon(reason))
        self._use = Use.CLOSED

    async def __aenter__(self) -> Self:
        """Begin the block.

        :raises UsageError: when it was entered before.
        :raises BatchEndedError, RedisUnavailable: as :meth:`add`, for a batch that is a member of another.
        """
        self._begin()
        if self._parent is not None:
            parent = self._parent
            try:
                await parent._run(lambda: parent._writer.add_batch(self._writer))
            except (AsyncworkError, asyncio.CancelledError):
                # It may have been written although there was no reply.
                await self._abandon(NOT_BEGUN)
                raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Write the members that are not written yet; the batch ends with the last of them. After an exception, cancel
        those that were written, and also if a write has failed before, whose error the block has caught.

        :raises UsageError: when a write has failed before.
        :raises BatchEndedError: when it writes members of a batch that was cancelled, or is not kept any more.
        :raises QueueFull, UniqueConflictError: as :meth:`add`. The members that were written are cancelled.
        :raises RedisUnavailable: when Redis refuses or cannot be reached. Written members are cancelled, if possible.
        """
        if self._use is not Use.OPEN:
            return
        try:
            if kind is not None:
                await self._abandon(f"its creator failed: {kind.__name__}")
                return
            try:
                await self._run(lambda: self._writer.write(close=True))
            except (AsyncworkError, asyncio.CancelledError):
                await self._abandon("its creator could not write all of its members")
                raise
        finally:
            self._use = Use.CLOSED

    async def _abandon(self, reason: str) -> None:
        # If Redis cannot be reached, the batch stays open, and the doctor finds it.
        with suppress(AsyncworkError):
            await self._send(lambda: self._writer.abandon(reason))

    async def _run_with(self, jobs: Iterable[object], first: int) -> None:
        await self._run(lambda: self._add_steps(jobs, first))

    async def _run(self, steps: Callable[[], Steps[T]]) -> T:
        self._require_open()
        return await self._send(steps, adds=True)

    async def _send(self, steps: Callable[[], Steps[T]], *, adds: bool = False) -> T:
        # Tasks may add jobs at the same time.
        async with self._lock:
            if adds:
                self._require_complete()
            with translated_errors(self._source.masked_url):
                result: T = await self._run_steps(steps())
                return result

    def _child(self, writer: BatchWriter, parent: Self) -> Self:
        return type(self)(self._source, writer, self._run_steps, parent=parent)


class SyncBatch(BaseBatch):
    """The same as :class:`Batch` for code without an event loop, in calls that block: a context manager.

    :ivar id: its id, 24 hex digits, for :meth:`Client.batch`.
    """

    def __init__(
        self,
        source: BatchSource,
        writer: BatchWriter,
        run: Callable[[Steps[Any]], Any],
        *,
        at_once: bool = False,
        parent: SyncBatch | None = None,
    ) -> None:
        super().__init__(source, writer, at_once=at_once)
        self._run_steps = run
        self._parent = parent
        self._lock = threading.Lock()
        # The thread that has the lock.
        self._writing: int | None = None

    def add(self, job: JobCall[Any] | str | Named, args: Mapping[str, Any] | None = None) -> None:
        """Add a job, as :meth:`Batch.add` does.

        :raises UsageError, ArgumentEncodingError, BatchEndedError, RedisUnavailable: as there.
        """
        self._run(lambda: self._add_steps([job_of(job, args)]))

    def add_many(
        self,
        jobs: Iterable[JobCall[Any] | tuple[str | Named, Mapping[str, Any] | None]] | str | Named,
        args: Iterable[Mapping[str, Any] | None] | None = None,
    ) -> None:
        """Add many jobs, as :meth:`Batch.add_many` does.

        :raises UsageError, ArgumentEncodingError, BatchEndedError, RedisUnavailable: as there.
        """
        members = _members(jobs, args)
        if isinstance(members, AsyncIterable):
            raise UsageError("only asyncwork.Batch takes jobs from an asynchronous iterator")
        self._run(lambda: self._add_steps(members))

    def flush(self) -> None:
        """Write the members that were added so far, so that they run now.

        :raises UsageError, BatchEndedError, RedisUnavailable: as :meth:`add`.
        """
        self._run(self._flush_steps)

    def add_batch(
        self,
        name: str = "",
        *,
        on_success: JobCall[Any] | tuple[str | Named, Mapping[str, Any] | None] | None = None,
        on_done: JobCall[Any] | tuple[str | Named, Mapping[str, Any] | None] | None = None,
        on_failure: JobCall[Any] | tuple[str | Named, Mapping[str, Any] | None] | None = None,
        tags: Sequence[str] = (),
    ) -> SyncBatch:
        """Return a batch that is a member of this one, as :meth:`Batch.add_batch` does.

        :raises UsageError, ArgumentEncodingError: as there.
        """
        self._require_open()
        return self._child(new_writer(self._source, name, tags, on_success, on_done, on_failure), self)

    def cancel(self, reason: str = "") -> None:
        """Cancel the members that were written and have not ended, as :meth:`Batch.cancel` does.

        :raises UsageError, RedisUnavailable: as :meth:`add`.
        """
        if not isinstance(reason, str):
            raise UsageError(f"reason must be text, not {shown(reason)}")
        self._require_open()
        self._send(lambda: self._writer.abandon(reason))
        self._use = Use.CLOSED

    def __enter__(self) -> Self:
        """Begin the block, as that of :class:`Batch`.

        :raises UsageError, BatchEndedError, RedisUnavailable: as there.
        """
        self._begin()
        if self._parent is not None:
            parent = self._parent
            try:
                parent._run(lambda: parent._writer.add_batch(self._writer))
            except (AsyncworkError, KeyboardInterrupt):
                self._abandon(NOT_BEGUN)
                raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """End the block, as that of :class:`Batch`.

        :raises UsageError, BatchEndedError, QueueFull, UniqueConflictError, RedisUnavailable: as there.
        """
        if self._use is not Use.OPEN:
            return
        try:
            if kind is not None:
                self._abandon(f"its creator failed: {kind.__name__}")
                return
            try:
                self._run(lambda: self._writer.write(close=True))
            except (AsyncworkError, KeyboardInterrupt):
                self._abandon("its creator could not write all of its members")
                raise
        finally:
            self._use = Use.CLOSED

    def _abandon(self, reason: str) -> None:
        # If Redis cannot be reached, the batch stays open, and the doctor finds it.
        with suppress(AsyncworkError):
            self._send(lambda: self._writer.abandon(reason))

    def _run(self, steps: Callable[[], Steps[T]]) -> T:
        self._require_open()
        return self._send(steps, adds=True)

    def _send(self, steps: Callable[[], Steps[T]], *, adds: bool = False) -> T:
        if self._writing == threading.get_ident():
            raise UsageError(f"batch {self.id}: what add_many iterates over cannot use the same batch")
        # Threads may add jobs at the same time.
        with self._lock, translated_errors(self._source.masked_url):
            if adds:
                self._require_complete()
            self._writing = threading.get_ident()
            try:
                result: T = self._run_steps(steps())
            finally:
                self._writing = None
            return result

    def _child(self, writer: BatchWriter, parent: Self) -> Self:
        return type(self)(self._source, writer, self._run_steps, parent=parent)


def _members(jobs: object, args: object) -> Iterable[object] | AsyncIterable[object]:
    """Return the jobs to add, as calls and pairs.

    :raises UsageError: when they cannot be iterated over.
    """
    if args is None and isinstance(jobs, AsyncIterable):
        return jobs
    return _named(jobs, args) if isinstance(args, AsyncIterable) else jobs_of(jobs, args)


async def _named(name: object, args: AsyncIterable[object]) -> AsyncIterable[object]:
    async for each in args:
        yield (name, each)
