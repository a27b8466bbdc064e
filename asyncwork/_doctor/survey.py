"""What the jobs of a namespace tell that have not ended, gathered on one way through all of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from .._jobs.location import queue_location
from .._redis.admin import MAY_BE_UNIQUE
from .._redis.errors import ErrorReply, is_wrong_type
from .._redis.inspector import Inspector
from .._redis.job_scan import JobScan
from .._redis.namespace import Namespace
from ..errors import ArgumentsError, PayloadError
from ..job import Job

_STEP = 500


@dataclass(slots=True)
class Survey:
    """What was met.

    :ivar names: by place (``retry``, ``scheduled``), how many jobs of each name.
    :ivar claimed: the keys that unique jobs may hold, with the ids of these jobs.
    :ivar unclear: names of jobs whose key cannot be told.
    """

    names: dict[str, Counter[str]] = field(default_factory=dict)
    claimed: dict[str, set[str]] = field(default_factory=dict)
    unclear: set[str] = field(default_factory=set)


class Surveyor:
    """Goes through the jobs that have not ended, in steps that never block Redis for long."""

    def __init__(self, namespace: Namespace, inspection: Inspector) -> None:
        self._redis = namespace.redis
        self._inspection = inspection
        self._keys = namespace.keys

    async def survey(self, queues: Iterable[str], in_progress: Mapping[str, Iterable[str]]) -> Survey:
        """Meet every job that is there all the while, wherever it goes: the places are looked at in the order in which
        jobs move on, and what is in progress at both ends, for that may go back to its queue.

        :param in_progress: by queue, the pools that may have jobs of it.
        :raises RedisError, OSError: when Redis refuses or cannot be reached.
        """
        found = Survey()
        await self._meet_running(found, in_progress)
        for place in ("retry", "scheduled"):
            found.names[place] = Counter()
            await self._meet(found, place)
        for name in queues:
            await self._meet(found, queue_location(name))
        await self._meet_running(found, in_progress)
        return found

    async def _meet(self, found: Survey, place: str) -> None:
        # Upwards: what comes meanwhile, such as another try, comes behind.
        walk = JobScan(self._inspection, place, newest_first=False)
        names = found.names.get(place)
        while members := await walk.step():
            for member in members:
                self._note(found, member.raw, names)
            walk.mark_seen(members)
            if walk.ended:
                break

    async def _meet_running(self, found: Survey, in_progress: Mapping[str, Iterable[str]]) -> None:
        for name, pool_ids in in_progress.items():
            for pool_id in pool_ids:
                key, start = self._keys.in_progress(name, pool_id), 0
                while payloads := await self._range(key, start):
                    for payload in payloads:
                        self._note(found, payload, None)
                    start += len(payloads)

    async def _range(self, key: str, start: int) -> list[bytes]:
        """Read some elements of a list; what is none has none."""
        try:
            payloads: list[bytes] = await self._redis.client().lrange(key, start, start + _STEP - 1)
        except ErrorReply as error:
            if not is_wrong_type(error):
                raise
            return []
        return payloads

    def _note(self, found: Survey, payload: bytes, names: Counter[str] | None) -> None:
        may_be_unique = MAY_BE_UNIQUE.search(payload)
        if names is None and not may_be_unique:
            return
        try:
            job = Job.decode(payload)
        except PayloadError:
            return
        if names is not None:
            names[job.name] += 1
        if may_be_unique and job.unique:
            try:
                for key in self._keys.unique_of(job):
                    found.claimed.setdefault(key, set()).add(job.id)
            except ArgumentsError:
                found.unclear.add(job.name)
