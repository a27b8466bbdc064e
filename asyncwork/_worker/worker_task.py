"""The task in which a worker runs."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .worker import Worker


class WorkerTask(asyncio.Task[None]):
    """A task in which a worker runs for a while.

    :ivar worker: its worker.
    :ivar was_cancelled: whether it is to end with the job that it runs, because that was cancelled.
    :ivar last: name and id of the job with which it has ended, if it has.
    :ivar references: the number of references to it before its first job; 0 until then.
    :ivar retired: whether its worker ends with it, because the pool does not need it any more.
    """

    __slots__ = ("last", "references", "retired", "was_cancelled", "worker")

    last: tuple[str, str] | None
    references: int
    retired: bool
    was_cancelled: bool
    worker: Worker

    def cancel(self, msg: Any | None = None) -> bool:
        """Cancel the job that runs, if the job itself asks for it or the workers are to end."""
        if not self.worker.accepts_cancellation(self):
            return False
        self.was_cancelled = True
        return super().cancel(msg)

    def retire(self) -> None:
        """End the worker, which must have no job."""
        self.retired = True
        super().cancel()

    def interrupt(self) -> None:
        """Cancel the job that runs, whichever code asks for it."""
        self.was_cancelled = True
        super().cancel()
