"""The door for programs that look at jobs and steer them: what the web UI is made of."""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from types import TracebackType
from typing import Any

from ._admin.job_records import read_running
from ._admin.job_ref import Handle
from ._admin.query import EVERYTHING, Criteria
from ._admin.redaction import Redact, Redaction
from ._admin.search import PATIENCE, Act, Searcher
from ._doctor.doctor import Doctor
from ._doctor.rules import Facts, Watch, threats
from ._environment import namespace_of
from ._jobs.location import BUSY, QUARANTINE, JobSet, check_job_set, check_location, queue_location
from ._json.codec import replace_surrogates
from ._redis.admin import UNDO_FOR, Admin
from ._redis.client import RedisClient
from ._redis.delayed import DelayedJobs
from ._redis.digest_key import DigestKey
from ._redis.errors import REDIS_ERRORS
from ._redis.inspector import Inspector, Member
from ._redis.keys import Keys
from ._redis.metrics import MetricsStore
from ._redis.namespace import Namespace
from ._redis.periodic import PeriodicInstances
from ._redis.registry import Registry
from .errors import PayloadError, RedisUnusable, UsageError, check_delay
from .job import Job, with_time, without_failures
from .models import (
    Deletion,
    Diagnosis,
    ErrorKind,
    ErrorKinds,
    Found,
    Heartbeat,
    JobCounts,
    JobRecord,
    Observation,
    Outcome,
    Overview,
    Page,
    PeriodicState,
    Problem,
    QueueInfo,
    ServerInfo,
    Sizes,
)
from .options import check_whole

__all__ = [
    "Client",
    "Deletion",
    "Diagnosis",
    "ErrorKind",
    "ErrorKinds",
    "Found",
    "Outcome",
    "Overview",
    "Page",
    "ServerInfo",
]

# Jobs moved by one command; keeps it far below 10 ms.
_BATCH = 100
# A place with no more jobs than this can be emptied of those that match in one act, which can be undone.
_MOST_UNDONE = 1000
# Deletions that are returned at once.
_MOST_DELETIONS = 100
# Seconds. A pool, gocraft/work's too, that has not shown a sign of life for 10 s is taken for dead.
WATCHED_FOR = 11.0

Move = tuple[bytes, str | None, bytes]


class Client:
    """Looks at the jobs, queues and pools of a namespace, and steers them.

    May be used by many tasks at once, and by one event loop after another. Connections are opened when first needed.
    However many jobs there are, no call blocks Redis for more than a few milliseconds: it reads and acts in steps.
    Bytes that are no job are returned as records with a ``fault``; what vanishes meanwhile is passed over.

    Every method that speaks to Redis raises :class:`RedisUnusable` when Redis refuses or cannot be reached.

    :param url: ``redis://``, ``rediss://``, ``unix://``, ``redis+sentinel://`` or ``redis+cluster://``; ``None`` for
        the environment's ``ASYNCWORK_REDIS``, or ``redis://localhost:6379/0``.
    :param namespace: the prefix of every key; ``None`` for the environment's ``ASYNCWORK_NAMESPACE``, or ``work``.
    :param redact: given each record before anybody sees it, returns what may be seen, such as
        ``dataclasses.replace(record, args=b"null")``. What it hides is not found by a search either. The values that
        it takes out of the arguments are also hidden where the job's error, traceback or check-in quotes them. It is
        asked about periodic jobs too, with the place ``periodic``. When it raises or returns something else, nothing
        is shown but where the job is, its name, its id and its times.
    :raises UsageError: when the URL has another form, or a cluster would scatter the keys of the namespace.
    """

    def __init__(self, url: str | None = None, *, namespace: str | None = None, redact: Redact | None = None) -> None:
        namespace = namespace_of(namespace)
        self.namespace = namespace
        self._redis = RedisClient(url, namespace=namespace)
        self._keys = keys = Keys(namespace)
        in_redis = Namespace(self._redis, keys)
        self._inspection = Inspector(in_redis)
        self._steering = Admin(in_redis)
        self._registry = Registry(in_redis)
        self._delayed = DelayedJobs(in_redis)
        self._instances = PeriodicInstances(in_redis)
        self._counters = MetricsStore(in_redis)
        self._redaction = Redaction(redact)
        self._digest_key = DigestKey(in_redis)
        self._searcher = Searcher(self._inspection, self._redaction, self._digest_key)
        self._doctor = Doctor(in_redis, self._inspection, self._searcher)
        self._watch = Watch()

    @property
    def masked_url(self) -> str:
        """Where Redis is, without its password."""
        return self._redis.masked_url

    async def ping(self) -> None:
        """Return when Redis has answered.

        :raises RedisUnusable: when it refuses or cannot be reached.
        """
        with self._reaching():
            await self._redis.now()

    # Pools, workers and queues

    async def worker_pool_heartbeats(self) -> list[Heartbeat]:
        """Return what each worker pool last wrote about itself, also those that are gone but were not reaped yet."""
        with self._reaching():
            return await self._shown(await self._registry.heartbeats())

    async def _shown(self, heartbeats: list[Heartbeat]) -> list[Heartbeat]:
        """Return heartbeats without what is to be hidden of the periodic jobs in them."""
        if not self._redaction:
            return heartbeats
        key = await self._digest_key.read()
        return [
            replace(each, periodic=tuple(self._redaction.periodic(state, key) for state in each.periodic))
            for each in heartbeats
        ]

    async def worker_observations(self) -> list[Observation]:
        """Return what the workers are doing that are busy, as of a second ago at most."""
        found = []
        for observed, record in await self._running():
            args = record.args if observed.args else b""
            found.append(replace(observed, job_id=record.id, args=args, checkin=record.checkin))
        return found

    async def busy_jobs(self) -> list[JobRecord]:
        """Return the jobs that run now, in the order of :meth:`worker_observations`."""
        return [record for _, record in await self._running()]

    async def _running(self) -> list[tuple[Observation, JobRecord]]:
        with self._reaching():
            observed = await self._inspection.observations(await self._registry.heartbeats())
            sieve = await self._searcher.sieve(BUSY)
        return [(each, sieve.shown(read_running(each))) for each in observed]

    async def queues(self) -> list[QueueInfo]:
        """Return the queue of every job name that was ever enqueued or served, sorted by name."""
        with self._reaching():
            return await self._queues(await self._registry.heartbeats(), await self._redis.now())

    async def _queues(self, heartbeats: Sequence[Heartbeat], now: float) -> list[QueueInfo]:
        self._watch.see(heartbeats, now)
        alive = [each for each in heartbeats if not self._watch.is_stale(each, now)]
        return await self._inspection.queues(now, Counter(name for each in alive for name in each.job_names))

    async def sizes(self) -> Sizes:
        """Return how many jobs lie where."""
        queues = await self.queues()
        with self._reaching():
            return await self._inspection.sizes(queues)

    async def periodic_jobs(self) -> list[PeriodicState]:
        """Return the jobs that a schedule enqueues, by name: those of running pools, and others that once fired."""
        with self._reaching():
            fired = await self._instances.last_fired()
            heartbeats = await self._registry.heartbeats()
            digest_key = await self._digest_key.read()
        planned = {each.key: each for heartbeat in heartbeats for each in heartbeat.periodic}
        found = [replace(each, last=fired.get(key)) for key, each in planned.items()]
        for key, last in fired.items():
            if key not in planned:
                name, _, spec = key.partition(":")
                found.append(PeriodicState(name, spec, key, last=last))
        found = [self._redaction.periodic(each, digest_key) for each in found]
        return sorted(found, key=lambda each: (each.name, each.spec))

    async def minutes(self, count: int = 60, *, queue: str = "") -> list[JobCounts]:
        """Return what was counted in each of the last minutes, the oldest first, the running one last.

        :param count: up to 1440.
        :param queue: of which queue; empty for all together.
        """
        check_whole(count, "count", 1, 24 * 60)
        _check_counted(queue)
        with self._reaching():
            return await self._counters.minutes(queue, count)

    async def minutes_of(self, queues: Sequence[str], count: int = 60) -> dict[str, list[JobCounts]]:
        """Return what :meth:`minutes` does for each of several queues, in as few steps as for one."""
        check_whole(count, "count", 1, 24 * 60)
        with self._reaching():
            return await self._counters.minutes_of(queues, count)

    async def days(self, count: int = 30, *, queue: str = "") -> list[JobCounts]:
        """Return what was counted on each of the last days (UTC), as :meth:`minutes` does; up to 400."""
        check_whole(count, "count", 1, 400)
        _check_counted(queue)
        with self._reaching():
            return await self._counters.days(queue, count)

    async def recent(self, minutes: int = 5) -> dict[str, JobCounts]:
        """Return what was counted of each queue in the last whole minutes and the running one; ``""`` is their sum."""
        check_whole(minutes, "minutes", 1, 24 * 60)
        with self._reaching():
            return await self._counters.recent(["", *await self._inspection.names()], minutes)

    async def overview(self) -> Overview:
        """Return how the namespace is: pools, queues, sizes, threats and the server, in a few round trips."""
        with self._reaching():
            now, heartbeats = await self._redis.now(), await self._registry.heartbeats()
            queues = await self._queues(heartbeats, now)
            sizes = await self._inspection.sizes(queues)
            locks = await self._inspection.locks([each.name for each in queues])
            info = await self._inspection.server()
            shown = await self._shown(heartbeats)
        found = threats(Facts(now, heartbeats, queues, sizes, locks, info), self._watch)
        return Overview(shown, queues, sizes, found, _server_info(info))

    async def threats(self) -> list[Problem]:
        """Return what threatens the namespace, the worst first."""
        return (await self.overview()).threats

    async def diagnose(self, seconds: float = WATCHED_FOR) -> Diagnosis:
        """Look into the namespace more deeply than :meth:`threats` does: through all keys of Redis, and all jobs of
        the namespace unless they are more than 100,000; always in steps.

        :param seconds: for how long what looks wrong is looked at again, at most: only what looked wrong each time is
            told. Less than 11 s may take a pool for dead that lives.
        :raises RedisUnusable: also when Redis is too old.
        """
        check_delay(seconds, "seconds")
        with self._reaching():
            return await self._doctor.examine(seconds)

    async def repair(self, diagnosis: Diagnosis) -> AsyncIterator[str]:
        """Mend what can be mended safely while pools run, and is still as it was; yield a line for each thing done.

        Jobs of pools that are gone go back to the front of their queues, and those pools are forgotten; locks are
        counted anew; queues where jobs wait are made known; unique keys that are held for no job are freed. No job is
        deleted, nothing of a pool that lives is touched, and no setting of Redis is changed.
        """
        with self._reaching():
            async for line in self._doctor.repair(diagnosis.cures):
                yield line

    async def server(self) -> ServerInfo:
        """Return what Redis tells about itself; zeros and empty texts when it does not tell it to its user."""
        with self._reaching():
            return _server_info(await self._inspection.server())

    # Jobs

    async def scheduled_jobs(self, page: int = 1, *, per_page: int = 20, newest_first: bool = False) -> Page:
        """Return a page of the jobs that are to run at a time, the next first unless told otherwise."""
        return await self.jobs("scheduled", page, per_page=per_page, newest_first=newest_first)

    async def retry_jobs(self, page: int = 1, *, per_page: int = 20, newest_first: bool = False) -> Page:
        """Return a page of the jobs that failed and are tried again, the next first unless told otherwise."""
        return await self.jobs("retry", page, per_page=per_page, newest_first=newest_first)

    async def dead_jobs(self, page: int = 1, *, per_page: int = 20, newest_first: bool = False) -> Page:
        """Return a page of the jobs that failed for good, the first to die first unless told otherwise."""
        return await self.jobs("dead", page, per_page=per_page, newest_first=newest_first)

    async def queued_jobs(self, name: str, page: int = 1, *, per_page: int = 20) -> Page:
        """Return a page of the jobs that wait in a queue, the next to run first."""
        return await self.jobs(queue_location(name), page, per_page=per_page)

    async def quarantined(self, page: int = 1, *, per_page: int = 20) -> Page:
        """Return a page of the payloads that are no jobs and were set aside, the newest first."""
        return await self.jobs(QUARANTINE, page, per_page=per_page, newest_first=True)

    async def jobs(self, place: str, page: int = 1, *, per_page: int = 20, newest_first: bool = False) -> Page:
        """Return a page of the jobs in a place: ``retry``, ``scheduled``, ``dead``, ``quarantine`` or ``queue:NAME``.

        :param page: from 1.
        :param per_page: up to 200.
        """
        check_location(place)
        check_whole(page, "page", 1, 2**40)
        check_whole(per_page, "per_page", 1, 200)
        with self._reaching():
            start = (page - 1) * per_page
            members, total = await self._inspection.members(place, start, per_page, newest_first=newest_first)
            sieve = await self._searcher.sieve(place)
        return Page([sieve.record(*each) for each in members], total, page, per_page)

    async def job(self, place: str, handle: str) -> JobRecord | None:
        """Return a job again by its place and handle; ``None`` when it is no longer there."""
        check_location(place)
        with self._reaching():
            found = await self._searcher.seek(place, [Handle.parse(handle)])
            sieve = await self._searcher.sieve(place)
        return sieve.record(*found[0]) if found else None

    async def search(
        self,
        place: str,
        criteria: Criteria,
        *,
        cursor: str = "",
        limit: int = 20,
        seconds: float = PATIENCE,
        newest_first: bool = True,
    ) -> Found:
        """Look for jobs in a place until enough are found, time is up, or everything was looked at.

        :param cursor: where an earlier call says to go on.
        :param limit: how many are enough.
        :param seconds: how long to look, one step at least.
        :param newest_first: in a queue, always.
        """
        check_location(place)
        with self._reaching():
            return await self._searcher.search(place, criteria, cursor, limit, seconds, newest_first=newest_first)

    async def find(self, text: str, *, cursor: str = "", limit: int = 20, seconds: float = PATIENCE) -> Found:
        """Look for jobs by id, or by text in name, arguments or error, in all places one after the other.

        ``total`` is how many jobs there are in the places that this call came to. Parameters as for :meth:`search`.
        """
        running = [] if cursor else await self.busy_jobs()
        with self._reaching():
            return await self._searcher.find(text, running, cursor, limit, seconds)

    async def error_kinds(
        self, place: str, criteria: Criteria = EVERYTHING, *, cursor: str = "", seconds: float = PATIENCE
    ) -> ErrorKinds:
        """Group the jobs of a place by the kind of their error, the newest first, as far as time allows."""
        check_location(place)
        with self._reaching():
            return await self._searcher.error_kinds(place, criteria, cursor, seconds)

    async def count(self, place: str, criteria: Criteria, *, cursor: str = "", seconds: float | None = None) -> Outcome:
        """Count the jobs in a place that match: :attr:`Outcome.done` is how many of those that were looked at.

        :param seconds: how long to count; ``None`` to the end.
        """
        return await self._sweep(place, criteria, cursor, seconds, None)

    # Acts on queues

    async def pause(self, name: str) -> None:
        """Have nothing taken from a queue, by any pool; what runs goes on."""
        check_location(queue_location(name))
        with self._reaching():
            await self._steering.pause(name)

    async def unpause(self, name: str) -> None:
        """Have jobs taken from a queue again."""
        check_location(queue_location(name))
        with self._reaching():
            await self._steering.unpause(name)

    async def set_max_concurrency(self, name: str, cap: int) -> None:
        """Set how many jobs of a name may run at once over all pools; 0 for any number.

        It holds until the next pool with that name starts, which sets its own.
        """
        check_location(queue_location(name))
        check_whole(cap, "max_concurrency", 0, 2**31)
        with self._reaching():
            await self._steering.set_max_concurrency(name, cap)

    async def empty_queue(self, name: str, *, who: str = "") -> Outcome:
        """Delete all jobs that wait in a queue, and free what they keep unique.

        :param who: deletes them, for :meth:`deletions`.
        """
        check_location(queue_location(name))
        with self._reaching():
            undo = await self._steering.prepare_undo(queue_location(name), who)
            count = await self._steering.empty_queue(name, undo)
        return Outcome(count, count, undo=undo if count else "")

    async def forget_job(self, name: str) -> None:
        """Forget a job name: it is no longer among the queues, nor paused or capped.

        Jobs of that name that are to be retried or run later stay where they are until somebody serves it again.

        :raises UsageError: when jobs of that name wait or run, or a running pool has a handler for it.
        """
        check_location(queue_location(name))
        serving = [each.host for each in await self.worker_pool_heartbeats() if name in each.job_names]
        if serving:
            raise UsageError(f"{name!r} cannot be forgotten: a pool on {serving[0]} has a handler for it")
        with self._reaching():
            if not await self._steering.forget_job(name):
                raise UsageError(f"{name!r} cannot be forgotten: jobs of that name wait or run")

    # Acts on jobs

    async def requeue(self, place: str, handles: Iterable[str]) -> Outcome:
        """Put jobs on their queues now: dead ones as if they had never failed, others before their time.

        :param place: ``retry``, ``scheduled`` or ``dead``.
        :raises UsageError: also when one of them is no job.
        """
        check_job_set(place)
        with self._reaching():
            members = await self._seek(place, handles)
            moves = await self._moves(place, members)
            if len(moves) < len(members):
                raise UsageError("what is no job cannot be put on a queue; it can be deleted")
            return Outcome(await self._move(place, moves), len(members))

    async def delete(self, place: str, handles: Iterable[str], *, who: str = "") -> Outcome:
        """Delete jobs, and free what they keep unique. It can be undone for ten minutes, by :meth:`restore`.

        :param who: deletes them, for :meth:`deletions`.
        """
        check_location(place)
        with self._reaching():
            members = await self._seek(place, handles)
            undo = await self._steering.prepare_undo(place, who)
            gone = await self._steering.delete(place, members, undo)
        return Outcome(gone, len(members), undo=undo if gone else "")

    async def requeue_matching(
        self, place: str, criteria: Criteria = EVERYTHING, *, cursor: str = "", seconds: float | None = None
    ) -> Outcome:
        """Put on their queues all jobs of a place that match, as :meth:`requeue` does. What is no job stays.

        What comes to the place after the first call is left alone: a job that fails again at once is not tried again.

        :param seconds: how long to act; ``None`` to the end.
        """
        check_job_set(place)
        return await self._sweep(place, criteria, cursor, seconds, self._requeue_members, requeues=True)

    async def delete_matching(
        self,
        place: str,
        criteria: Criteria = EVERYTHING,
        *,
        cursor: str = "",
        seconds: float | None = None,
        who: str = "",
    ) -> Outcome:
        """Delete all jobs of a place that match, and free what they keep unique; otherwise as
        :meth:`requeue_matching`.

        It can be undone if there were no more than 1,000 jobs in the place.

        :param who: deletes them, for :meth:`deletions`.
        """
        check_location(place)
        undo = ""
        if not cursor:
            with self._reaching():
                _, total = await self._inspection.members(place, 0, 1, newest_first=True)
                undo = await self._steering.prepare_undo(place, who) if 0 < total <= _MOST_UNDONE else ""

        async def act(place: str, members: Sequence[Member]) -> int:
            return await self._steering.delete(place, members, undo)

        outcome = await self._sweep(place, criteria, cursor, None if undo else seconds, act)
        return replace(outcome, undo=undo if outcome.done else "")

    async def restore(self, undo: str) -> int:
        """Undo a deletion; return how many jobs came back, 0 when it is too late."""
        if not re.fullmatch(r"[0-9a-f]{24}", undo):
            raise UsageError("not what a deletion returned to undo it")
        with self._reaching():
            return await self._steering.restore(undo)

    async def deletions(self) -> list[Deletion]:
        """Return the last deletions that can be undone, the newest first, at most 100."""
        with self._reaching():
            kept = await self._steering.deletions(_MOST_DELETIONS)
            sieves = {place: await self._searcher.sieve(place) for place in {each.place for each in kept}}
        now = time.time()
        return [
            Deletion(
                each.token,
                each.place,
                each.who,
                now + each.left - UNDO_FOR,
                now + each.left,
                each.jobs,
                sieves[each.place].record(each.first, each.at),
            )
            for each in kept
        ]

    # gocraft/work's verbs, by time and id

    async def retry_dead_job(self, died_at: int, job_id: str) -> bool:
        """Put a dead job on its queue as if it had never failed; return whether there was one."""
        return bool(await self._by_id("dead", died_at, job_id, self._requeue_members))

    async def delete_dead_job(self, died_at: int, job_id: str) -> bool:
        """Delete a dead job; return whether there was one."""
        return bool(await self._by_id("dead", died_at, job_id, self._steering.delete))

    async def run_retry_job(self, retry_at: int, job_id: str) -> bool:
        """Put a job on its queue that is to be tried again later; return whether there was one."""
        return bool(await self._by_id("retry", retry_at, job_id, self._requeue_members))

    async def delete_retry_job(self, retry_at: int, job_id: str) -> bool:
        """Delete a job that is to be tried again; return whether there was one."""
        return bool(await self._by_id("retry", retry_at, job_id, self._steering.delete))

    async def run_scheduled_job(self, run_at: int, job_id: str) -> bool:
        """Put a job on its queue before its time; return whether there was one."""
        return bool(await self._by_id("scheduled", run_at, job_id, self._requeue_members))

    async def delete_scheduled_job(self, run_at: int, job_id: str) -> bool:
        """Delete a job that is to run at a time, and free what it keeps unique; return whether there was one."""
        return bool(await self._by_id("scheduled", run_at, job_id, self._steering.delete))

    async def retry_all_dead_jobs(self) -> int:
        """Put all dead jobs on their queues as if they had never failed; return how many."""
        return (await self.requeue_matching("dead")).done

    async def delete_all_dead_jobs(self) -> int:
        """Delete all dead jobs at once, for good, and free what they keep unique; return how many."""
        with self._reaching():
            return await self._steering.delete_all("dead")

    async def close(self) -> None:
        """Close the connections. The client may be used again."""
        await self._redis.close()

    async def __aenter__(self) -> Client:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    # What the acts share

    async def _seek(self, place: str, handles: Iterable[str]) -> list[Member]:
        return await self._searcher.seek(place, [Handle.parse(handle) for handle in handles])

    async def _requeue_members(self, place: str, members: Sequence[Member]) -> int:
        return await self._move(place, await self._moves(place, members))

    async def _moves(self, place: str, members: Sequence[Member]) -> list[Move]:
        now = int(await self._redis.now())
        moves: list[Move] = []
        for member in members:
            try:
                name = Job.decode(member.raw).name
                if not name:
                    continue
                renewed = without_failures(member.raw, now) if place == "dead" else with_time(member.raw, now)
            except PayloadError:
                continue
            moves.append((member.raw, name, renewed))
        return moves

    async def _move(self, place: str, moves: Sequence[Move]) -> int:
        # So that the queue of a name that nobody serves is seen.
        await self._steering.register_names(sorted({name for _, name, _ in moves if name}))
        done = 0
        for start in range(0, len(moves), _BATCH):
            done += (await self._delayed.requeue(JobSet(place), moves[start : start + _BATCH])).moved
        return done

    async def _by_id(self, place: str, at: int, job_id: str, act: Act) -> int:
        check_whole(at, "the time", 0, 2**60)
        with self._reaching():
            members = await self._searcher.of_time(place, at, replace_surrogates(job_id))
            return await act(place, members) if members else 0

    async def _sweep(
        self,
        place: str,
        criteria: Criteria,
        cursor: str,
        seconds: float | None,
        act: Act | None,
        *,
        requeues: bool = False,
    ) -> Outcome:
        check_location(place)
        with self._reaching():
            now = await self._redis.now()
            return await self._searcher.sweep(place, criteria, cursor, seconds, now, act, requeues=requeues)

    @contextmanager
    def _reaching(self) -> Iterator[None]:
        try:
            yield
        except REDIS_ERRORS as error:
            raise RedisUnusable(f"Redis at {self.masked_url}: {str(error) or type(error).__name__}") from error


def _check_counted(queue: str) -> None:
    """Refuse what can be no queue's name; an empty one stands for all queues together."""
    if queue:
        check_location(queue_location(queue))


def _server_info(info: Mapping[str, Any]) -> ServerInfo:
    return ServerInfo(
        version=str(info.get("redis_version", "")),
        memory=int(info.get("used_memory", 0)),
        memory_limit=int(info.get("maxmemory", 0)),
        policy=str(info.get("maxmemory_policy", "")),
        clients=int(info.get("connected_clients", 0)),
        uptime=int(info.get("uptime_in_seconds", 0)),
    )
