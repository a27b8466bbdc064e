"""The block of a batch, which the public classes share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from enum import Enum
from typing import Any, Self

from .._jobs.batch_options import batch_options
from .._jobs.ids import make_identifier
from .._jobs.job_call import JobCall
from .._jobs.membership import Callback, check_batch_id, is_flow
from .._jobs.names import Named
from ..errors import UsageError
from .batch_source import BatchSource
from .batch_writer import BatchWriter
from .enqueue_steps import Steps

# Why a batch is cancelled whose block has not begun.
NOT_BEGUN = "its creator could not add it to the other batch"


class Use(Enum):
    """How far a batch has come."""

    NEW = "has not begun: use it as `async with pool.batch(…) as batch`"
    OPEN = ""
    CLOSED = "is over: to add jobs to it later, from one of its own, use pool.open_batch(job.batch_id)"


class BaseBatch(ABC):
    """The base of batches, whether their calls block or not.

    :ivar id: its id, 24 hex digits, for :meth:`Client.batch`.
    """

    def __init__(self, source: BatchSource, writer: BatchWriter, *, at_once: bool) -> None:
        self.id: str = writer.batch_id
        self._source = source
        self._writer = writer
        # A batch that was opened again has no block.
        self._at_once = at_once
        self._use = Use.OPEN if at_once else Use.NEW

    def _require_open(self) -> None:
        if self._use is not Use.OPEN:
            raise UsageError(f"batch {self.id}: its block {self._use.value}")

    def _require_complete(self) -> None:
        """Check that no write has failed before. To be called while no other task or thread writes."""
        if not self._at_once and self._writer.lacks_members:
            raise UsageError(
                f"batch {self.id} lacks members, because a write of some was refused or broken off: let the error "
                "leave the block, which cancels the others"
            )

    def _begin(self) -> None:
        if self._at_once or self._use is not Use.NEW:
            raise UsageError(f"batch {self.id} is entered once: make another one with pool.batch(…)")
        self._use = Use.OPEN

    def _add_steps(self, jobs: Iterable[object], first: int = 0) -> Steps[None]:
        yield from self._writer.add_all(iter(jobs), first)
        if self._at_once and self._writer.waiting:
            yield from self._writer.write(close=False)

    def _flush_steps(self) -> Steps[None]:
        if self._writer.waiting or not self._writer.created:
            yield from self._writer.write(close=False)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.id}>"

    @abstractmethod
    def _child(self, writer: BatchWriter, parent: Self) -> Self: ...


def new_writer(
    source: BatchSource,
    name: str,
    tags: Sequence[str],
    on_success: JobCall[Any] | tuple[str | Named, Mapping[str, Any] | None] | None,
    on_done: JobCall[Any] | tuple[str | Named, Mapping[str, Any] | None] | None,
    on_failure: JobCall[Any] | tuple[str | Named, Mapping[str, Any] | None] | None,
) -> BatchWriter:
    """Return what writes a new batch.

    :raises UsageError, ArgumentEncodingError: as :meth:`Enqueuer.batch`.
    """
    batch_id = make_identifier()
    callbacks = {Callback.SUCCESS: on_success, Callback.DONE: on_done, Callback.FAILURE: on_failure}
    return BatchWriter(source, batch_id, batch_options(batch_id, name, tags, callbacks, source.now))


def existing_writer(source: BatchSource, batch_id: str) -> BatchWriter:
    """Return what adds jobs to a batch that exists.

    :raises UsageError: when no batch can have this id, or it is that of a flow.
    """
    if is_flow(check_batch_id(batch_id)):
        raise UsageError(f"{batch_id} is a flow: add nodes to it with job.flow.add(…), in one of its own")
    return BatchWriter(source, batch_id, None)
