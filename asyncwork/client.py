"""The client that shows the jobs, queues and pools of a namespace, and changes them.

The methods for jobs in their locations are here, and those for queues and pools, and for one job, in its base classes.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from datetime import timedelta

from ._admin.arguments import check_arguments
from ._admin.cancel import check_cancellable, check_waiting, new_mark
from ._admin.finished import FinishedJobs
from ._admin.flow_client import FlowClient
from ._admin.query import EVERYTHING, JobQuery
from ._admin.redaction import Redact
from ._admin.search import SEARCH_SECONDS, Searcher
from ._doctor.doctor import Doctor
from ._jobs.location import BUSY, location_of
from ._jobs.names import Named, name_of
from ._jobs.times import seconds_of
from .models.actions import ActionResult, Deletion
from .models.diagnosis import Diagnosis
from .models.job_record import ErrorKinds, JobRecord, Page, SearchResult
from .models.job_status import FinishedPage

# Seconds. A pool, also one of gocraft/work, that has sent no heartbeat for 10 s is considered dead.
WATCHED_FOR = 11.0


class Client(FlowClient):
    """Shows the jobs, queues and pools of a namespace, and changes them.

    It may be used by many tasks at once, and by one event loop after another. Connections are opened when first needed.
    However many jobs there are, no call blocks Redis for more than a few milliseconds, because it works in steps.
    A payload that is not a job is returned as a record with a ``reason``. Jobs that vanish meanwhile are skipped.

    Every method that calls Redis raises :class:`RedisUnavailable` when Redis refuses or cannot be reached, and
    :class:`UsageError` for an argument that cannot be right. A ``location`` is ``retry``, ``scheduled``, ``dead``,
    ``quarantine`` or ``queue:NAME``, or a task, which stands for its queue; ``who`` is the user who deletes jobs, for
    :meth:`deletions`, cancels them, for the log, or changes a periodic job, for :meth:`periodic_jobs`. A queue is given
    by the name of its jobs or by their task.

    :param url: ``redis://``, ``rediss://``, ``unix://``, ``redis+sentinel://`` or ``redis+cluster://``; ``None`` for
        the environment's ``ASYNCWORK_REDIS``, or ``redis://localhost:6379/0``.
    :param namespace: the prefix of every key; ``None`` for the environment's ``ASYNCWORK_NAMESPACE``, or ``work``.
    :param redact: called with each record before it is shown; returns what may be shown, such as
        ``dataclasses.replace(record, args=b"null")``. A search does not find what it hides. Values that it removes
        from the arguments are also hidden where the job's error, traceback or check-in quotes them. It is called for
        periodic jobs too, with the location ``periodic``. When it raises or returns anything else, only the location,
        name, id and times of the job are shown.
    :raises UsageError: when the URL has another form, or a cluster would scatter the keys of the namespace.
    """

    def __init__(self, url: str | None = None, *, namespace: str | None = None, redact: Redact | None = None) -> None:
        super().__init__(url, namespace, redact)
        in_redis, inspector, readers = self._in_redis, self._inspector, self._readers
        self._searcher = Searcher(inspector, readers)
        self._doctor = Doctor(in_redis, inspector, self._searcher)
        self._finished = FinishedJobs(in_redis, readers)

    async def ping(self) -> None:
        """Return when Redis has replied."""
        with self._redis_errors():
            await self._status.ping()

    # The whole namespace

    async def diagnose(self, seconds: float | timedelta = WATCHED_FOR) -> Diagnosis:
        """Diagnose the namespace more thoroughly than :meth:`overview`.

        It reads all keys of Redis, and all jobs of the namespace unless there are more than 100,000, in steps.

        :param seconds: for how long at most it repeatedly reads what looks wrong; it reports only what looked wrong
            each time. With less than 11 s, it may consider a live pool dead.
        :raises RedisUnavailable: also when Redis is too old.
        """
        watched = seconds_of(seconds, "seconds")
        with self._redis_errors():
            return await self._doctor.diagnose(watched)

    async def repair(self, diagnosis: Diagnosis) -> AsyncIterator[str]:
        """Repair what can be repaired safely while pools run, and is still as it was; yield a line for each repair.

        Jobs of dead pools return to the front of their queues, and those pools are removed. Locks are recomputed. The
        names of queues where jobs wait are registered. Unique keys that are held for no job are freed. No job is
        deleted, no live pool is affected, and no setting of Redis is changed.
        """
        check_arguments(diagnosis=diagnosis)
        with self._redis_errors():
            async for line in self._doctor.repair(diagnosis.repairs):
                yield line

    # Jobs

    async def jobs(
        self, location: str | Named, page: int = 1, *, per_page: int = 20, newest_first: bool = False
    ) -> Page:
        """Return a page of the jobs in a location; pages start at 1, and have up to 200 jobs.

        :param location: also ``busy``, for the jobs that run now.
        :param newest_first: by default, the first to run or to die comes first, and in ``busy`` the one that was
            started first. A queue is always in the order in which its jobs run.
        """
        with self._redis_errors():
            if location == BUSY:
                records = await self._running()
                return self._lookup.page_of(records[::-1] if newest_first else records, page, per_page)
            return await self._lookup.page(location_of(location), page, per_page, newest_first=newest_first)

    async def finished(self, page: int = 1, *, per_page: int = 20, name: str | Named | None = None) -> FinishedPage:
        """Return a page of the jobs that have ended, the last one first; pages start at 1, and have up to 200 jobs.

        Only jobs that a pool has fetched are listed, and whose type has ``@pool.job(history=True)``: up to 10,000, each
        for as long as its record is kept. :meth:`status` also returns the traceback of one.

        :param name: only jobs of this name or task. All records are read then.
        """
        with self._redis_errors():
            return await self._finished.page(page, per_page, None if name is None else name_of(name))

    async def _finished_count(self) -> int:
        """Return the number of jobs that :meth:`finished` lists."""
        with self._redis_errors():
            return await self._finished.total()

    async def job(self, location: str | Named, ref: str) -> JobRecord | None:
        """Return the job with a ref; ``None`` when it is no longer in the location."""
        with self._redis_errors():
            return await self._lookup.job(location_of(location), ref)

    async def search(
        self,
        location: str | Named,
        query: JobQuery,
        *,
        cursor: str = "",
        limit: int = 20,
        seconds: float | timedelta = SEARCH_SECONDS,
        newest_first: bool = True,
    ) -> SearchResult:
        """Search a location until enough jobs are found, time is up, or all jobs have been read.

        :param cursor: the cursor of the last result, to continue.
        :param limit: how many jobs are enough.
        :param seconds: how long to search; one step at least.
        :param newest_first: always true in a queue.
        """
        with self._redis_errors():
            return await self._searcher.search(
                location_of(location), query, cursor, limit, seconds, newest_first=newest_first
            )

    async def find(
        self, text: str, *, cursor: str = "", limit: int = 20, seconds: float | timedelta = SEARCH_SECONDS
    ) -> SearchResult:
        """Search all locations, one after the other, for an id, or for text in the name, arguments or error of jobs.

        ``total`` is the number of jobs in the locations that this call reached. Parameters as for :meth:`search`.
        """
        with self._redis_errors():
            running = [] if cursor else await self._running()
            return await self._searcher.find(text, running, cursor, limit, seconds)

    async def error_kinds(
        self,
        location: str | Named,
        query: JobQuery = EVERYTHING,
        *,
        cursor: str = "",
        seconds: float | timedelta = SEARCH_SECONDS,
    ) -> ErrorKinds:
        """Group the jobs of a location by the kind of their error, the newest first, until time is up."""
        with self._redis_errors():
            return await self._searcher.error_kinds(location_of(location), query, cursor, seconds)

    async def count(
        self, location: str | Named, query: JobQuery, *, cursor: str = "", seconds: float | timedelta | None = None
    ) -> ActionResult:
        """Count the jobs of a location that match: :attr:`ActionResult.done`, of the
        :attr:`ActionResult.looked` that were read.

        :param location: also ``busy``, for the jobs that run now.
        :param seconds: how long to count; ``None`` until all jobs have been read.
        """
        with self._redis_errors():
            if location == BUSY:
                check_arguments(query=query)
                running = await self._running()
                return ActionResult(sum(map(query.match, running)), len(running))
            return await self._actions.count(location_of(location), query, cursor, seconds)

    async def _running(self) -> list[JobRecord]:
        """Return the running jobs, in the order in which they were started."""
        return sorted((job for _, job in await self._status.running()), key=lambda job: job.at or 0)

    # Actions on jobs

    async def retry(self, location: str, refs: Iterable[str]) -> ActionResult:
        """Put jobs on their queues now: dead jobs as if they had never failed, others before their time.

        :param location: ``retry``, ``scheduled`` or ``dead``.
        :raises UsageError: also when one of the payloads is not a job.
        """
        with self._redis_errors():
            return await self._actions.retry(location, refs)

    async def delete(self, location: str | Named, refs: Iterable[str], *, who: str = "") -> ActionResult:
        """Delete jobs and free their unique keys. It can be undone for ten minutes by :meth:`restore`."""
        with self._redis_errors():
            return await self._actions.delete(location_of(location), refs, who)

    async def cancel_refs(
        self, location: str | Named, refs: Iterable[str], *, reason: str = "", who: str = ""
    ) -> ActionResult:
        """Cancel jobs that wait in a location, as :meth:`cancel` does. It cannot be undone.

        :param location: ``retry``, ``scheduled``, ``queue:NAME`` or a task.
        """
        location, mark = check_waiting(location_of(location)), new_mark(reason, who)
        with self._redis_errors():
            return await self._actions.cancel(location, refs, mark)

    async def retry_matching(
        self, location: str, query: JobQuery = EVERYTHING, *, cursor: str = "", seconds: float | timedelta | None = None
    ) -> ActionResult:
        """Put all jobs of a location that match on their queues, as :meth:`retry` does. Other payloads stay.

        Jobs that arrive after the first call are left alone, so that a job that fails again at once is not retried
        again.

        :param seconds: how long to go on; ``None`` to the end.
        """
        with self._redis_errors():
            return await self._actions.retry_matching(location, query, cursor, seconds)

    async def delete_matching(
        self,
        location: str | Named,
        query: JobQuery = EVERYTHING,
        *,
        cursor: str = "",
        seconds: float | timedelta | None = None,
        who: str = "",
    ) -> ActionResult:
        """Delete all jobs of a location that match and free their unique keys, otherwise as :meth:`retry_matching`.

        It can be undone if there were no more than 1,000 jobs in the location.
        """
        with self._redis_errors():
            return await self._actions.delete_matching(location_of(location), query, cursor, seconds, who)

    async def cancel_matching(
        self,
        location: str | Named,
        query: JobQuery = EVERYTHING,
        *,
        cursor: str = "",
        seconds: float | timedelta | None = None,
        reason: str = "",
        who: str = "",
    ) -> ActionResult:
        """Cancel all jobs of a location that match, as :meth:`cancel` does. It cannot be undone.

        :meth:`count` counts them before. Jobs that arrive after the first call are left alone.

        :param location: ``retry``, ``scheduled``, ``queue:NAME`` or a task; or ``busy``, for the jobs that run now.
        :param seconds: how long to go on; ``None`` to the end.
        """
        location, mark = check_cancellable(location_of(location)), new_mark(reason, who)
        with self._redis_errors():
            if location == BUSY:
                check_arguments(query=query)
                return await self._canceller.cancel_running(await self._status.running(), query, mark)
            return await self._actions.cancel_matching(location, query, cursor, seconds, mark)

    async def restore(self, undo: str) -> int:
        """Undo a deletion; return how many jobs were restored, 0 when it is too late."""
        with self._redis_errors():
            return await self._actions.restore(undo)

    async def deletions(self) -> list[Deletion]:
        """Return the last deletions that can be undone, the newest first, at most 100."""
        with self._redis_errors():
            return await self._actions.deletions()
