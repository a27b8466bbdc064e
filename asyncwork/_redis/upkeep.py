"""What the background roles say to Redis."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from types import MappingProxyType
from typing import NamedTuple, TypeVar

from .._jobs.location import JobSet
from ..models import Heartbeat, Observation
from . import heartbeat_fields
from .client import RedisClient, run_script
from .commands import exemption_field, fingerprint
from .errors import ErrorReply, is_wrong_type
from .keys import Keys, literal
from .protocol import decode

# Seconds that an observation lives should nobody delete it.
_OBSERVED_FOR = 86_400
# Seconds that crashes are remembered after the newest of them.
_CRASHES_KEPT = 86_400
# Jobs moved by one call of a script; keeps every call far below 10 ms.
_BATCH = 500
# Observations that are written or deleted in one go.
_CHUNK = 100
# Names that are looked up in one go.
_ASKED = 1000

T = TypeVar("T")

_NONE: Mapping[bytes, tuple[str, int]] = MappingProxyType({})
_NO_CAPS: Mapping[str, int] = MappingProxyType({})


class Scored(NamedTuple):
    """A job on a shelf, and its score, epoch seconds."""

    payload: bytes
    score: float


class Due(NamedTuple):
    """What is due on a shelf.

    :ivar now: Redis's clock, epoch seconds.
    :ivar next: the score of the first job that is not due yet, epoch seconds, or ``None``.
    :ivar known: how many job names are known.
    :ivar changed: which of the spans have another number of jobs now, from 0.
    :ivar jobs: due jobs beyond the spans, the longest due first.
    """

    now: float
    next: float | None
    known: int
    changed: list[int]
    jobs: list[Scored]


class Requeued(NamedTuple):
    """What became of jobs that were to be moved off a shelf.

    :ivar moved: how many were still there, and are moved.
    :ivar refusal: why some had to stay, such as that their queue is no list; otherwise empty.
    :ivar refused: which of them had to, from 0.
    """

    moved: int
    refusal: str
    refused: Sequence[int] = ()


class Planned(NamedTuple):
    """What became of instances of a periodic job that were to be planned.

    :ivar added: how many were new.
    :ivar ahead: by how many seconds the plan was too far ahead, for Redis's clock had been wrong; otherwise 0.
    """

    added: int
    ahead: int


class Pulse(NamedTuple):
    """What a pool last wrote about itself.

    :ivar beat: its ``heartbeat_at``; empty when it wrote nothing.
    :ivar beats: how often it has beaten; empty for gocraft/work.
    """

    beat: bytes
    job_names: list[str]
    worker_ids: list[str]
    beats: bytes


class Upkeep:
    """A namespace, from the side of those who keep it in order."""

    def __init__(self, redis: RedisClient, keys: Keys) -> None:
        self._redis = redis
        self._keys = keys

    async def now(self) -> float:
        """Return Redis's clock, epoch seconds.

        :raises RedisError, OSError: when Redis refuses or cannot be reached (so do all methods here).
        """
        seconds, micros = await self._redis.client().time()
        return int(seconds) + int(micros) / 1e6

    # A pool's own traces

    async def announce(self, max_concurrency: Mapping[str, int]) -> None:
        """Tell the caps of the jobs that a pool serves: the last pool to start decides on them."""
        if not max_concurrency:
            return
        async with self._redis.client().pipeline(transaction=False) as pipe:
            for name, cap in max_concurrency.items():
                pipe.set(self._keys.max_concurrency(name), cap)
            await pipe.execute()

    async def beat(
        self, heartbeat: Heartbeat, max_concurrency: Mapping[str, int] = _NO_CAPS, *, again: bool = False
    ) -> bool:
        """Write a pool's heartbeat, and the names that it serves; tell whether the pool was known before.

        One that was considered dead was not, and the crashes that were counted for that are taken back.

        :param max_concurrency: caps by name. They are restored where Redis has none and the pool was not known, for
            then Redis may have lost its data.
        :param again: whether it has beaten before, so that one that is not known was considered dead.
        """
        caps = {name: cap for name, cap in max_concurrency.items() if cap}
        keys = [
            self._keys.worker_pools,
            self._keys.heartbeat(heartbeat.pool_id),
            self._keys.known_jobs,
            self._keys.crashes,
            self._keys.crashes_of(heartbeat.pool_id),
            *map(self._keys.max_concurrency, caps),
        ]
        fields = itertools.chain.from_iterable(heartbeat_fields.write(heartbeat).items())
        blamed, names = self._keys.blamed_by(heartbeat.pool_id), heartbeat.job_names
        args = [heartbeat.pool_id, int(again), blamed, len(names), *names, *caps.values(), *fields]
        return bool(await run_script(self._redis.client(), "beat", keys, args))

    async def forget_pool(self, pool_id: str, worker_ids: Iterable[str] = ()) -> None:
        """Delete a pool's heartbeat and the observations of its workers."""
        observations = [self._keys.observation(each) for each in worker_ids]
        # No transaction: Redis refuses to begin one when its memory is full. A pool without a heartbeat is one to reap.
        async with self._redis.client().pipeline(transaction=False) as pipe:
            for some in _chunks(observations):
                pipe.delete(*some)
            pipe.delete(self._keys.heartbeat(pool_id))
            pipe.srem(self._keys.worker_pools, pool_id)
            # Once more: an observation may have been under way until the heartbeat was gone.
            for some in _chunks(observations):
                pipe.delete(*some)
            for answer in await pipe.execute(raise_on_error=False):
                if isinstance(answer, Exception) and not is_wrong_type(answer):
                    raise answer
        # It may hold something else than crashes.
        with suppress(ErrorReply):
            told = (self._keys.accused_by(pool_id), self._keys.blamed_by(pool_id))
            await self._redis.client().hdel(self._keys.crashes, *told)

    async def observe(self, pool_id: str, busy: Sequence[Observation], idle: Sequence[str]) -> bool:
        """Write what workers are doing, each as a whole, and delete what is told of those that are idle.

        :returns: whether it was written: not of a pool that has no heartbeat.
        """
        for gone in _chunks(idle):
            await self._redis.client().delete(*(self._keys.observation(worker_id) for worker_id in gone))
        return all([await self._write_observations(pool_id, some) for some in _chunks(busy)])

    async def _write_observations(self, pool_id: str, observations: Sequence[Observation]) -> bool:
        keys = [self._keys.heartbeat(pool_id), *(self._keys.observation(each.worker_id) for each in observations)]
        args: list[bytes | int | str] = [_OBSERVED_FOR]
        for each in observations:
            fields: list[bytes | int | str] = [
                "job_name",
                each.job_name,
                "job_id",
                each.job_id,
                "started_at",
                each.started_at,
                "args",
                each.args,
            ]
            if each.checkin:
                fields += ["checkin", each.checkin, "checkin_at", each.checkin_at]
            args += (len(fields), *fields)
        return bool(await run_script(self._redis.client(), "observe", keys, args))

    # Jobs whose time has come

    async def due(self, shelf: JobSet, limit: int, spans: Sequence[tuple[float, int]] = ()) -> Due:
        """Read up to ``limit`` jobs that are due on a shelf.

        :param spans: jobs that are not to be read again: the highest score, epoch seconds, and the number of jobs of
            each span, which follow each other from the lowest score on.
        """
        keys = [getattr(self._keys, shelf.value), self._keys.known_jobs]
        args: list[int | str] = [limit]
        for highest, count in spans:
            args += (repr(highest), count)
        now, later, known, changed, found = await run_script(self._redis.client(), "due", keys, args)
        jobs = [Scored(member, float(score)) for member, score in zip(found[::2], found[1::2], strict=True)]
        return Due(float(now), float(later) if later else None, known, [number - 1 for number in changed], jobs)

    async def on_shelf(self, shelf: JobSet, start: int, limit: int) -> list[Scored]:
        """Read up to ``limit`` jobs of a shelf from the ``start``-th on, the lowest score first."""
        found = await self._redis.client().zrange(
            getattr(self._keys, shelf.value), start, start + limit - 1, withscores=True
        )
        return [Scored(member, score) for member, score in found]

    async def died(self, since: float, skip: int, limit: int) -> list[tuple[bytes, float]]:
        """Read up to ``limit`` dead jobs with when they died (epoch seconds), from ``since``, passing over ``skip``."""
        members: list[tuple[bytes, float]] = await self._redis.client().zrangebyscore(
            self._keys.dead, since, "+inf", start=skip, num=limit, withscores=True
        )
        return members

    async def known(self, names: Sequence[str]) -> set[str]:
        """Return those of the names that somebody enqueued or served."""
        found: set[str] = set()
        for some in _steps(names, _ASKED):
            try:
                answers = await self._redis.client().smismember(self._keys.known_jobs, list(some))
            except ErrorReply as error:
                if not is_wrong_type(error):
                    raise
                return set()
            found.update(name for name, known in zip(some, answers, strict=True) if known)
        return found

    async def broken_queues(self, names: Sequence[str]) -> set[str]:
        """Return those of the names whose queue is no list, so that nothing can be put there."""
        broken: set[str] = set()
        for some in _chunks(names):
            async with self._redis.client().pipeline(transaction=False) as pipe:
                for name in some:
                    pipe.type(self._keys.queue(name))
                answers = await pipe.execute()
            broken.update(name for name, kind in zip(some, answers, strict=True) if kind not in (b"list", b"none"))
        return broken

    async def requeue(
        self,
        shelf: JobSet,
        moves: Sequence[tuple[bytes, str | None, bytes]],
        firings: Mapping[bytes, tuple[str, int]] = _NONE,
    ) -> Requeued:
        """Move jobs off a shelf: each ``(member, name, payload)`` to the queue of that name, or with ``None`` for a
        name to the quarantine.

        :param firings: by member, for instances of periodic jobs, what :meth:`fired` is to tell once they are moved:
            the periodic job's key, and the instance's epoch second.
        """
        names = sorted({name for _, name, _ in moves if name is not None})
        place = {name: at for at, name in enumerate(names, start=4)}
        fixed = [getattr(self._keys, shelf.value), self._keys.quarantine, self._keys.periodic_fired]
        keys = [*fixed, *map(self._keys.queue, names)]
        args: list[bytes | int | str] = []
        for member, name, payload in moves:
            args += (member, 2 if name is None else place[name], payload, *firings.get(member, ("", 0)))
        moved, refusal, refused = await run_script(self._redis.client(), "requeue", keys, args)
        return Requeued(moved, refusal.decode(errors="replace"), [number - 1 for number in refused])

    # Periodic jobs

    async def plan_periodic(self, job: str, horizon: float, instances: Sequence[tuple[int, bytes]]) -> Planned:
        """Put instances ``(epoch second, payload)`` of a periodic job among the scheduled ones, each once.

        :param job: tells one periodic job from the others.
        :param horizon: how far ahead instances are planned, seconds.
        """
        args: list[bytes | float | int | str] = [job, horizon]
        for at, payload in instances:
            args += (at, payload)
        keys = [self._keys.scheduled, self._keys.periodic]
        return Planned(*await run_script(self._redis.client(), "plan_periodic", keys, args))

    async def drop_planned(self, instances: Sequence[tuple[bytes, int]]) -> set[bytes]:
        """Take instances ``(payload, epoch second)`` of periodic jobs out of the scheduled ones; return those that were
        there as they were planned.
        """
        args = list(itertools.chain.from_iterable(instances))
        numbers = await run_script(self._redis.client(), "drop_planned", [self._keys.scheduled], args)
        return {instances[number - 1][0] for number in numbers}

    async def unplanned(self, jobs: Sequence[str], horizon: float) -> set[str]:
        """Return those of the periodic jobs of which Redis has no plan, or one that is further ahead than it can be."""
        async with self._redis.client().pipeline(transaction=False) as pipe:
            pipe.time()
            pipe.hmget(self._keys.periodic, list(jobs))
            time, newest = await pipe.execute(raise_on_error=False)
        if isinstance(time, Exception):
            raise time
        if isinstance(newest, Exception):
            if not is_wrong_type(newest):
                raise newest
            return set(jobs)
        latest = int(time[0]) + 1 + math.ceil(horizon)
        return {job for job, at in zip(jobs, newest, strict=True) if not 0 < _epoch(at) <= latest}

    async def fired(self) -> dict[str, int]:
        """Return when each periodic job last fired, epoch seconds, by its key; what is no such time is left out, and
        what is to come.
        """
        now, found = int(await self.now()), await self._hash(self._keys.periodic_fired)
        fired = {key.decode(errors="replace"): _epoch(at) for key, at in found.items()}
        return {key: at for key, at in fired.items() if 0 <= at <= now}

    async def periodic_keys(self) -> set[str]:
        """Return the keys of all periodic jobs that were ever planned, or fired, and are not forgotten."""
        found = {**await self._hash(self._keys.periodic), **await self._hash(self._keys.periodic_fired)}
        return set(map(decode, found))

    async def forget_periodic(self, jobs: Sequence[str]) -> None:
        """Forget periodic jobs; instances that are planned stay."""
        for some in _chunks(jobs):
            for key in (self._keys.periodic, self._keys.periodic_fired):
                # It may hold something else than a hash.
                with suppress(ErrorReply):
                    await self._redis.client().hdel(key, *some)

    async def _hash(self, key: str) -> dict[bytes, bytes]:
        """Return a hash; what is none is empty."""
        try:
            found: dict[bytes, bytes] = await self._redis.client().hgetall(key)
        except ErrorReply as error:
            if not is_wrong_type(error):
                raise
            return {}
        return found

    # Other pools

    async def probe(self, pool_id: str) -> None:
        """Make sure that heartbeats can be written, also when memory is full.

        :raises RedisError, OSError: when they cannot: Redis is a replica, its disk is full, too few replicas follow it.
        """
        # It writes, changes nothing, and needs no memory.
        await self._redis.client().persist(self._keys.heartbeat(pool_id))

    async def _members(self, key: str) -> set[bytes]:
        """Return a set; what is none has no members. Those who live put it right: :meth:`beat`."""
        try:
            members: set[bytes] = await self._redis.client().smembers(key)
        except ErrorReply as error:
            if not is_wrong_type(error):
                raise
            return set()
        return members

    async def registered(self) -> set[str]:
        """Return the ids of the registered pools."""
        return {decode(raw) for raw in await self._members(self._keys.worker_pools)}

    async def pulses(self, pool_ids: Iterable[str]) -> dict[str, Pulse]:
        """Return what each of these pools last wrote about itself."""
        ids = sorted(pool_ids)
        async with self._redis.client().pipeline(transaction=False) as pipe:
            for pool_id in ids:
                pipe.hmget(self._keys.heartbeat(pool_id), ["heartbeat_at", "job_names", "worker_ids", "beats"])
            answers = await pipe.execute(raise_on_error=False)
        pulses = {}
        for pool_id, answer in zip(ids, answers, strict=True):
            beat, names, workers, beats = answer if isinstance(answer, list) else [None] * 4
            pulses[pool_id] = Pulse(beat or b"", _split(names), _split(workers), beats or b"")
        return pulses

    async def heartbeats(self) -> list[Heartbeat]:
        """Return what the registered pools wrote about themselves, sorted by pool id; what is malformed is left out."""
        client = self._redis.client()
        ids = sorted(await self.registered())
        async with client.pipeline(transaction=False) as pipe:
            for pool_id in ids:
                pipe.hgetall(self._keys.heartbeat(pool_id))
            found = await pipe.execute(raise_on_error=False)
        return [
            heartbeat_fields.read(pool_id, fields if isinstance(fields, dict) else {})
            for pool_id, fields in zip(ids, found, strict=True)
        ]

    async def lock_holders(self) -> dict[str, set[str]]:
        """Return the names of queues by the id of each pool that holds a share of their locks."""
        client = self._redis.client()
        names = sorted(decode(raw) for raw in await self._members(self._keys.known_jobs))
        async with client.pipeline(transaction=False) as pipe:
            for name in names:
                pipe.hkeys(self._keys.lock_info(name))
            answers = await pipe.execute(raise_on_error=False)
        holders: dict[str, set[str]] = {}
        for name, pool_ids in zip(names, answers, strict=True):
            for pool_id in pool_ids if isinstance(pool_ids, list) else ():
                holders.setdefault(decode(pool_id), set()).add(name)
        return holders

    async def level_locks(self) -> list[str]:
        """Make each lock the sum of the pools' shares of it; return the names of the queues where it was not."""
        wrong = []
        for raw in sorted(await self._members(self._keys.known_jobs)):
            name = decode(raw)
            keys = [self._keys.lock(name), self._keys.lock_info(name)]
            if await run_script(self._redis.client(), "level", keys, []):
                wrong.append(name)
        return wrong

    async def in_progress_lists(self) -> dict[str, set[str]]:
        """Search the whole keyspace, in steps, for in-progress lists; return the names of queues by pool id.

        A list that may be of several namespaces, such as ``app`` and ``app:jobs``, is left out when its pool is
        registered in another one than this.
        """
        start, end = self._keys.jobs, ":inprogress"
        found: dict[str, set[str]] = {}
        unclear: list[tuple[str, str, str]] = []
        async for raw in self._redis.client().scan_iter(match=f"{literal(start)}*{end}", count=1000):
            key = decode(raw)
            name, _, pool_id = key[len(start) : -len(end)].rpartition(":")
            if name:
                found.setdefault(pool_id, set()).add(name)
                unclear += ((pool_id, name, other) for other in self._keys.other_prefixes(key))
        for pool_id, name, other in unclear:
            client, theirs = self._redis.client(), Keys(other)
            try:
                registered = await client.sismember(theirs.worker_pools, pool_id)
            except ErrorReply as error:
                if not is_wrong_type(error):
                    raise
                registered = False
            if registered or await client.exists(theirs.heartbeat(pool_id)):
                found[pool_id].discard(name)
        return {pool_id: names for pool_id, names in found.items() if names}

    async def blame(self, pool_id: str, names: Iterable[str], beat: bytes | None) -> None:
        """Count the crash of a dead pool against what it was running: against the job that it had accused; or else
        against those that ran in the most crashes before, which are the likeliest to have caused it. What nobody
        suspected so far is suspected from now on; where there is such, it may not have been the accused one, which is
        let off once.

        :param beat: the ``heartbeat_at`` by which the pool was judged dead, empty when it had none; ``None`` when that
            does not matter.
        """
        # Whether or not it can be counted, the jobs must be taken back.
        with suppress(ErrorReply):
            await self._blame(pool_id, names, beat)

    async def _blame(self, pool_id: str, names: Iterable[str], beat: bytes | None) -> None:
        client = self._redis.client()
        prints: list[bytes] = []
        for name in names:
            key, start = self._keys.in_progress(name, pool_id), 0
            while payloads := await client.lrange(key, start, start + _BATCH - 1):
                prints += map(fingerprint, payloads)
                start += len(payloads)
        counts: list[int] = []
        for start in range(0, len(prints), _BATCH):
            counts += [
                _count(count) for count in await client.hmget(self._keys.crashes, prints[start : start + _BATCH])
            ]
        most, accused = max(counts, default=0), await client.hget(self._keys.crashes, self._keys.accused_by(pool_id))
        new = {each for each, count in zip(prints, counts, strict=True) if not count}
        likeliest = {each for each, count in zip(prints, counts, strict=True) if count == most}
        if accused in prints:
            doubt = exemption_field(accused)
            in_doubt = new and not await client.hexists(self._keys.crashes, doubt)
            likeliest = {doubt if in_doubt else accused}
        blamed = sorted(new | likeliest)
        keys = [self._keys.crashes, self._keys.heartbeat(pool_id), self._keys.crashes_of(pool_id)]
        for start in range(0, len(blamed), _BATCH):
            given = b"*" if beat is None else beat
            args = [self._keys.blamed_by(pool_id), start + 1, given, _CRASHES_KEPT, *blamed[start : start + _BATCH]]
            await run_script(client, "blame", keys, args)

    async def reap(self, pool_id: str, names: Iterable[str], beat: bytes | None) -> int | None:
        """Take a pool's jobs back to the front of their queues, and its shares off the locks.

        :param beat: the ``heartbeat_at`` by which the pool was judged dead, empty when it had none; ``None`` when that
            does not matter.
        :returns: how many jobs, or ``None`` when the pool has beaten meanwhile.
        :raises ErrorReply: when Redis refuses that for a queue, such as one that is no list; the others are done.
        """
        moved = 0
        refusal: ErrorReply | None = None
        for name in names:
            try:
                jobs = await self._reap(pool_id, name, beat)
            except ErrorReply as error:
                refusal = error
                continue
            if jobs is None:
                return None
            moved += jobs
        if refusal is not None:
            raise refusal
        return moved

    async def _reap(self, pool_id: str, name: str, beat: bytes | None) -> int | None:
        keys = [
            self._keys.in_progress(name, pool_id),
            self._keys.lock(name),
            self._keys.lock_info(name),
            self._keys.queue(name),
            self._keys.heartbeat(pool_id),
        ]
        moved, left = 0, 1
        while left:
            args = [pool_id, _BATCH, b"*" if beat is None else beat]
            done, left = await run_script(self._redis.client(), "reap", keys, args)
            if done < 0:
                return None
            moved += done
        return moved

    async def bury(self, pool_id: str, names: Iterable[str], beat: bytes, worker_ids: Iterable[str] = ()) -> int | None:
        """Take a dead pool's jobs of these queues back; what tells of it is deleted last, when nothing is left that is
        its.

        :param beat: the ``heartbeat_at`` by which the pool was judged dead, empty when it had none.
        :returns: how many jobs, or ``None`` when the pool has beaten meanwhile.
        """
        names = sorted(names)
        await self.blame(pool_id, names, beat)
        moved = await self.reap(pool_id, names, beat)
        if moved is not None:
            await self.forget_pool(pool_id, worker_ids)
        return moved


def _chunks(items: Sequence[T]) -> Iterator[Sequence[T]]:
    """Cut what is to be done into steps that never keep Redis busy for long."""
    return _steps(items, _CHUNK)


def _steps(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    return (items[start : start + size] for start in range(0, len(items), size))


def _epoch(raw: bytes | None) -> int:
    """Read an epoch second; what is none is -1."""
    return int(raw) if raw and raw.isdigit() and len(raw) < 19 else -1


def _count(raw: bytes | None) -> int:
    """Read a count; what is none is 0."""
    return int(raw) if raw and raw.isdigit() and len(raw) < 10 else 0


def _split(raw: bytes | None) -> list[str]:
    return decode(raw).split(",") if raw else []
