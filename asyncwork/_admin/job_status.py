"""What is known of one job by its id: where it is, or how it has ended."""

from __future__ import annotations

import time
from dataclasses import replace

from .._jobs.location import BUSY, queue_location
from .._jobs.printable import shown
from .._json.codec import replace_surrogates
from .._redis.errors import ErrorReply, is_wrong_type
from .._redis.inspector import Inspector
from .._redis.job_record import Record, history_of, status_of
from .._redis.job_scan import JobScan
from .._redis.namespace import Namespace
from .._redis.running_jobs import RunningJobs, id_among
from ..errors import UsageError
from ..job import Job
from ..models import JobAttempt, JobRecord, JobState, JobStatus, Observation
from .finished import redact_status
from .job_records import JobReaders
from .status import StatusReader

# Seconds for which a job is searched for, by default.
LOOKUP_SECONDS = 10.0
# Records that follow each other, as newer jobs with the same unique key have run instead.
_MOST_ALIASES = 10
# Seconds between the score of a dead job and the end in its record, at most; and how many dead jobs are searched.
_DEATH_SLACK = 2.0
_MOST_DEAD = 1_000
_STATES = {"scheduled": JobState.SCHEDULED, "retry": JobState.RETRY, "dead": JobState.DEAD}


class JobStatusReader:
    """Finds jobs by their ids.

    Every method raises RedisError or OSError when Redis refuses or cannot be reached.
    """

    def __init__(
        self,
        namespace: Namespace,
        inspector: Inspector,
        readers: JobReaders,
        status: StatusReader,
    ) -> None:
        self._redis = namespace.redis
        self._keys = namespace.keys
        self._inspector = inspector
        self._in_progress = RunningJobs(namespace)
        self._readers = readers
        self._status = status

    async def read(self, job_id: str, seconds: float) -> JobStatus:
        """Return what is known of a job.

        :param seconds: how long to search the locations at most, if its record does not say how it has ended.
        :raises UsageError: when the id is not text.
        """
        if not isinstance(job_id, str) or not job_id:
            raise UsageError(f"a job's id must be text that is not empty, not {shown(job_id)}")
        job_id = replace_surrogates(job_id)
        deadline = time.monotonic() + seconds
        ended = await self._ended(job_id)
        if ended is not None and not await self._may_have_been_requeued(ended):
            return ended
        # It may move on while it is searched for.
        found = await self._running(job_id) or await self._waiting(job_id, deadline) or await self._running(job_id)
        if found is not None and found.state is JobState.DEAD and (ended := await self._ended(job_id)) is not None:
            # It has died while it was searched for.
            return ended
        if found is not None:
            return replace(found, history=await self._attempts(job_id))
        return await self._ended(job_id) or JobStatus(job_id, JobState.UNKNOWN)

    async def _attempts(self, job_id: str) -> tuple[JobAttempt, ...]:
        """Return the attempts of a job that waits or runs."""
        try:
            history = history_of(await self._redis.client().hgetall(self._keys.job_record(job_id)))
        except ErrorReply as error:
            if not is_wrong_type(error):
                raise
            return ()
        return tuple(replace(each, error="") for each in history) if self._readers.redaction else history

    async def _may_have_been_requeued(self, ended: JobStatus) -> bool:
        """Return whether a job whose record says that it is dead is not dead any more.

        Other programs, such as gocraft/work's web UI, requeue dead jobs and know no records.
        """
        if ended.state is not JobState.DEAD:
            return False
        wanted = {ended.id.encode(errors="replace")}
        # Its score is a whole second, and was taken a moment before the end in its record.
        dead = self._redis.client().zrangebyscore(
            self._keys.dead, ended.ended_at - _DEATH_SLACK, ended.ended_at + _DEATH_SLACK, start=0, num=_MOST_DEAD
        )
        return not any(id_among(payload, wanted) is not None for payload in await dead)

    async def _ended(self, job_id: str) -> JobStatus | None:
        at = job_id
        for _ in range(_MOST_ALIASES):
            try:
                record: Record = await self._redis.client().hgetall(self._keys.job_record(at))
            except ErrorReply as error:
                if not is_wrong_type(error):
                    raise
                return None
            if b"state" in record:
                status = status_of(job_id, record)
                return await redact_status(status, self._readers)
            if b"alias" not in record:
                return None
            at = record[b"alias"].decode(errors="surrogateescape")
        return None

    async def _running(self, job_id: str) -> JobStatus | None:
        payload = (await self._in_progress.find([job_id])).get(job_id)
        for seen, record in await self._status.running():
            if seen.job_id == job_id:
                return _running_status(job_id, seen, record, payload)
        if payload is None:
            return None
        # It has just been fetched: its worker has not said so yet.
        reader = await self._readers.reader(BUSY, shows=False)
        return replace(_status(job_id, reader.record(payload), JobState.RUNNING), attempts=_attempts(payload))

    async def _waiting(self, job_id: str, deadline: float) -> JobStatus | None:
        """Search the locations for a job, those that change the least last."""
        wanted = {job_id.encode(errors="replace")}
        queues = [queue_location(name) for name in await self._inspector.names()]
        for location in (*queues, *_STATES):
            reader = await self._readers.reader(location, shows=False)
            scan = JobScan(self._inspector, location, "")
            while time.monotonic() < deadline and (members := await scan.step()):
                for member in members:
                    if id_among(member.raw, wanted) is not None:
                        return _status(job_id, reader.record(*member), _state_of(location))
                scan.mark_seen(members)
        return None


def _state_of(location: str) -> JobState:
    return _STATES.get(location, JobState.QUEUED)


def _status(job_id: str, record: JobRecord, state: JobState) -> JobStatus:
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
    )


def _running_status(job_id: str, seen: Observation, record: JobRecord, payload: bytes | None) -> JobStatus:
    return JobStatus(
        job_id,
        JobState.RUNNING,
        name=record.name,
        enqueued_at=0 if payload is None else Job.decode(payload).enqueued_at,
        started_at=float(seen.started_at),
        attempts=0 if payload is None else _attempts(payload),
        worker_id=seen.worker_id,
        checkin=record.checkin,
    )


def _attempts(payload: bytes) -> int:
    return Job.decode(payload).fails + 1
