"""Shows batches and acts on their members, for the client."""

from __future__ import annotations

from datetime import timedelta

from .._jobs.membership import check_batch_id
from .._jobs.times import seconds_of
from ..models.actions import ActionResult
from ..models.batches import BatchFailures, BatchPage, BatchResult, BatchStatus
from .actions import JobActions
from .batches import BatchActions, BatchReader
from .cancel import CANCEL_SECONDS, new_mark
from .lookup import JobLookup
from .redaction import Redact
from .unique_client import UniqueClient


class BatchClient(UniqueClient):
    """Shows batches and acts on their members."""

    def __init__(self, url: str | None, namespace: str | None, redact: Redact | None) -> None:
        super().__init__(url, namespace, redact)
        in_redis, inspector, readers = self._in_redis, self._inspector, self._readers
        self._lookup = JobLookup(inspector, readers)
        self._actions = JobActions(in_redis, inspector, readers, self._lookup, self._canceller)
        self._batches = BatchReader(in_redis, inspector, readers)
        self._batch_actions = BatchActions(in_redis, inspector, self._batches, self._actions)

    async def batch(self, batch_id: str) -> BatchStatus | None:
        """Return a batch; ``None`` if there is none with this id, or it is not kept any more: a batch is kept for 24
        hours after all of its members have succeeded, and otherwise for 30 days after its last change.

        :raises UsageError: when no batch can have this id.
        """
        check_batch_id(batch_id)
        with self._redis_errors():
            return await self._batches.read(batch_id)

    async def batches(self, page: int = 1, *, per_page: int = 20) -> BatchPage:
        """Return a page of the batches, the newest first; pages start at 1, and have up to 200 batches.

        :raises UsageError: when a number is out of its range.
        """
        with self._redis_errors():
            return await self._batches.page(page, per_page)

    async def batch_failures(self, batch_id: str, page: int = 1, *, per_page: int = 20) -> BatchFailures:
        """Return a page of the members of a batch that have failed; pages start at 1, and have up to 200 members.

        :raises UsageError: when no batch can have this id, or a number is out of its range.
        """
        check_batch_id(batch_id)
        with self._redis_errors():
            return await self._batches.failures(batch_id, page, per_page)

    async def batch_results(self, batch_id: str, page: int = 1, *, per_page: int = 200) -> list[BatchResult]:
        """Return how members of a batch have ended and what their handlers have returned, in the order in which they
        were added. Only of job types with ``@pool.job(result=…)`` is that kept.

        :param page: pages start at 1, and are about up to 200 members. Those that have not ended are left out.
        :raises UsageError: when no batch can have this id, or a number is out of its range.
        """
        check_batch_id(batch_id)
        with self._redis_errors():
            return await self._batches.results(batch_id, page, per_page)

    async def cancel_batch(
        self, batch_id: str, reason: str = "", *, who: str = "", seconds: float | timedelta = CANCEL_SECONDS
    ) -> BatchStatus | None:
        """Cancel the members of a batch that have not ended, and the batches among them; return the batch as it is
        then, or ``None`` if there is none.

        Members that wait are deleted, and those that run are cancelled, as :meth:`cancel` does. No more can be added.

        :param seconds: for how long to search for waiting members. Those that are not found do not start.
        :raises UsageError: when no batch can have this id, or another value is not valid.
        """
        check_batch_id(batch_id)
        mark, limit = new_mark(reason, who), seconds_of(seconds, "seconds")
        with self._redis_errors():
            return await self._batch_actions.cancel(batch_id, mark, limit)

    async def retry_batch(self, batch_id: str) -> ActionResult:
        """Put the dead members of a batch on their queues. When they are done, and with them all others, the batch has
        succeeded.

        :raises UsageError: when no batch can have this id.
        """
        check_batch_id(batch_id)
        with self._redis_errors():
            retried = await self._batch_actions.retry_failed(batch_id)
        return ActionResult(retried, retried)

    async def _batch_count(self) -> int:
        """Return how many batches :meth:`batches` lists; some that are not kept any more may be among them."""
        with self._redis_errors():
            return await self._batches.count()

    async def _open_batch_count(self) -> int:
        """Return how many batches have not ended."""
        with self._redis_errors():
            return await self._batches.open_count()
