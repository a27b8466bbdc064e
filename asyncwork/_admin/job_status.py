"""The status of one job by its id: its location, or how it has ended."""

from __future__ import annotations

import math
import time
from dataclasses import replace
from typing import NamedTuple

from .._jobs.location import BUSY, queue_location
from .._jobs.membership import member_of
from .._redis.cancels import Cancels
from .._redis.errors import ErrorReply, is_wrong_type
from .._redis.fair_queues import tenant_of
from .._redis.inspector import Inspector
from .._redis.job_record import MOST_ALIASES, Record, checked_id, history_of, newer_id, status_of
from .._redis.job_scan import JobScan
from .._redis.limits import cost_of
from .._redis.located_payload import LocatedPayload
from .._redis.namespace import Namespace
from .._redis.running_jobs import RunningJobs, id_among
from .._redis.step_records import StepRecords, steps_in
from ..models.job_record import JobRecord
from ..models.job_status import JobState, JobStatus
from ..models.job_steps import JobStep
from ..models.pools import Observation
from .finished import redact_status
from .job_records import JobReaders
from .namespace_status import NamespaceStatusReader

# Seconds for which a job is searched for, by default.
LOOKUP_SECONDS = 10.0
# Seconds between the end of a dead job in its record, and in the sorted set of dead jobs, at most.
_DEAD_TOLERANCE = 5.0
_STATES = {"scheduled": JobState.SCHEDULED, "retry": JobState.RETRY, "dead": JobState.DEAD}


class WaitingJob(NamedTuple):
    """A job in a location where jobs wait, or among the dead ones.

    :ivar record: the job, redacted.
    :ivar before: how many jobs of its queue are fetched before it, in a fair queue of those of its tenant; 0 in a
        sorted set.
    :ivar tenant: to which it belongs; empty for none.
    :ivar cost: how many tokens of its limits it takes; ``None`` for what its type says.
    """

    location: str
    record: JobRecord
    before: int
    tenant: str = ""
    cost: int | None = None


class JobStatusReader:
    """Finds jobs by their ids.

    Every method raises RedisError or OSError when Redis refuses or cannot be reached.
    """

    def __init__(
        self,
        namespace: Namespace,
        inspector: Inspector,
        readers: JobReaders,
        status: NamespaceStatusReader,
    ) -> None:
        self._namespace = namespace
        self._redis = namespace.redis
        self._keys = namespace.keys
        self._inspector = inspector
        self._in_progress = RunningJobs(namespace)
        self._cancels = Cancels(namespace)
        self._step_records = StepRecords(namespace)
        self._readers = readers
        self._status = status

    async def read(self, job_id: str, seconds: float) -> JobStatus:
        """Return what is known of a job.

        :param seconds: how long to search the locations at most, if its record does not say how it has ended.
        :raises UsageError: when the id is not text.
        """
        return (await self.find(job_id, seconds))[0]

    async def find(self, job_id: str, seconds: float) -> tuple[JobStatus, WaitingJob | None]:
        """Return the same as :meth:`read`, and the job if it waits.

        :raises UsageError: when the id is not text.
        """
        job_id = checked_id(job_id)
        deadline, at = time.monotonic() + seconds, job_id
        for _ in range(MOST_ALIASES):
            status, waiting = await self._find(at, deadline)
            if status.state is not JobState.UNKNOWN or (newer := await newer_id(self._namespace, at)) is None:
                status = replace(status, cancellation=await self._cancellation(status), steps=await self._steps(status))
                return replace(status, id=job_id), waiting
            at = newer
        return JobStatus(job_id, JobState.UNKNOWN), None

    async def _steps(self, status: JobStatus) -> tuple[JobStep, ...]:
        """Return what is recorded of the steps of a job that has not ended for good."""
        if status.state is JobState.UNKNOWN or (status.state.ended and status.state is not JobState.DEAD):
            return ()
        if not (fields := await self._step_records.fields(status.id)):
            return ()
        return steps_in(fields, await self._redis.now(), hidden=bool(self._readers.redaction))

    async def _cancellation(self, status: JobStatus) -> str:
        """Return who has cancelled a job that has not ended yet, and why; empty if it is not cancelled."""
        if status.state is JobState.UNKNOWN or status.state.ended:
            return ""
        try:
            member = member_of(status.id)
            ids = [status.id] if member is None else [status.id, member.batch_id]
            mark = next(iter((await self._cancels.read(ids)).values()), None)
        except ErrorReply as error:
            if not is_wrong_type(error):
                raise
            return ""
        return "" if mark is None else str(mark)

    async def _find(self, job_id: str, deadline: float) -> tuple[JobStatus, WaitingJob | None]:
        ended = await self._ended(job_id, deadline)
        # Other programs, such as gocraft/work's web UI, requeue dead jobs and know no records.
        if ended is not None and (ended.state is not JobState.DEAD or ended.location):
            return ended, None
        # It may move on while it is searched for, so all is read twice.
        for _ in range(2):
            if (running := await self._running(job_id)) is not None:
                return await self._with_attempts(running), None
            if (waiting := await self._waiting(job_id, deadline)) is not None:
                status = _status(job_id, waiting)
                if status.state is JobState.DEAD and (ended := await self._ended(job_id, deadline)) is not None:
                    # It has died while it was searched for.
                    return ended, None
                return await self._with_attempts(status), waiting
        return await self._ended(job_id, deadline) or JobStatus(job_id, JobState.UNKNOWN), None

    async def _with_attempts(self, status: JobStatus) -> JobStatus:
        """Return the status of a job that waits or runs with the attempts before."""
        try:
            history = history_of(await self._redis.client().hgetall(self._keys.job_record(status.id)))
        except ErrorReply as error:
            if not is_wrong_type(error):
                raise
            return status
        hidden = bool(self._readers.redaction)
        return replace(status, history=tuple(replace(each, error="") for each in history) if hidden else history)

    async def _ended(self, job_id: str, deadline: float) -> JobStatus | None:
        at = job_id
        for _ in range(MOST_ALIASES):
            try:
                record: Record = await self._redis.client().hgetall(self._keys.job_record(at))
            except ErrorReply as error:
                if not is_wrong_type(error):
                    raise
                return None
            if b"state" in record:
                status = await redact_status(status_of(job_id, record), self._readers)
                return await self._with_payload(status, at, deadline) if status.state is JobState.DEAD else status
            if b"alias" not in record:
                return None
            at = record[b"alias"].decode(errors="surrogateescape")
        return None

    async def _with_payload(self, status: JobStatus, job_id: str, deadline: float) -> JobStatus:
        """Return the status of a dead job with what its payload says, if it is still among the dead jobs.

        :param job_id: the id in the payload.
        """
        start = f"{status.ended_at + _DEAD_TOLERANCE!r}~0"
        found = await self._search("dead", job_id, deadline, start, status.ended_at - _DEAD_TOLERANCE)
        if found is None:
            return status
        args = found.record.args.decode()
        status = replace(status, location=found.location, args=args)
        return replace(status, error=found.record.err, traceback=found.record.traceback)

    async def _running(self, job_id: str) -> JobStatus | None:
        found = (await self._in_progress.locate([job_id])).get(job_id)
        if found is None:
            # The job that a worker was last seen to run may have ended since then, or be elsewhere.
            return None
        dead_since = await self._status.dead_since(found.pool_id)
        if dead_since is not None and (await self._in_progress.locate([job_id])).get(job_id) != found:
            # The pool has stopped, or another one has requeued its jobs.
            return None
        payload = (await self._readers.reader(BUSY, shows=False)).record(found.raw)
        status = _running_status(job_id, payload, dead_since)
        for seen, record in await self._status.running():
            if (seen.job_id, seen.pool_id) == (job_id, found.pool_id):
                return _observed(status, record, seen)
        # It has just been fetched, and its worker has not said so yet.
        return status

    async def _waiting(self, job_id: str, deadline: float) -> WaitingJob | None:
        """Search the locations for a job. Scheduled jobs and retries move to queues, so those are read after them."""
        queues = [queue_location(name) for name in await self._inspector.names()]
        for location in ("scheduled", "retry", *queues, "dead"):
            if (found := await self._search(location, job_id, deadline)) is not None:
                return found
        return None

    async def _search(
        self, location: str, job_id: str, deadline: float, start: str = "", oldest: float = -math.inf
    ) -> WaitingJob | None:
        """Search a location for a job, the newest first.

        :param start: the cursor where to begin.
        :param oldest: the score at which to end, epoch seconds.
        """
        wanted = {job_id.encode(errors="replace")}
        reader = await self._readers.reader(location, shows=False)
        scan = JobScan(self._inspector, location, start)
        while time.monotonic() < deadline and (members := await scan.step()):
            for member in members:
                if id_among(member.raw, wanted) is not None:
                    of_limits = tenant_of(member.raw), cost_of(member.raw)
                    return WaitingJob(location, reader.record(*member), _before(member, scan.total), *of_limits)
            if (members[-1].at or 0.0) < oldest:
                break
            scan.mark_seen(members)
        return None


def _before(member: LocatedPayload, total: int) -> int:
    return total - 1 - member.rank if member.at is None else 0


def _status(job_id: str, found: WaitingJob) -> JobStatus:
    record, state = found.record, _STATES.get(found.location, JobState.QUEUED)
    at = record.at or 0
    return JobStatus(
        job_id,
        state,
        name=record.name,
        enqueued_at=record.enqueued_at,
        run_at=int(at) if state in (JobState.RETRY, JobState.SCHEDULED) else 0,
        ended_at=at if state is JobState.DEAD else 0.0,
        attempts=record.fails,
        error=record.err,
        traceback=record.traceback,
        location=found.location,
        args=record.args.decode(),
        timeout=record.timeout,
        expires=record.expires,
    )


def _running_status(job_id: str, payload: JobRecord, dead_since: float | None) -> JobStatus:
    """Return the status of a job in progress.

    :param payload: the job as it was fetched.
    :param dead_since: see :attr:`JobStatus.pool_dead_since`.
    """
    return JobStatus(
        job_id,
        JobState.RUNNING,
        name=payload.name,
        enqueued_at=payload.enqueued_at,
        attempts=payload.fails + 1,
        error=payload.err,
        traceback=payload.traceback,
        checkin=payload.checkin,
        args=payload.args.decode(),
        timeout=payload.timeout,
        expires=payload.expires,
        pool_dead_since=dead_since,
    )


def _observed(status: JobStatus, record: JobRecord, seen: Observation) -> JobStatus:
    """Return the status of a job in progress with what its worker says."""
    return replace(
        status,
        name=record.name,
        args=record.args.decode(),
        checkin=record.checkin,
        started_at=float(seen.started_at),
        worker_id=seen.worker_id,
        progress=record.progress,
        overdue=seen.overdue,
    )
