"""Reads all jobs of a namespace that have not ended: their names, and the unique keys that they may hold."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

from .._jobs.hold import read_hold
from .._jobs.location import JobSet, queue_location
from .._jobs.membership import member_in
from .._redis.enqueue_rules import SUCCESSOR_AT
from .._redis.errors import ErrorReply, is_wrong_type
from .._redis.held_keys import MAY_BE_UNIQUE
from .._redis.inspector import Inspector
from .._redis.job_scan import JobScan
from .._redis.namespace import Namespace
from .._redis.running_jobs import id_among
from ..errors import ArgumentEncodingError, PayloadError
from ..job import Job

_STEP = 500


@dataclass(slots=True)
class UnfinishedJobs:
    """The contents of the jobs that have not ended, as far as the doctor checks them.

    :ivar names: by ``retry`` and ``scheduled``, how many jobs of each name.
    :ivar wanted: ids that are searched for, in UTF-8.
    :ivar claimed: the keys that unique jobs may hold, with the ids of these jobs.
    :ivar ids: those of the wanted ids that a job has.
    :ivar batch_ids: the batches whose members are searched for.
    :ivar members: by batch, the numbers of its members that are there.
    :ivar holding: by key, the ids of jobs that hold it until they have ended.
    :ivar successors: the ids of jobs that wait for the end of another, with the key that the other holds.
    :ivar unclear: names of jobs whose unique key cannot be computed.
    """

    names: dict[str, Counter[str]] = field(default_factory=dict)
    claimed: dict[str, set[str]] = field(default_factory=dict)
    holding: dict[str, set[str]] = field(default_factory=dict)
    successors: dict[str, str] = field(default_factory=dict)
    unclear: set[str] = field(default_factory=set)
    ids: set[str] = field(default_factory=set)
    wanted: Collection[bytes] = ()
    batch_ids: Collection[str] = ()
    members: dict[str, set[int]] = field(default_factory=dict)


class UnfinishedJobReader:
    """Reads the jobs that have not ended, in steps that never block Redis for long."""

    def __init__(self, namespace: Namespace, inspector: Inspector) -> None:
        self._redis = namespace.redis
        self._inspector = inspector
        self._keys = namespace.keys

    async def read(
        self,
        queues: Iterable[str],
        in_progress: Mapping[str, Iterable[str]],
        wanted: Iterable[str] = (),
        *,
        dead: bool = False,
        batch_ids: Collection[str] = (),
    ) -> UnfinishedJobs:
        """Read every job that exists all the time, even if it moves meanwhile.

        The locations are read in the order in which jobs move. Jobs in progress are read first and last, because they
        may return to their queue.

        :param in_progress: by queue, the pools that may have jobs of it in progress.
        :param wanted: ids of jobs to search for.
        :param dead: whether to search among the dead jobs, too.
        :param batch_ids: the batches whose members to search for.
        :raises RedisError, OSError: when Redis refuses or cannot be reached.
        """
        found = UnfinishedJobs(wanted={each.encode() for each in wanted}, batch_ids=batch_ids)
        await self._read_running(found, in_progress)
        for location in (JobSet.RETRY, JobSet.SCHEDULED):
            found.names[location] = Counter()
            await self._read_location(found, location)
        for name in queues:
            await self._read_location(found, queue_location(name))
        await self._read_running(found, in_progress)
        if dead:
            await self._read_location(found, JobSet.DEAD, dead=True)
        return found

    async def _read_location(self, found: UnfinishedJobs, location: str, *, dead: bool = False) -> None:
        # Ascending, because what arrives meanwhile, such as another attempt, has a higher score.
        scan = JobScan(self._inspector, location, newest_first=False)
        names = found.names.get(location)
        while members := await scan.step():
            for member in members:
                self._add(found, member.raw, names, dead=dead, is_successor=member.at == SUCCESSOR_AT)
            scan.mark_seen(members)
            if scan.ended:
                break

    async def _read_running(self, found: UnfinishedJobs, in_progress: Mapping[str, Iterable[str]]) -> None:
        for name, pool_ids in in_progress.items():
            for pool_id in pool_ids:
                key, start = self._keys.in_progress(name, pool_id), 0
                while payloads := await self._range(key, start):
                    for payload in payloads:
                        self._add(found, payload, None)
                    start += len(payloads)

    async def _range(self, key: str, start: int) -> list[bytes]:
        """Return some elements of a list; none for a key that is not a list."""
        try:
            payloads: list[bytes] = await self._redis.client().lrange(key, start, start + _STEP - 1)
        except ErrorReply as error:
            if not is_wrong_type(error):
                raise
            return []
        return payloads

    def _add(
        self,
        found: UnfinishedJobs,
        payload: bytes,
        names: Counter[str] | None,
        *,
        dead: bool = False,
        is_successor: bool = False,
    ) -> None:
        if found.wanted and (job_id := id_among(payload, found.wanted)):
            found.ids.add(job_id)
        if found.batch_ids and (member := member_in(payload)) and member.batch_id in found.batch_ids:
            found.members.setdefault(member.batch_id, set()).add(member.number)
        if (hold := read_hold(payload)) is not None and not (dead and hold.dead_frees):
            key = self._keys.hold(hold.name, hold.digest)
            found.holding.setdefault(key, set()).add(hold.job_id)
            if is_successor:
                found.successors[hold.job_id] = key
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
            except ArgumentEncodingError:
                found.unclear.add(job.name)
