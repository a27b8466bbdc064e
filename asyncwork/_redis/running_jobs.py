"""Finds jobs among those that pools have in progress."""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple

from ..errors import PayloadError
from ..job import Job
from .namespace import Namespace
from .pool_registry import PoolRegistry
from .protocol import encode
from .recovery import Recovery
from .slices import slices

# Jobs of one list, and lists, that are read by one pipeline.
_STEP, _SLICE = 100, 500
# The most ids that are searched for in the bytes of a payload.
_FEW = 20


class JobInProgress(NamedTuple):
    """A job that a pool has in progress.

    :ivar raw: its payload.
    :ivar pool_id: the pool, which may have died.
    """

    raw: bytes
    pool_id: str


class RunningJobs:
    """The in-progress lists of all pools. Every method raises RedisError or OSError when Redis refuses or cannot be
    reached.
    """

    def __init__(self, namespace: Namespace) -> None:
        self._redis = namespace.redis
        self._keys = namespace.keys
        self._registry = PoolRegistry(namespace)
        self._recovery = Recovery(namespace)

    async def find(self, job_ids: Collection[str]) -> dict[str, bytes]:
        """Return the payloads of those of the jobs with these ids that are in progress, by id."""
        return {job_id: each.raw for job_id, each in (await self.locate(job_ids)).items()}

    async def locate(self, job_ids: Collection[str]) -> dict[str, JobInProgress]:
        """Return those of the jobs with these ids that are in progress, by id."""
        found: dict[str, JobInProgress] = {}
        wanted = {encode(job_id) for job_id in job_ids}
        for lists in slices(await self._lists(), _SLICE):
            left, start = list(lists), 0
            while left:
                async with self._redis.client().pipeline(transaction=False) as pipe:
                    for key in left:
                        pipe.lrange(key, start, start + _STEP - 1)
                    replies = await pipe.execute(raise_on_error=False)
                # Errors are those of keys that are not lists.
                replies = [reply if isinstance(reply, list) else [] for reply in replies]
                for key, payloads in zip(left, replies, strict=True):
                    pool_id = "" if (part := self._keys.read_queue_key(key)) is None else part.pool_id
                    found |= {id_: JobInProgress(raw, pool_id) for raw in payloads if (id_ := id_among(raw, wanted))}
                left = [key for key, payloads in zip(left, replies, strict=True) if len(payloads) == _STEP]
                start += _STEP
        return found

    async def lists_of(self, name: str) -> list[str]:
        """Return the keys of the lists in which jobs of a name may be in progress."""
        return [each for each in await self._lists() if (key := self._keys.read_queue_key(each)) and key.name == name]

    async def _lists(self) -> list[str]:
        """Return the keys of the lists that may exist: of the queues that each pool serves, because a job that was just
        popped has no share in the lock, and of those in whose locks it has a share.
        """
        holders = await self._recovery.lock_holders()
        for pool_id, heartbeat in (await self._registry.raw_heartbeats(await self._registry.pool_ids())).items():
            holders.setdefault(pool_id, set()).update(heartbeat.job_names)
        return [self._keys.in_progress(name, pool_id) for pool_id, names in holders.items() for name in names]


def id_among(raw: bytes, wanted: Collection[bytes]) -> str | None:
    """Return the id of the job of a payload if it is one of the wanted ones.

    :param wanted: ids in UTF-8.
    """
    # Most payloads need not be decoded. To look for many ids one by one takes longer.
    if len(wanted) <= _FEW and not any(each in raw for each in wanted):
        return None
    try:
        job_id = Job.decode(raw).id
        return job_id if job_id.encode() in wanted else None
    except (PayloadError, UnicodeEncodeError):
        return None
