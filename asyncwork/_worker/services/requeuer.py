"""The requeuer: requeues the due jobs of the retry set or the scheduled set."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import math
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import NamedTuple

from ..._jobs.location import JobSet
from ..._jobs.membership import SETTLE_NAME
from ..._jobs.payload import with_expiry, with_hold, with_time
from ..._jobs.periodic_job import firing_of
from ..._jobs.printable import printable
from ..._jobs.quarantine import decode_failure, write_entry
from ..._redis.batch_store import BatchStore
from ..._redis.delayed import DelayedJobs, Due, Scored
from ..._redis.namespace import Namespace
from ..._redis.pool_registry import PoolRegistry
from ...job import Job
from ..periodic_uniqueness import NOTHING_UNIQUE, PeriodicUniqueness
from .superseded_instances import Instance, SupersededInstances

logger = logging.getLogger("asyncwork")

# Jobs moved by one call of a script; keeps every call far below 10 ms.
_SLICE = 100
# Seconds to wait beyond a due time, so that the clock of Redis has reached it.
_AFTER = 0.002
# Seconds for which a name counts as registered after Redis has confirmed it.
_KNOWN_FOR = 60.0
# Jobs in one range, or more if they have the same score. When a job comes among them, the whole range is read again.
_RANGE_SIZE = 1000
# Ranges beyond which neighbours are joined.
_MAX_RANGES = 256
# Skipped jobs that each pass reads again, in turn.
_RECHECKED = 200
# Names of broken queues that each pass checks again.
_BROKEN = 100

_NO_EXPIRY: Mapping[str, float] = MappingProxyType({})


class Transfer(NamedTuple):
    """A job to take out of the set.

    :ivar queue: the name of the queue to push to; ``None`` for the quarantine.
    :ivar payload: what to push there.
    """

    member: bytes
    queue: str | None
    payload: bytes


@dataclass(slots=True)
class _SkippedRange:
    """Consecutive jobs of the set that are due but cannot be requeued.

    :ivar highest: the highest score in the range, epoch seconds; it begins above that of the range before.
    :ivar count: how many jobs there are.
    :ivar names: their names.
    """

    highest: float
    count: int = 0
    names: set[str] = field(default_factory=set)


class Requeuer:
    """Moves the due jobs of one set to their queues, whichever pool handles them. A job stays in the set as long as its
    name is not registered.

    A pass does not read again the jobs that it had to skip. It remembers them as ranges of scores, with the number of
    jobs in each. A range is read again when that number changes, when one of its names is registered, or when a broken
    queue is repaired.

    :param period: the longest time between two passes, seconds.
    :param periodic: the keys of the periodic jobs that this pool enqueues.
    :param delayed: reads the due jobs; by default by the clock of Redis.
    :param expires: by job name, the seconds after its scheduled time for which a job of this name may start. It is
        written into its payload, because the time that it was scheduled for is gone when it is on its queue.
    :param unique: the keys that instances of periodic jobs hold.
    """

    def __init__(
        self,
        namespace: Namespace,
        job_set: JobSet,
        period: float,
        periodic: Collection[str] = (),
        delayed: DelayedJobs | None = None,
        expires: Mapping[str, float] = _NO_EXPIRY,
        unique: PeriodicUniqueness = NOTHING_UNIQUE,
    ) -> None:
        self.name = f"{job_set.value} requeuer"
        self._delayed = DelayedJobs(namespace) if delayed is None else delayed
        self._registry = PoolRegistry(namespace)
        self._superseded = SupersededInstances(namespace, periodic)
        self._batches = BatchStore(namespace)
        self._set = job_set
        # A job in the retry set has its time limit from its first attempt.
        self._expires = expires if job_set is JobSet.SCHEDULED else _NO_EXPIRY
        self._unique = unique
        self._period = period
        self._pass_lock = asyncio.Lock()
        # Whether a batch that has ended has scheduled jobs meanwhile.
        self._more_due = False
        # Until when each name counts as registered, by the monotonic clock.
        self._registered_until: dict[str, float] = {}
        # The skipped jobs from the lowest score on, how many names were registered then, and the names whose queue is
        # not a list.
        self._ranges: list[_SkippedRange] = []
        self._name_count = 0
        self._broken: set[str] = set()
        # The rank in the set of the skipped job that is read again next.
        self._recheck_from = 0
        # Why a job could not be moved, and digests of the quarantined members that were logged: up to the last pass,
        # and in the pass under way.
        self._refusal = self._new_refusal = ""
        self._logged: set[bytes] = set()
        self._newly_logged: set[bytes] = set()

    async def run_once(self) -> float:
        """Requeue every due job. The next pass is when the next job is due, or at the next full second.

        Due times are whole seconds, so a job that is added in the meantime cannot be due before that.
        """
        # Draining a pool runs passes beside those of the loop.
        async with self._pass_lock:
            return await self._pass()

    async def _pass(self) -> float:
        self._new_refusal, self._newly_logged, self._more_due = "", set(), False
        due = await self._delayed.due(self._set, _SLICE, [(each.highest, each.count) for each in self._ranges])
        reread = {*due.changed, *await self._unblocked(due)}
        ranges: list[_SkippedRange] = []
        for number, each in enumerate(self._ranges):
            # A range that ends later than now was read when the clock of Redis was ahead.
            if number not in reread and each.highest <= due.now:
                ranges.append(each)
            elif each.highest <= due.now:
                ranges += await self._requeue_after(ranges, each.highest, due.now)
        clock_was_ahead = bool(self._ranges) and self._ranges[-1].highest > due.now
        ranges += await self._requeue_after(ranges, due.now, due.now, None if clock_was_ahead else due.jobs)
        self._ranges = _joined(ranges)
        await self._recheck(due.now)
        if self._new_refusal and not self._refusal:
            logger.warning("could not requeue due jobs of the %s set: %s", self._set.value, self._new_refusal)
        if self._new_refusal or not self._broken:
            self._refusal = self._new_refusal
        self._logged = self._newly_logged | self._logged if self._ranges else self._newly_logged
        return self._until_next(due)

    def _until_next(self, due: Due) -> float:
        if self._more_due:
            return 0.0
        full_second = math.floor(due.now) + 1
        at = full_second if due.next is None else min(full_second, due.next)
        return min(max(at - due.now, 0.0) + _AFTER, self._period)

    async def _unblocked(self, due: Due) -> Iterator[int]:
        """Return the numbers of the ranges in which some jobs may be movable now."""
        names = set[str]().union(*(each.names for each in self._ranges))
        unblocked: set[str] = set()
        if due.registered != self._name_count:
            unblocked |= await self._registry.registered_names(sorted(names - self._broken))
        if broken := sorted(self._broken & names)[:_BROKEN]:
            unblocked |= set(broken) - await self._delayed.broken_queues(broken)
        self._broken &= names - unblocked
        self._name_count = due.registered
        return (number for number, each in enumerate(self._ranges) if not unblocked.isdisjoint(each.names))

    async def _requeue_after(
        self, before: Sequence[_SkippedRange], highest: float, now: float, jobs: list[Scored] | None = None
    ) -> list[_SkippedRange]:
        """Requeue the jobs behind some ranges, up to a score; return the ranges of those that are skipped.

        :param jobs: the first of the jobs, if they were read already.
        """
        start = sum(each.count for each in before)
        ranges, last = [_SkippedRange(highest)], -math.inf
        while True:
            if jobs is None:
                jobs = await self._delayed.page(self._set, start, _SLICE)
            page = [job for job in jobs if job.score <= highest]
            for (_, score), name in await self._move(page, now):
                start += 1
                if ranges[-1].count >= _RANGE_SIZE and score > last:
                    ranges[-1].highest = last
                    ranges.append(_SkippedRange(highest))
                last = score
                ranges[-1].count += 1
                if name is not None:
                    ranges[-1].names.add(name)
            if len(page) < _SLICE:
                return ranges
            jobs = None

    async def _recheck(self, now: float) -> None:
        """Try some of the skipped jobs again: a movable one may have taken the place of another, so that the number of
        jobs in the range is the same.
        """
        if not any(each.count for each in self._ranges):
            return
        page = await self._delayed.page(self._set, self._recheck_from, _RECHECKED)
        due = [job for job in page if job.score <= now]
        for start in range(0, len(due), _SLICE):
            self._recheck_from += len(await self._move(due[start : start + _SLICE], now))
        if len(due) < _RECHECKED:
            self._recheck_from = 0

    async def _move(self, page: Sequence[Scored], now: float) -> list[tuple[Scored, str | None]]:
        """Move jobs to their queues, and payloads that are not jobs to the quarantine.

        :returns: the members that stay in the set, with the names of the jobs.
        """
        jobs, transfers, instances = self._decode(page, now)
        if entries := [each for each in jobs if each[1].name == SETTLE_NAME]:
            settled, self._more_due = await self._batches.settle_parents(self._set, entries)
            jobs = [each for each in jobs if each[0].payload not in settled]
        registered = await self._registered_of({job.name for _, job in jobs})
        dropped = await self._superseded.drop(instances)
        stay: list[tuple[Scored, str | None]] = [
            (scored, job.name) for scored, job in jobs if job.name not in registered
        ]
        movable = [(scored, job) for scored, job in jobs if job.name in registered and scored.payload not in dropped]
        transfers += (self._to_queue(scored, job, now, scored.payload in instances) for scored, job in movable)
        if not transfers:
            return stay
        firings = {member: (each.key, each.at) for member, each in instances.items()}
        result = await self._delayed.requeue(self._set, transfers, firings)
        await self._batches.settle_quarantined([each.member for each in transfers if each.queue is None])
        for number in result.paused:
            each = instances[transfers[number].member]
            text = "dropped the instance of periodic job %s at %d: it is paused"
            logger.info(text, printable(each.job.name), each.at)
        for number, holder in result.held.items():
            each = instances[transfers[number].member]
            text = "dropped the instance of periodic job %s at %d: job %s holds its key"
            logger.info(text, printable(each.job.name), each.at, printable(holder))
        if result.refused:
            self._new_refusal = self._new_refusal or result.refusal
            scores = dict(page)
            refused = [transfers[number] for number in result.refused]
            self._broken.update(each.queue for each in refused if each.queue is not None)
            stay += ((Scored(each.member, scores[each.member]), each.queue) for each in refused)
            stay.sort(key=lambda each: (each[0].score, each[0].payload))
        return stay

    def _decode(
        self, page: Sequence[Scored], now: float
    ) -> tuple[list[tuple[Scored, Job]], list[Transfer], dict[bytes, Instance]]:
        """Return the jobs, the transfers of members that are not jobs, and by member the instances of periodic jobs."""
        jobs: list[tuple[Scored, Job]] = []
        transfers: list[Transfer] = []
        instances: dict[bytes, Instance] = {}
        for scored in page:
            member = scored.payload
            try:
                job = Job.decode(member)
                # An instance in the retry set has fired before.
                firing = firing_of(job.id) if self._set is JobSet.SCHEDULED else None
            except Exception as error:  # one unreadable member must not block the others
                transfers.append(self._to_quarantine(member, error, now))
                continue
            jobs.append((scored, job))
            if firing is not None and firing[1] <= now:
                instances[member] = Instance(job, *firing)
        return jobs, transfers, instances

    def _to_queue(self, scored: Scored, job: Job, now: float, is_instance: bool) -> Transfer:
        member = scored.payload
        try:
            payload = with_time(member, int(now))
            if job.expires is None and (seconds := self._expires.get(job.name)) is not None:
                payload = with_expiry(payload, math.ceil(scored.score + seconds))
            if is_instance and (mark := self._unique.mark(job)):
                payload = with_hold(payload, mark)
            return Transfer(member, job.name, payload)
        except Exception as error:
            return self._to_quarantine(member, error, now)

    def _to_quarantine(self, member: bytes, error: Exception, now: float) -> Transfer:
        """Return the transfer of a member to the quarantine; log each member once."""
        reason = decode_failure(error)
        digest = hashlib.sha1(member, usedforsecurity=False).digest()
        if digest not in self._logged and digest not in self._newly_logged:
            text = "quarantined a payload of %d bytes from the %s set: %s"
            logger.error(text, len(member), self._set.value, reason)
        self._newly_logged.add(digest)
        return Transfer(member, None, write_entry(self._set.value, member, reason, int(now)))

    async def _registered_of(self, names: set[str]) -> set[str]:
        """Return those of the names that are registered."""
        now = time.monotonic()
        unsure = sorted(name for name in names if self._registered_until.get(name, -math.inf) < now)
        for name in await self._registry.registered_names(unsure):
            self._registered_until[name] = now + _KNOWN_FOR
        return {name for name in names if self._registered_until.get(name, -math.inf) >= now}


def _joined(ranges: Sequence[_SkippedRange]) -> list[_SkippedRange]:
    """Join small ranges, and any neighbours where there are too many ranges; return none where no job is skipped."""
    if not any(each.count for each in ranges):
        return []
    most = max(_RANGE_SIZE, 2 * sum(each.count for each in ranges) // _MAX_RANGES)
    joined: list[_SkippedRange] = []
    for each in ranges:
        if joined and joined[-1].count + each.count <= most:
            last = joined[-1]
            last.highest, last.count, last.names = each.highest, last.count + each.count, last.names | each.names
        else:
            joined.append(each)
    return joined
