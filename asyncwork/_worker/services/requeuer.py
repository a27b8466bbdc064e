"""Brings jobs whose time has come from a shelf (retry or scheduled) to their queues."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import math
import time
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from ..._jobs.location import JobSet
from ..._jobs.quarantine import decode_failure, write_entry
from ..._redis.delayed import DelayedJobs, Due, Scored
from ..._redis.namespace import Namespace
from ..._redis.periodic import PeriodicInstances
from ..._redis.registry import Registry
from ...job import Job, with_time
from ...models import Heartbeat
from .periodic_enqueuer import firing_of, superseded

logger = logging.getLogger("asyncwork")

# Jobs moved by one call of a script; keeps every call far below 10 ms.
_BATCH = 100
# Seconds after a due time at which to look: late enough for Redis's clock to have reached it.
_AFTER = 0.002
# Seconds for which a name that was known is not looked up again.
_KNOWN_FOR = 60.0
# Jobs that had to stay and are told apart from their neighbours when something comes among them; more if they have all
# the same score.
_SPAN = 1000
# Spans beyond which neighbours are put together.
_MOST_SPANS = 256
# Jobs that had to stay and are looked at again in each pass, in turn.
_AGAIN = 200
# Names of broken queues that are looked at again in each pass.
_BROKEN = 100
# Seconds for which the heartbeats are not read again.
_HEARTBEATS_FOR = 2.0

# Member, name of its queue or ``None`` for the quarantine, what to push there.
Move: TypeAlias = tuple[bytes, str | None, bytes]


@dataclass(slots=True)
class _Span:
    """Jobs that follow each other, are due and had to stay.

    :ivar highest: the highest score that they may have, epoch seconds; the lowest is beyond that of the span before.
    :ivar count: how many there are.
    :ivar names: their names.
    """

    highest: float
    count: int = 0
    names: set[str] = field(default_factory=set)


class Requeuer:
    """Empties one shelf of what is due, whoever serves it, and leaves jobs whose name nobody knows.

    A pass costs no more for all that had to stay: of it, spans of scores are kept with how many jobs they hold. A span
    is read again when that number changes, when one of its names becomes known, or when a broken queue is mended.

    :param period: the longest time between two passes, seconds.
    :param periodic: the keys of the periodic jobs that this pool enqueues.
    """

    def __init__(self, namespace: Namespace, shelf: JobSet, period: float, periodic: Collection[str] = ()) -> None:
        self.name = f"{shelf.value} requeuer"
        self._delayed = DelayedJobs(namespace)
        self._registry = Registry(namespace)
        self._instances = PeriodicInstances(namespace)
        self._shelf = shelf
        self._period = period
        self._periodic = frozenset(periodic)
        self._passing = asyncio.Lock()
        self._known: dict[str, float] = {}
        self._heartbeats: Sequence[Heartbeat] = ()
        self._heartbeats_until = -math.inf
        # What had to stay, from the lowest score on; how many names were known then; names whose queue is no list.
        self._spans: list[_Span] = []
        self._names_known = 0
        self._broken: set[str] = set()
        # Which of the jobs that had to stay is the next to be looked at again.
        self._again = 0
        # Why something had to stay when it was last read, and members that were told to be no jobs; then the same of
        # the pass under way.
        self._refusal = self._refused = ""
        self._told: set[bytes] = set()
        self._tell: set[bytes] = set()

    async def once(self) -> float:
        """Move everything that is due. The next pass is when the next job is due, or at the next full second.

        Due times are whole seconds, so a job that somebody puts there meanwhile cannot be due before that.
        """
        # Who drains a pool has a pass beside those that come by themselves.
        async with self._passing:
            return await self._pass()

    async def _pass(self) -> float:
        self._refused, self._tell = "", set()
        due = await self._delayed.due(self._shelf, _BATCH, [(span.highest, span.count) for span in self._spans])
        again = {*due.changed, *await self._freed(due)}
        spans: list[_Span] = []
        for number, span in enumerate(self._spans):
            # A span that ends later than now was read when Redis's clock was ahead.
            if number not in again and span.highest <= due.now:
                spans.append(span)
            elif span.highest <= due.now:
                spans += await self._bring(spans, span.highest, due.now)
        ahead = bool(self._spans) and self._spans[-1].highest > due.now
        spans += await self._bring(spans, due.now, due.now, None if ahead else due.jobs)
        self._spans = _joined(spans)
        await self._look_again(due.now)
        if self._refused and not self._refusal:
            logger.warning("%s: jobs that are due stay there: %s", self.name, self._refused)
        if self._refused or not self._broken:
            self._refusal = self._refused
        self._told = self._tell | self._told if self._spans else self._tell
        return self._until_next(due)

    def _until_next(self, due: Due) -> float:
        full_second = math.floor(due.now) + 1
        at = full_second if due.next is None else min(full_second, due.next)
        return min(max(at - due.now, 0.0) + _AFTER, self._period)

    async def _freed(self, due: Due) -> Iterator[int]:
        """Return the spans of which some jobs may be moved now."""
        names = set[str]().union(*(span.names for span in self._spans))
        freed: set[str] = set()
        if due.registered != self._names_known:
            freed |= await self._registry.registered_names(sorted(names - self._broken))
        if asked := sorted(self._broken & names)[:_BROKEN]:
            freed |= set(asked) - await self._delayed.broken_queues(asked)
        self._broken &= names - freed
        self._names_known = due.registered
        return (number for number, span in enumerate(self._spans) if not freed.isdisjoint(span.names))

    async def _bring(
        self, before: Sequence[_Span], highest: float, now: float, jobs: list[Scored] | None = None
    ) -> list[_Span]:
        """Move the jobs behind those spans, up to a score; return the spans of those that stay.

        :param jobs: the first of them, if they are read already.
        """
        start = sum(span.count for span in before)
        spans, last = [_Span(highest)], -math.inf
        while True:
            if jobs is None:
                jobs = await self._delayed.page(self._shelf, start, _BATCH)
            page = [job for job in jobs if job.score <= highest]
            for (_, score), name in await self._move(page, now):
                start += 1
                if spans[-1].count >= _SPAN and score > last:
                    spans[-1].highest = last
                    spans.append(_Span(highest))
                last = score
                spans[-1].count += 1
                if name is not None:
                    spans[-1].names.add(name)
            if len(page) < _BATCH:
                return spans
            jobs = None

    async def _look_again(self, now: float) -> None:
        """Look at some of those that had to stay: one that need not may have come when another went."""
        if not any(span.count for span in self._spans):
            return
        page = await self._delayed.page(self._shelf, self._again, _AGAIN)
        due = [job for job in page if job.score <= now]
        for start in range(0, len(due), _BATCH):
            self._again += len(await self._move(due[start : start + _BATCH], now))
        if len(due) < _AGAIN:
            self._again = 0

    async def _move(self, page: Sequence[Scored], now: float) -> list[tuple[Scored, str | None]]:
        """Move jobs to their queues, and to the quarantine what is none; return what stays, with the names of jobs."""
        jobs, moves, firings = self._decode(page, now)
        known = await self._known_of({job.name for _, job in jobs})
        dropped = await self._drop_superseded(firings)
        stay: list[tuple[Scored, str | None]] = [(scored, job.name) for scored, job in jobs if job.name not in known]
        movable = [(scored, job) for scored, job in jobs if job.name in known and scored.payload not in dropped]
        moves += (self._to_queue(scored.payload, job.name, now) for scored, job in movable)
        if not moves:
            return stay
        fired = {member: (key, at) for member, (_, key, at) in firings.items()}
        done = await self._delayed.requeue(self._shelf, moves, fired)
        if done.refused:
            self._refused = self._refused or done.refusal
            scores = dict(page)
            refused = [moves[number][:2] for number in done.refused]
            self._broken.update(name for _, name in refused if name is not None)
            stay += ((Scored(member, scores[member]), name) for member, name in refused)
            stay.sort(key=lambda each: (each[0].score, each[0].payload))
        return stay

    def _decode(
        self, page: Sequence[Scored], now: float
    ) -> tuple[list[tuple[Scored, Job]], list[Move], dict[bytes, tuple[Job, str, int]]]:
        """Return the jobs, the moves of what is none, and by member the instances of periodic jobs."""
        jobs: list[tuple[Scored, Job]] = []
        moves: list[Move] = []
        firings: dict[bytes, tuple[Job, str, int]] = {}
        for scored in page:
            member = scored.payload
            try:
                job = Job.decode(member)
                # What comes from the retry shelf has fired long ago.
                firing = firing_of(job.id) if self._shelf is JobSet.SCHEDULED else None
            except Exception as error:  # one that cannot be read must not keep the others here
                moves.append(self._set_aside(member, error, now))
                continue
            jobs.append((scored, job))
            if firing is not None and firing[1] <= now:
                firings[member] = (job, *firing)
        return jobs, moves, firings

    def _to_queue(self, member: bytes, name: str, now: float) -> Move:
        try:
            return member, name, with_time(member, int(now))
        except Exception as error:
            return self._set_aside(member, error, now)

    def _set_aside(self, member: bytes, error: Exception, now: float) -> Move:
        """Return what moves a member to the quarantine; log it once."""
        reason = decode_failure(error)
        digest = hashlib.sha1(member, usedforsecurity=False).digest()
        if digest not in self._told and digest not in self._tell:
            logger.error("%s: setting aside a payload of %d bytes: %s", self._shelf.value, len(member), reason)
        self._tell.add(digest)
        return member, None, write_entry(self._shelf.value, member, reason, int(now))

    async def _drop_superseded(self, firings: dict[bytes, tuple[Job, str, int]]) -> set[bytes]:
        """Take out instances of periodic jobs whose schedule was changed; return them."""
        foreign = {member: each for member, each in firings.items() if each[1] not in self._periodic}
        if not foreign:
            return set()
        if (now := time.monotonic()) >= self._heartbeats_until:
            self._heartbeats, self._heartbeats_until = await self._registry.heartbeats(), now + _HEARTBEATS_FOR
        old = [(member, at) for member, (job, key, at) in foreign.items() if superseded(job, key, at, self._heartbeats)]
        dropped = await self._instances.drop(old) if old else set()
        for member in dropped:
            job, key, at = foreign[member]
            logger.info(
                "periodic job %s: its instance of %d is dropped: the schedule %r was changed", job.name, at, key
            )
        return dropped

    async def _known_of(self, names: set[str]) -> set[str]:
        now = time.monotonic()
        news = sorted(name for name in names if self._known.get(name, -math.inf) < now)
        for name in await self._registry.registered_names(news):
            self._known[name] = now + _KNOWN_FOR
        return {name for name in names if self._known.get(name, -math.inf) >= now}


def _joined(spans: Sequence[_Span]) -> list[_Span]:
    """Put small spans together, and any neighbours where there are too many; none are needed where nothing stays."""
    if not any(span.count for span in spans):
        return []
    most = max(_SPAN, 2 * sum(span.count for span in spans) // _MOST_SPANS)
    joined: list[_Span] = []
    for span in spans:
        if joined and joined[-1].count + span.count <= most:
            last = joined[-1]
            last.highest, last.count, last.names = span.highest, last.count + span.count, last.names | span.names
        else:
            joined.append(span)
    return joined
