"""Jobs in sorted sets (retry, scheduled, dead), and the way back to their queues."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

from .._jobs.hold import MAY_HOLD, hold_of
from .._jobs.location import JobSet
from .._jobs.membership import member_in
from .._json.codec import replace_surrogates
from ..errors import PayloadError
from ..job import Job
from .client import run_script
from .fair_queues import FairQueues
from .member_calls import shared_keys
from .namespace import Namespace
from .periodic_changes import PAUSED
from .protocol import decode, encode
from .slices import slices

# Queues whose type is read in one round trip.
_SLICE = 100

_NO_FIRINGS: Mapping[bytes, tuple[str, int]] = MappingProxyType({})


class Scored(NamedTuple):
    """A job in a sorted set, and its score, epoch seconds."""

    payload: bytes
    score: float


class Due(NamedTuple):
    """The due jobs of a sorted set.

    :ivar now: Redis's clock, epoch seconds.
    :ivar next: the score of the first job that is not due yet, epoch seconds, or ``None``.
    :ivar registered: how many job names are registered.
    :ivar changed: the spans whose number of jobs has changed, as indexes from 0.
    :ivar jobs: due jobs beyond the spans, the longest due first.
    """

    now: float
    next: float | None
    registered: int
    changed: list[int]
    jobs: list[Scored]


class Requeued(NamedTuple):
    """The result of requeueing jobs.

    :ivar moved: how many were still in the sorted set and have been moved.
    :ivar refusal: Redis's error for those that stay, such as that their queue is not a list; empty if none does.
    :ivar refused: those that stay because of an error, as indexes from 0.
    :ivar paused: the instances of paused periodic jobs, which were deleted, as indexes from 0.
    :ivar held: by index from 0, the ids of jobs that hold the key of another, which therefore stays or was dropped.
    """

    moved: int
    refusal: str
    refused: Sequence[int] = ()
    paused: Sequence[int] = ()
    held: Mapping[int, str] = MappingProxyType({})


class DelayedJobs:
    """The jobs of a namespace that wait in sorted sets.

    Every method raises RedisError or OSError when Redis refuses or cannot be reached.
    """

    def __init__(self, namespace: Namespace) -> None:
        self._redis = namespace.redis
        self._keys = namespace.keys
        self._fair = FairQueues(namespace)

    async def due(self, job_set: JobSet, limit: int, spans: Sequence[tuple[float, int]] = ()) -> Due:
        """Return up to ``limit`` due jobs of a sorted set.

        :param spans: jobs not to be read again: the highest score, epoch seconds, and the number of jobs of each span.
            The spans follow each other from the lowest score on.
        """
        keys = [getattr(self._keys, job_set.value), self._keys.known_jobs]
        args: list[int | str] = [limit]
        for highest, count in spans:
            args += (repr(highest), count)
        now, later, registered, changed, found = await run_script(self._redis.client(), "read_due", keys, args)
        jobs = [Scored(member, float(score)) for member, score in zip(found[::2], found[1::2], strict=True)]
        return Due(float(now), float(later) if later else None, registered, [number - 1 for number in changed], jobs)

    async def page(self, job_set: JobSet, start: int, limit: int) -> list[Scored]:
        """Return up to ``limit`` jobs of a sorted set from rank ``start`` on, the lowest score first."""
        found = await self._redis.client().zrange(
            getattr(self._keys, job_set.value), start, start + limit - 1, withscores=True
        )
        return [Scored(member, score) for member, score in found]

    async def count(self, job_set: JobSet) -> int:
        """Return how many jobs a sorted set has."""
        return int(await self._redis.client().zcard(getattr(self._keys, job_set.value)))

    async def dead_since(self, since: float, skip: int, limit: int) -> list[Scored]:
        """Return up to ``limit`` jobs that died at ``since`` or later, without the first ``skip`` of them.

        :param since: epoch seconds, as the scores are.
        """
        found = await self._redis.client().zrangebyscore(
            self._keys.dead, since, "+inf", start=skip, num=limit, withscores=True
        )
        return [Scored(member, score) for member, score in found]

    async def broken_queues(self, names: Sequence[str]) -> set[str]:
        """Return which of these names have a queue that is not a list, so that no job can be put on it."""
        broken: set[str] = set()
        for some in slices(names, _SLICE):
            async with self._redis.client().pipeline(transaction=False) as pipe:
                for name in some:
                    pipe.type(self._keys.queue(name))
                replies = await pipe.execute()
            broken.update(name for name, kind in zip(some, replies, strict=True) if kind not in (b"list", b"none"))
        return broken

    async def requeue(
        self,
        job_set: JobSet,
        moves: Sequence[tuple[bytes, str | None, bytes]],
        firings: Mapping[bytes, tuple[str, int]] = _NO_FIRINGS,
        *,
        by_hand: bool = False,
        flow_id: str = "",
    ) -> Requeued:
        """Move jobs from a sorted set to their queues, or to the quarantine.

        :param moves: member, name of the queue (``None`` for the quarantine), and the payload to push there.
        :param firings: by member, for instances of periodic jobs, the periodic job's key and the instance's epoch
            second. They are recorded for :class:`PeriodicInstances` when the instances are moved. Those of paused jobs
            are deleted, and those whose key another job holds.
        :param by_hand: whether a person requeues them: then a job stays whose key another job holds.
        :param flow_id: the flow whose dead nodes they are, if it is to be noted there that they are tried again.
        """
        names = sorted({name for _, name, _ in moves if name is not None})
        fixed = [self._keys.quarantine, self._keys.periodic_fired, self._keys.periodic_changes]
        keys = _NumberedKeys([getattr(self._keys, job_set.value), *fixed, *map(self._keys.queue, names)])
        args: list[bytes | int | str] = [PAUSED]
        for member, name, payload in moves:
            record = self._record(member) if job_set is JobSet.DEAD else None
            destination = keys.number(self._keys.quarantine if name is None else self._keys.queue(name))
            key, at = firings.get(member, ("", 0))
            runs = keys.number(self._keys.periodic_runs(key)) if key else 0
            args += (member, destination, payload, key, at, runs, 0 if record is None else keys.number(record))
            mode = "stay" if by_hand else "drop" if key else "move"
            args.append(self._hold(keys, payload, mode, dead=job_set is JobSet.DEAD))
        fair = await self._fair.keys_of(names)
        client, names_of = self._redis.client(), keys.names
        if flow_id:
            names_of = [*shared_keys(self._keys), *self._keys.batch(flow_id), *names_of]
            numbers = [found.number for member, _, _ in moves if (found := member_in(member)) is not None]
            reply = await run_script(client, "retry_nodes", names_of, [len(numbers), *numbers, *args], fair=fair)
        else:
            reply = await run_script(client, "requeue", names_of, args, fair=fair)
        moved, refusal, refused, paused, held = reply
        holders = {number - 1: decode(job_id) for number, job_id in zip(held[::2], held[1::2], strict=True)}
        return Requeued(moved, refusal.decode(errors="replace"), _indexes(refused), _indexes(paused), holders)

    def _hold(self, keys: _NumberedKeys, payload: bytes, mode: str, *, dead: bool) -> bytes:
        """Return what the script needs to know of a job that is to hold a key; empty for another job.

        :param mode: what happens if another job holds the key.
        :param dead: whether the job is dead, and so may have freed the key.
        """
        if MAY_HOLD not in payload:
            return b""
        try:
            job = Job.decode(payload)
        except PayloadError:
            return b""
        if (hold := hold_of(job)) is None:
            return b""
        if dead and hold.dead_frees and mode == "stay":
            # A job with its id that holds the key is another one.
            mode = "anew"
        mode = "begun" if job.fails and mode == "move" else mode
        return encode(f"{keys.number(self._keys.hold(hold.name, hold.digest))} {mode} {hold.until} {hold.job_id}")

    def _record(self, member: bytes) -> str | None:
        """Return the key of a job's record, if it has one; ``None`` for a payload that is not a job."""
        try:
            return self._keys.job_record(replace_surrogates(Job.decode(member).id))
        except PayloadError:
            return None


class _NumberedKeys:
    """The keys of a script, which its arguments name by their numbers, from 1."""

    def __init__(self, names: Sequence[str]) -> None:
        self._numbers = {name: number for number, name in enumerate(names, start=1)}

    @property
    def names(self) -> list[str]:
        """The keys in their order."""
        return list(self._numbers)

    def number(self, name: str) -> int:
        """Return the number of a key, which is appended if it is new."""
        return self._numbers.setdefault(name, len(self._numbers) + 1)


def _indexes(numbers: Sequence[int]) -> list[int]:
    return [number - 1 for number in numbers]
