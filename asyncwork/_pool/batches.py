"""The batches and flows of a pool."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

from .._jobs.job_call import JobCall
from .._jobs.names import Named
from ..batch import Batch
from ..enqueuer import Enqueuer
from ..flow import Flow


class Batches(ABC):
    """Makes batches of jobs, and flows."""

    @property
    @abstractmethod
    def enqueuer(self) -> Enqueuer:
        """Enqueues by name, into this pool's namespace."""

    def batch(
        self,
        name: str = "",
        *,
        on_success: JobCall[Any] | tuple[str | Named, Mapping[str, Any] | None] | None = None,
        on_done: JobCall[Any] | tuple[str | Named, Mapping[str, Any] | None] | None = None,
        on_failure: JobCall[Any] | tuple[str | Named, Mapping[str, Any] | None] | None = None,
        tags: Sequence[str] = (),
    ) -> Batch:
        """Return a new batch, as :meth:`Enqueuer.batch` does: ``async with pool.batch("nightly",
        on_success=report.call(day)) as batch``.

        :raises UsageError, ArgumentEncodingError: as there.
        """
        return self.enqueuer.batch(name, on_success=on_success, on_done=on_done, on_failure=on_failure, tags=tags)

    def open_batch(self, batch_id: str) -> Batch:
        """Return a batch that exists, to add jobs to it, as :meth:`Enqueuer.open_batch` does:
        ``await pool.open_batch(job.batch_id).add(…)`` in one of its members.

        :raises UsageError: as there.
        """
        return self.enqueuer.open_batch(batch_id)

    def flow(
        self,
        name: str = "",
        *,
        on_failure: Literal["cancel", "continue"] = "cancel",
        unique: str = "",
        tags: Sequence[str] = (),
    ) -> Flow:
        """Return a new flow, as :meth:`Enqueuer.flow` does: jobs that run after one another.

        :raises UsageError: as there.
        """
        return self.enqueuer.flow(name, on_failure=on_failure, unique=unique, tags=tags)

    def chain(
        self,
        *jobs: JobCall[Any] | tuple[str | Named, Mapping[str, Any] | None] | Callable[[Any], JobCall[Any]],
        name: str = "",
        on_failure: Literal["cancel", "continue"] = "cancel",
        unique: str = "",
        tags: Sequence[str] = (),
    ) -> Flow:
        """Return a flow whose jobs run one after another, as :meth:`Enqueuer.chain` does.

        :raises UsageError, ArgumentEncodingError: as there.
        """
        return self.enqueuer.chain(*jobs, name=name, on_failure=on_failure, unique=unique, tags=tags)
