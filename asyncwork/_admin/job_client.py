"""Shows one job by its id, waits for its end, and cancels it, for the client."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

from .._jobs.conversions import ANY
from .._jobs.times import seconds_of
from .._redis.digest_key import DigestKey
from .._redis.inspector import Inspector
from .._redis.job_record import has_failed, hide_error, result_of
from ..models.actions import CancelResult
from ..models.job_status import JobStatus
from .cancel import CANCEL_SECONDS, JobCanceller
from .job_records import JobReaders
from .job_status import LOOKUP_SECONDS, JobStatusReader
from .namespace_status import NamespaceStatusReader
from .redaction import Redact, Redaction
from .signals import JobSignaller
from .streams import StreamClient
from .waiting_reason import WaitingReasonReader


class JobClient(StreamClient):
    """Shows and cancels single jobs."""

    def __init__(self, url: str | None, namespace: str | None, redact: Redact | None) -> None:
        super().__init__(url, namespace)
        # Whether values are hidden; results and streams, which `redact` never sees, are not shown then.
        self._redacts = redact is not None
        self._inspector = inspector = Inspector(self._in_redis)
        self._readers = JobReaders(Redaction(redact), DigestKey(self._in_redis))
        self._status = NamespaceStatusReader(self._in_redis, inspector, self._readers)
        self._job_status = JobStatusReader(self._in_redis, inspector, self._readers, self._status)
        self._waiting_reason = WaitingReasonReader(self._in_redis, inspector, self._job_status, self._status)
        self._canceller = JobCanceller(self._in_redis, inspector)
        self._signaller = JobSignaller(self._in_redis)
        self._cancelling: set[asyncio.Task[CancelResult]] = set()

    async def status(self, job_id: str, *, seconds: float | timedelta = LOOKUP_SECONDS) -> JobStatus:
        """Return what is known of a job: where it is, or how it has ended.

        How it has ended is known of dead jobs, and while the record of a job is kept whose type has
        ``@pool.job(result=…)`` or ``history=True``. The state of others that have ended is :attr:`JobState.UNKNOWN`.

        :param seconds: how long to search for it in queues and sorted sets with many jobs.
        :raises UsageError: when the id is not text, or ``seconds`` is not valid.
        """
        with self._redis_errors():
            return await self._job_status.read(job_id, seconds_of(seconds, "seconds"))

    async def waiting_reason(self, job_id: str, *, seconds: float | timedelta = LOOKUP_SECONDS) -> str:
        """Return why a waiting job does not run yet, as one sentence; an empty text for a job that does not wait.

        The most important reason comes first: the job is cancelled; it is scheduled or waits for its retry; its queue
        is paused; no live pool serves its name; its concurrency limit is reached, and by which pools; its tenant is
        paused, at its limit, or waits for a retry; all workers of its pools are busy; other jobs are before it in its
        queue, with the time that they take if each takes as long as those of the last five minutes. A node of a flow
        may wait for others.

        :param seconds: how long to search for the job in queues and sorted sets with many jobs.
        :raises UsageError: when the id is not text, or ``seconds`` is not valid.
        """
        with self._redis_errors():
            return await self._waiting_reason.read(job_id, seconds_of(seconds, "seconds"))

    async def result(self, job_id: str, *, timeout: float | timedelta | None = None) -> Any:
        """Wait until a job has ended; return what its handler returned, as JSON has it.

        If nothing is known of the job, all queues and sorted sets are searched for it. Calls at the same time share one
        search.

        :param timeout: seconds, or a ``timedelta``; ``None`` waits as long as it takes. The job itself goes on.
        :raises JobFailed, JobCancelled, JobExpired, ResultTimeout: as :meth:`EnqueuedJob.result`.
        :raises ResultLost: also when there is no such job, or nothing is kept of it any more.
        :raises RedisUnavailable: when Redis refuses, or cannot be reached at first. When Redis goes away after that, it
            goes on waiting.
        :raises UsageError: when the results of its type are not kept.
        """
        record = await self._wait_for_end(job_id, "", timeout, search=True)
        if self._redacts and has_failed(record):
            # An error may quote what `redact` hides.
            status = await self.status(job_id)
            record = hide_error(record, status.error, status.traceback)
        return result_of(job_id, record, ANY)

    async def signal(self, job_id: str, event: str, value: Any = None) -> bool:
        """Send an event to a job, which gets it from :meth:`Job.event`; a job that waits for it runs at once.

        It may be sent before the job asks for it, also before the job has started: it is recorded, and is there then.
        It is recorded for a dead job, too, in case that is retried. If a newer job with the same unique key runs in the
        place of that job, the newer one gets it.

        :param job_id: its id.
        :param event: the name of the event.
        :param value: what the event brings: anything that JSON can hold, at most 256 KiB of JSON.
        :returns: whether it was recorded: ``False`` if an event of this name was sent to the job before, which stays;
            or if it comes too late, because the job has already gone on without it.
        :raises JobEndedError: when the job has ended, or there is none with that id.
        :raises UsageError: when the id or the name is not valid, or the value is too long; or when the job has 1,000
            events, or 4 MiB of them, that it has not waited for.
        :raises ArgumentEncodingError: when JSON cannot hold the value.
        """
        with self._redis_errors():
            return await self._signaller.signal(job_id, event, value)

    async def cancel(
        self, job_id: str, reason: str = "", *, who: str = "", seconds: float | timedelta = CANCEL_SECONDS
    ) -> CancelResult:
        """Cancel a job, wherever it is; return whether it was waiting, runs, or is gone.

        A job that waits in a queue, is scheduled or is to be retried is deleted, and its unique key is freed. One that
        runs is cancelled where it waits, on whichever machine: at once if its pool receives the message, and otherwise
        with the pool's next heartbeat. It is neither retried nor kept as dead. A handler that catches the cancellation
        and returns is done. A plain function goes on in its thread until it checks ``job.cancelled``. A job that was
        fetched and has not begun does not start.

        A pool of gocraft/work takes no notice: a job that runs there goes on.

        It goes on when its caller is cancelled. So it works in the ``finally`` of a response whose client has left.

        :param job_id: also that of an instance of a periodic job. If a newer job with the same unique key runs in the
            place of that job, the newer one is cancelled.
        :param reason: is logged by the job's pool.
        :param seconds: how long to search for the job. If it is not found in that time, it will not start, and the
            result is :attr:`CancelResult.ASKED`.
        :raises UsageError: also when the id has another form than those of jobs, or is that of a node that waits for
            others of its flow, which ends with them or with :meth:`Client.cancel_batch`.
        """
        with self._redis_errors():
            cancelling = asyncio.create_task(self._canceller.cancel(job_id, reason, who, seconds))
            # Kept, because an event loop does not keep its tasks.
            self._cancelling.add(cancelling)
            cancelling.add_done_callback(self._cancelling.discard)
            return await asyncio.shield(cancelling)
