"""Requeues jobs that are due by the clock of a test, which is ahead of the clock of Redis."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

from .._jobs.clock import Clock
from .._jobs.location import JobSet
from .._jobs.periodic_job import PeriodicJob
from .._redis.delayed import DelayedJobs, Due, Scored
from .._redis.namespace import Namespace
from .._worker.expiry import times_to_start
from .._worker.periodic_uniqueness import PeriodicUniqueness
from .._worker.services.requeuer import Requeuer
from ..errors import PayloadError
from ..job import Job
from ..worker_pool import WorkerPool

_SETS = (JobSet.RETRY, JobSet.SCHEDULED)
# How many of the skipped times of a periodic job are scheduled.
_MOST_FIRINGS = 1000


class _DelayedJobs(DelayedJobs):
    """Jobs that are due by another clock than that of Redis."""

    def __init__(self, namespace: Namespace, clock: Clock) -> None:
        super().__init__(namespace)
        self._clock = clock

    async def due(self, job_set: JobSet, limit: int, spans: Sequence[tuple[float, int]] = ()) -> Due:
        """Return up to ``limit`` due jobs; see :meth:`DelayedJobs.due`. All spans count as changed."""
        now, client = self._clock(), self._redis.client()
        low = f"({spans[-1][0]!r}" if spans else "-inf"
        found = await client.zrangebyscore(
            getattr(self._keys, job_set.value), low, now, start=0, num=limit, withscores=True
        )
        registered = await client.scard(self._keys.known_jobs)
        return Due(now, None, registered, list(range(len(spans))), [Scored(*each) for each in found])


async def shorten_rests(names: Iterable[str], namespace: Namespace, seconds: float) -> None:
    """Have queues rest for less, because the clock of the test has moved.

    :raises RedisError, OSError: when Redis refuses or cannot be reached.
    """
    client = namespace.redis.client()
    for key in map(namespace.keys.paused, names):
        left = await client.pttl(key)
        if 0 <= left <= seconds * 1000:
            await client.delete(key)
        elif left > 0:
            await client.pexpire(key, int(left - seconds * 1000))


async def requeue_due(pool: WorkerPool[Any], namespace: Namespace, clock: Clock) -> bool:
    """Put the due jobs of a pool on their queues, as its own requeuers do; return whether there were any.

    :raises RedisError, OSError: when Redis refuses or cannot be reached.
    """
    client, names = namespace.redis.client(), set(pool.job_names)
    due = []
    for job_set in _SETS:
        due += await client.zrangebyscore(getattr(namespace.keys, job_set.value), "-inf", clock())
    if names.isdisjoint(map(_name_in, due)):
        return False
    keys = [job.key for job in pool._registry.periodic]
    expires, unique = times_to_start(pool.job_options), PeriodicUniqueness(pool.job_options)
    for job_set in _SETS:
        await Requeuer(namespace, job_set, 1.0, keys, _DelayedJobs(namespace, clock), expires, unique).run_once()
    return True


def _name_in(payload: bytes) -> str:
    try:
        return Job.decode(payload).name
    except PayloadError:
        return ""


async def schedule_periodic(namespace: Namespace, jobs: Sequence[PeriodicJob], after: float, until: float) -> None:
    """Schedule the instances of periodic jobs within a span of time.

    :param after: the span begins after this epoch second.
    :param until: the last epoch second of the span.
    :raises RedisError, OSError: when Redis refuses or cannot be reached.
    """
    for job in jobs:
        instances = {job.instance(at): at for at in _last_firings(job, math.floor(after), math.floor(until) + 1)}
        if instances:
            await namespace.redis.client().zadd(namespace.keys.scheduled, instances)


def _last_firings(job: PeriodicJob, after: int, before: int) -> list[int]:
    """Return the last times of a periodic job between two epoch seconds. A wide span may have millions."""
    length = _MOST_FIRINGS
    while True:
        start = max(after, before - length)
        firings = job.schedule.firings(start, before)
        if start == after or len(firings) >= _MOST_FIRINGS:
            return firings[-_MOST_FIRINGS:]
        length *= 2
