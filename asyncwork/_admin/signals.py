"""Sends events to jobs, for the client."""

from __future__ import annotations

from .._jobs.location import BUSY, JOB_SETS
from .._jobs.printable import shown
from .._jobs.step_names import EARLY_LIMIT, MOST_EARLY, RESULT_LIMIT, check_name
from .._json import codec
from .._redis.job_record import MOST_ALIASES, checked_id, newer_id
from .._redis.job_search import JobSearch
from .._redis.namespace import Namespace
from .._redis.running_jobs import RunningJobs
from .._redis.step_records import StepRecords
from ..errors import JobEndedError, UsageError

# How often a job is searched for again, because it has moved in the moment in which it was found.
_TRIES = 10
# States in the replies of the script, see :class:`Sent`.
_MOVED, _DELETED = -1, -2
_WHY_NOT = {
    -3: f"it has {MOST_EARLY:,} events that it has not waited for, the most that a job may have",
    -4: f"the events that it has not waited for would have more than {EARLY_LIMIT} bytes together",
}


class JobSignaller:
    """Sends events to the jobs of a namespace.

    Every method raises RedisError or OSError when Redis refuses or cannot be reached.
    """

    def __init__(self, namespace: Namespace) -> None:
        self._namespace = namespace
        self._keys = namespace.keys
        self._records = StepRecords(namespace)
        self._running = RunningJobs(namespace)

    async def signal(self, job_id: str, event: str, value: object) -> bool:
        """Send an event; return whether it is the first one of its name, and in time.

        :raises JobEndedError: when the job has ended, or there is none with that id.
        :raises UsageError: when the id or the name is not valid, the value is too long, or the job has too many events
            that it has not waited for.
        :raises ArgumentEncodingError: when JSON cannot hold the value.
        """
        job_id, event, encoded = checked_id(job_id), check_name(event), codec.encode_value(value)
        if len(encoded) > RESULT_LIMIT:
            raise UsageError(
                f"the value of an event must have at most {RESULT_LIMIT} bytes as JSON, not {len(encoded)}: send where "
                "it is stored"
            )
        for _ in range(MOST_ALIASES):
            sent = await self._send(job_id, event, encoded)
            if sent is not None:
                return sent
            # If another one with the same unique key runs in its place, the event is for that.
            if (newer := await newer_id(self._namespace, job_id)) is None:
                break
            job_id = newer
        raise JobEndedError(
            f"event {event!r} cannot be sent to job {shown(job_id)}: it has ended, or there is none with this id"
        )

    async def _send(self, job_id: str, event: str, value: bytes) -> bool | None:
        """Send an event; ``None`` if there is no such job."""
        for _ in range(_TRIES):
            payload = await self._records.deferred_payload(job_id)
            if payload is None:
                sent = await self._send_first(job_id, event, value)
                if sent is None:
                    return None
            else:
                # A job that has a record has not ended.
                sent = (await self._records.send(job_id, event, value, payload)).state
            if sent == _DELETED:
                return None
            if (why := _WHY_NOT.get(sent)) is not None:
                raise UsageError(
                    f"event {event!r} is not sent to job {shown(job_id)}: {why}; send one event with a list, or send "
                    "them as the job asks for them"
                )
            if sent != _MOVED:
                return bool(sent)
        return None

    async def _send_first(self, job_id: str, event: str, value: bytes) -> int | None:
        """Send an event to a job that has no record yet; return the state of the reply, ``None`` if there is no such
        job.
        """
        search = JobSearch(self._namespace)
        try:
            found = (await search.find([job_id])).get(job_id)
        finally:
            await search.close()
        if found is None:
            # It may have made its record and moved on meanwhile.
            return None if await self._records.deferred_payload(job_id) is None else _MOVED
        if found.location != BUSY:
            keys = [self._keys.location(found.location)]
        else:
            keys = await self._running.lists_of(found.job.name)
        is_list = found.location not in JOB_SETS
        for key in keys:
            sent = await self._records.send(job_id, event, value, found.job.raw, key, is_list=is_list)
            if sent.state != _MOVED:
                return sent.state
        return _MOVED
