"""What the background roles say to Redis."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from types import MappingProxyType
from typing import NamedTuple, TypeVar

from redis.exceptions import ResponseError

from ..records import Heartbeat, Observation
from . import heartbeat_fields
from .connection import Connector, is_wrong_type, run_script
from .floor import Shelf, doubt_of, fingerprint
from .keys import Keys, literal

# Seconds that an observation lives should nobody delete it.
_OBSERVED_FOR = 86_400
# Seconds that crashes are remembered after the newest of them.
_CRASHES_KEPT = 86_400
# Jobs moved by one call of a script; keeps every call far below 10 ms.
_BATCH = 500
# Observations that are written or deleted in one go.
_CHUNK = 100

T = TypeVar("T")

_NONE: Mapping[bytes, tuple[str, int]] = MappingProxyType({})


class Due(NamedTuple):
    """What is due on a shelf.

    :ivar now: Redis's clock, epoch seconds.
    :ivar next: the score of the first job that is not due yet, epoch seconds, or ``None``.
    :ivar payloads: due jobs, the longest due first.
    """

    now: float
    next: float | None
    payloads: list[bytes]


class Requeued(NamedTuple):
    """What became of jobs that were to be moved off a shelf.

    :ivar moved: how many were still there, and are moved.
    :ivar refusal: why some had to stay, such as that their queue is no list; otherwise empty.
    """

    moved: int
    refusal: str


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

    def __init__(self, connector: Connector, keys: Keys) -> None:
        self._connector = connector
        self._keys = keys

    async def now(self) -> float:
        """Return Redis's clock, epoch seconds.

        :raises RedisError, OSError: when Redis refuses or cannot be reached (so do all methods here).
        """
        seconds, micros = await self._connector.client().time()
        return int(seconds) + int(micros) / 1e6

    # A pool's own traces

    async def announce(self, max_concurrency: Mapping[str, int]) -> None:
        """Tell the caps of the jobs that a pool serves: the last pool to start decides on them."""
        if not max_concurrency:
            return
        async with self._connector.client().pipeline(transaction=False) as pipe:
            for name, cap in max_concurrency.items():
                pipe.set(self._keys.max_concurrency(name), cap)
            await pipe.execute()

    async def beat(self, heartbeat: Heartbeat, *, again: bool = False) -> bool:
        """Write a pool's heartbeat, and the names that it serves; tell whether the pool was known before.

        One that was considered dead was not, and the crashes that were counted for that are taken back.

        :param again: whether it has beaten before, so that one that is not known was considered dead.
        """
        keys = [
            self._keys.worker_pools,
            self._keys.heartbeat(heartbeat.pool_id),
            self._keys.known_jobs,
            self._keys.crashes,
            self._keys.crashes_of(heartbeat.pool_id),
        ]
        fields = itertools.chain.from_iterable(heartbeat_fields.write(heartbeat).items())
        blamed, names = self._keys.blamed_by(heartbeat.pool_id), heartbeat.job_names
        args = [heartbeat.pool_id, int(again), blamed, len(names), *names, *fields]
        return bool(await run_script(self._connector.client(), "beat", keys, args))

    async def forget_pool(self, pool_id: str, worker_ids: Iterable[str] = ()) -> None:
        """Delete a pool's heartbeat and the observations of its workers."""
        # No transaction: Redis refuses to begin one when its memory is full. A pool without a heartbeat is one to reap.
        async with self._connector.client().pipeline(transaction=False) as pipe:
            for some in _chunks(list(worker_ids)):
                pipe.delete(*(self._keys.observation(each) for each in some))
            pipe.delete(self._keys.heartbeat(pool_id))
            pipe.srem(self._keys.worker_pools, pool_id)
            await pipe.execute()
        # It may hold something else than crashes.
        with suppress(ResponseError):
            told = (self._keys.accused_by(pool_id), self._keys.blamed_by(pool_id))
            await self._connector.client().hdel(self._keys.crashes, *told)

    async def observe(self, busy: Sequence[Observation], idle: Sequence[str]) -> None:
        """Write what workers are doing, each as a whole, and delete what is told of those that are idle."""
        for gone in _chunks(idle):
            await self._connector.client().delete(*(self._keys.observation(worker_id) for worker_id in gone))
        for some in _chunks(busy):
            await self._write_observations(some)

    async def _write_observations(self, observations: Sequence[Observation]) -> None:
        async with self._connector.client().pipeline(transaction=True) as pipe:
            for each in observations:
                key = self._keys.observation(each.worker_id)
                fields: dict[str | bytes, bytes | float | int | str] = {
                    "job_name": each.job_name,
                    "job_id": each.job_id,
                    "started_at": each.started_at,
                    "args": each.args,
                }
                if each.checkin:
                    fields |= {"checkin": each.checkin, "checkin_at": each.checkin_at}
                pipe.delete(key)
                pipe.hset(key, mapping=fields)
                pipe.expire(key, _OBSERVED_FOR)
            await pipe.execute()

    # Jobs whose time has come

    async def due(self, shelf: Shelf, skip: int, limit: int) -> Due:
        """Read up to ``limit`` jobs that are due on a shelf, passing over the first ``skip``."""
        key = getattr(self._keys, shelf.value)
        now, later, *payloads = await run_script(self._connector.client(), "due", [key], [skip, limit])
        return Due(float(now), float(later) if later else None, payloads)

    async def died(self, since: float, skip: int, limit: int) -> list[tuple[bytes, float]]:
        """Read up to ``limit`` dead jobs with when they died (epoch seconds), from ``since``, passing over ``skip``."""
        members: list[tuple[bytes, float]] = await self._connector.client().zrangebyscore(
            self._keys.dead, since, "+inf", start=skip, num=limit, withscores=True
        )
        return members

    async def known(self, names: Sequence[str]) -> set[str]:
        """Return those of the names that somebody enqueued or served."""
        if not names:
            return set()
        try:
            answers = await self._connector.client().smismember(self._keys.known_jobs, list(names))
        except ResponseError as error:
            if not is_wrong_type(error):
                raise
            return set()
        return {name for name, known in zip(names, answers, strict=True) if known}

    async def requeue(
        self,
        shelf: Shelf,
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
        moved, refusal = await run_script(self._connector.client(), "requeue", keys, args)
        return Requeued(moved, refusal.decode(errors="replace"))

    async def plan_periodic(self, job: str, instances: Sequence[tuple[int, bytes]]) -> int:
        """Put instances ``(epoch second, payload)`` of a periodic job among the scheduled ones, each once.

        ``job`` tells one periodic job from the others. Returns how many were new.
        """
        args: list[bytes | int | str] = [job]
        for at, payload in instances:
            args += (at, payload)
        keys = [self._keys.scheduled, self._keys.periodic]
        return int(await run_script(self._connector.client(), "plan_periodic", keys, args))

    async def fired(self) -> dict[str, int]:
        """Return when each periodic job last fired, epoch seconds, by its key; what is no such time is left out."""
        try:
            found = await self._connector.client().hgetall(self._keys.periodic_fired)
        except ResponseError as error:
            if not is_wrong_type(error):
                raise
            return {}
        return {key.decode(errors="replace"): int(at) for key, at in found.items() if at.isdigit() and len(at) < 19}

    # Other pools

    async def probe(self, pool_id: str) -> None:
        """Make sure that heartbeats can be written, also when memory is full.

        :raises RedisError, OSError: when they cannot: Redis is a replica, its disk is full, too few replicas follow it.
        """
        # It writes, changes nothing, and needs no memory.
        await self._connector.client().persist(self._keys.heartbeat(pool_id))

    async def _members(self, key: str) -> set[bytes]:
        """Return a set; what is none has no members. Those who live put it right: :meth:`beat`."""
        try:
            members: set[bytes] = await self._connector.client().smembers(key)
        except ResponseError as error:
            if not is_wrong_type(error):
                raise
            return set()
        return members

    async def registered(self) -> set[str]:
        """Return the ids of the registered pools."""
        return {_text(raw) for raw in await self._members(self._keys.worker_pools)}

    async def pulses(self, pool_ids: Iterable[str]) -> dict[str, Pulse]:
        """Return what each of these pools last wrote about itself."""
        ids = sorted(pool_ids)
        async with self._connector.client().pipeline(transaction=False) as pipe:
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
        client = self._connector.client()
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
        client = self._connector.client()
        names = sorted(_text(raw) for raw in await self._members(self._keys.known_jobs))
        async with client.pipeline(transaction=False) as pipe:
            for name in names:
                pipe.hkeys(self._keys.lock_info(name))
            answers = await pipe.execute(raise_on_error=False)
        holders: dict[str, set[str]] = {}
        for name, pool_ids in zip(names, answers, strict=True):
            for pool_id in pool_ids if isinstance(pool_ids, list) else ():
                holders.setdefault(_text(pool_id), set()).add(name)
        return holders

    async def level_locks(self) -> list[str]:
        """Make each lock the sum of the pools' shares of it; return the names of the queues where it was not."""
        wrong = []
        for raw in sorted(await self._members(self._keys.known_jobs)):
            name = _text(raw)
            keys = [self._keys.lock(name), self._keys.lock_info(name)]
            if await run_script(self._connector.client(), "level", keys, []):
                wrong.append(name)
        return wrong

    async def in_progress_lists(self) -> dict[str, set[str]]:
        """Search the whole keyspace, in steps, for in-progress lists; return the names of queues by pool id."""
        start, end = self._keys.jobs, ":inprogress"
        found: dict[str, set[str]] = {}
        async for raw in self._connector.client().scan_iter(match=f"{literal(start)}*{end}", count=1000):
            name, _, pool_id = _text(raw)[len(start) : -len(end)].rpartition(":")
            if name:
                found.setdefault(pool_id, set()).add(name)
        return found

    async def blame(self, pool_id: str, names: Iterable[str], beat: bytes | None) -> None:
        """Count the crash of a dead pool against what it was running: against the job that it had accused; or else
        against those that ran in the most crashes before, which are the likeliest to have caused it. What nobody
        suspected so far is suspected from now on; where there is such, it may not have been the accused one, which is
        let off once.

        :param beat: the ``heartbeat_at`` by which the pool was judged dead, empty when it had none; ``None`` when that
            does not matter.
        """
        # Whether or not it can be counted, the jobs must be taken back.
        with suppress(ResponseError):
            await self._blame(pool_id, names, beat)

    async def _blame(self, pool_id: str, names: Iterable[str], beat: bytes | None) -> None:
        client = self._connector.client()
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
            doubt = doubt_of(accused)
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
        :raises ResponseError: when Redis refuses that for a queue, such as one that is no list; the others are done.
        """
        moved = 0
        refusal: ResponseError | None = None
        for name in names:
            try:
                jobs = await self._reap(pool_id, name, beat)
            except ResponseError as error:
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
            done, left = await run_script(self._connector.client(), "reap", keys, args)
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
    return (items[start : start + _CHUNK] for start in range(0, len(items), _CHUNK))


def _count(raw: bytes | None) -> int:
    """Read a count; what is none is 0."""
    return int(raw) if raw and raw.isdigit() and len(raw) < 10 else 0


def _split(raw: bytes | None) -> list[str]:
    return _text(raw).split(",") if raw else []


def _text(raw: bytes) -> str:
    """Return bytes as text from which they can be had again, as the client encodes it."""
    return raw.decode(errors="surrogateescape")
