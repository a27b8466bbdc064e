"""The protocol by which enqueuers and workers have jobs traced. :class:`asyncwork.otel.Tracing` is such an object."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Protocol, TypeAlias, runtime_checkable

from ..errors import UsageError
from ..models.enqueued_job import EnqueuedJob
from .printable import shown

if TYPE_CHECKING:
    from ..job import Job

# Takes how an attempt has ended, in one word, the error that ended it, and whether it has failed.
RecordEnd: TypeAlias = Callable[[str, BaseException | None, bool], None]


@runtime_checkable
class JobTracing(Protocol):
    """Traces jobs on both sides of the queue."""

    def enqueueing(self, namespace: str, jobs: Sequence[EnqueuedJob]) -> AbstractContextManager[str]:
        """Trace the block that writes jobs.

        Its value is the W3C ``traceparent`` that is written into each payload; empty for none.

        :param jobs: what is enqueued. Duplicates are replaced in it by the end of the block.
        """

    def attempt(self, namespace: str, job: Job) -> AbstractContextManager[RecordEnd]:
        """Trace the block that runs a job once. Its value takes how the attempt has ended."""


def check_tracing(tracing: object) -> None:
    """Check the ``tracing`` of an enqueuer or a pool.

    :raises UsageError: when it is neither ``None`` nor an object that traces jobs.
    """
    if tracing is not None and (isinstance(tracing, type) or not isinstance(tracing, JobTracing)):
        raise UsageError(f"tracing must be an asyncwork.otel.Tracing(), or None, not {shown(tracing)}")
