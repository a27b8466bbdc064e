"""The registry of worker pools: their heartbeats, their concurrency limits, and what their workers do."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from types import MappingProxyType
from typing import NamedTuple

from .._jobs.progress import write_number
from ..models.pools import Heartbeat, Observation
from . import heartbeat_fields
from .client import run_script
from .errors import ErrorReply, is_wrong_type
from .namespace import Namespace
from .pool_requests import WrittenRequests
from .protocol import decode, encode
from .queue_options import QueueOptions
from .slices import slices

# Seconds after which an observation expires if nothing deletes it.
_OBSERVATION_TTL = 86_400
# Observations written or deleted by one command; keeps every command short.
_SLICE = 100
# Job names looked up by one command.
_NAMES_SLICE = 1000

_NO_OPTIONS: Mapping[str, QueueOptions] = MappingProxyType({})
_NO_LIMITS: Mapping[str, int] = MappingProxyType({})


class RawHeartbeat(NamedTuple):
    """The fields of a pool's heartbeat that the reaper needs, as they are in Redis.

    :ivar heartbeat_at: when it was written, by the pool's own clock; empty when there is no heartbeat.
    :ivar beats: how many heartbeats the pool has written; empty for gocraft/work.
    """

    heartbeat_at: bytes
    job_names: list[str]
    worker_ids: list[str]
    beats: bytes


class WrittenHeartbeat(NamedTuple):
    """The result of writing a heartbeat.

    :ivar known: whether the pool was registered.
    :ivar now: Redis's clock, epoch seconds.
    :ivar requests: the last requests to the pool.
    """

    known: bool
    now: float
    requests: WrittenRequests = WrittenRequests()


def served_without_records(kept: Collection[str], live: Iterable[Heartbeat]) -> dict[str, list[str]]:
    """Return the job names whose results are kept although pools of gocraft/work serve them, with the hosts of these
    pools.

    :param kept: the job names whose results are kept.
    """
    found: dict[str, list[str]] = {}
    for each in filter(heartbeat_fields.is_of_go, live):
        for name in each.job_names:
            if name in kept:
                found.setdefault(name, []).append(each.host or "an unknown host")
    return found


class PoolRegistry:
    """The registered pools of a namespace.

    Every method raises RedisError or OSError when Redis refuses or cannot be reached.
    """

    def __init__(self, namespace: Namespace) -> None:
        self._redis = namespace.redis
        self._keys = namespace.keys

    async def write_job_types(
        self,
        max_concurrency: Mapping[str, int],
        results: Mapping[str, int],
        options: Mapping[str, QueueOptions] = _NO_OPTIONS,
    ) -> None:
        """Write the concurrency limits of a pool's job names, for how long their results are kept, and their other
        options. The pool that starts last decides.

        :param results: seconds by name; names whose results are not kept are left out.
        :param options: by name; names that have none of these are left out.
        """
        if not max_concurrency:
            return
        async with self._redis.client().pipeline(transaction=False) as pipe:
            for name, limit in max_concurrency.items():
                pipe.set(self._keys.max_concurrency(name), limit)
            if plain := [name for name in max_concurrency if name not in results]:
                pipe.hdel(self._keys.results, *plain)
            if results:
                pipe.hset(self._keys.results, mapping=dict(results))
            if without := [name for name in max_concurrency if name not in options]:
                pipe.hdel(self._keys.queue_options, *without)
            if options:
                pipe.hset(self._keys.queue_options, mapping={name: each.encode() for name, each in options.items()})
            for reply in await pipe.execute(raise_on_error=False):
                if isinstance(reply, Exception) and not is_wrong_type(reply):
                    raise reply

    async def restore_results(self, results: Mapping[str, int]) -> None:
        """Write for how long results are kept, where Redis does not know it any more.

        :param results: seconds by job name.
        """
        if results:
            async with self._redis.client().pipeline(transaction=False) as pipe:
                for name, seconds in results.items():
                    pipe.hsetnx(self._keys.results, name, seconds)
                # A key of another type is for the doctor.
                for reply in await pipe.execute(raise_on_error=False):
                    if isinstance(reply, Exception) and not is_wrong_type(reply):
                        raise reply

    async def write_heartbeat(
        self, heartbeat: Heartbeat, max_concurrency: Mapping[str, int] = _NO_LIMITS, *, again: bool = False
    ) -> WrittenHeartbeat:
        """Write a pool's heartbeat, and register the pool and its job names.

        A pool that was not registered, although it has written heartbeats before, was considered dead. The crashes
        recorded for that are taken back.

        :param max_concurrency: concurrency limits by name. They are restored where Redis has none and the pool was not
            registered, because then Redis may have lost its data.
        :param again: whether the pool has written a heartbeat before.
        """
        limits = {name: limit for name, limit in max_concurrency.items() if limit}
        keys = [
            self._keys.worker_pools,
            self._keys.heartbeat(heartbeat.pool_id),
            self._keys.known_jobs,
            self._keys.crashes,
            self._keys.crashes_of(heartbeat.pool_id),
            *map(self._keys.max_concurrency, limits),
        ]
        fields = itertools.chain.from_iterable(heartbeat_fields.write(heartbeat).items())
        recorded, names = self._keys.recorded_field(heartbeat.pool_id), heartbeat.job_names
        args = [heartbeat.pool_id, int(again), recorded, len(names), *names, *limits.values(), *fields]
        known, now, *requests = await run_script(self._redis.client(), "write_heartbeat", keys, args)
        return WrittenHeartbeat(bool(known), float(now), WrittenRequests(*requests))

    async def renew_heartbeat(self, pool_id: str, now: float) -> bool:
        """Renew the heartbeat of a pool whose process lives and cannot write its own; return whether there was one.

        :param now: epoch seconds by the clock of the pool's host.
        """
        keys = [self._keys.worker_pools, self._keys.heartbeat(pool_id)]
        return bool(await run_script(self._redis.client(), "renew_heartbeat", keys, [pool_id, int(now)]))

    async def forget_pool(self, pool_id: str, worker_ids: Iterable[str] = ()) -> None:
        """Delete a pool's heartbeat and registration, and the observations of its workers."""
        observations = [self._keys.observation(each) for each in worker_ids]
        # Not a transaction: Redis refuses to begin one when its memory is full. If only the heartbeat gets deleted,
        # the reaper does the rest.
        async with self._redis.client().pipeline(transaction=False) as pipe:
            for some in slices(observations, _SLICE):
                pipe.delete(*some)
            pipe.delete(self._keys.heartbeat(pool_id))
            pipe.srem(self._keys.worker_pools, pool_id)
            pipe.hdel(self._keys.reapers, pool_id)
            # Again, because an observation may have been written until the heartbeat was gone.
            for some in slices(observations, _SLICE):
                pipe.delete(*some)
            for reply in await pipe.execute(raise_on_error=False):
                if isinstance(reply, Exception) and not is_wrong_type(reply):
                    raise reply
        # The key may hold another type.
        with suppress(ErrorReply):
            fields = (self._keys.suspect_field(pool_id), self._keys.recorded_field(pool_id))
            await self._redis.client().hdel(self._keys.crashes, *fields)

    async def write_observations(self, pool_id: str, busy: Sequence[Observation], idle: Sequence[str]) -> bool:
        """Replace the observations of busy workers and delete those of idle ones.

        :returns: whether the busy ones were written; they are not when the pool has no heartbeat.
        """
        for some in slices(idle, _SLICE):
            await self._redis.client().delete(*(self._keys.observation(worker_id) for worker_id in some))
        return all([await self._write_observations(pool_id, some) for some in slices(busy, _SLICE)])

    async def _write_observations(self, pool_id: str, observations: Sequence[Observation]) -> bool:
        keys = [self._keys.heartbeat(pool_id), *(self._keys.observation(each.worker_id) for each in observations)]
        args: list[bytes | int | str] = [_OBSERVATION_TTL]
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
            if each.overdue:
                fields += ["overdue", 1]
            if (progress := each.progress) is not None:
                fields += ["done", write_number(progress.done)]
                if progress.total is not None:
                    fields += ["total", write_number(progress.total)]
            args += (len(fields), *fields)
        return bool(await run_script(self._redis.client(), "write_observations", keys, args))

    async def pool_ids(self) -> set[str]:
        """Return the ids of the registered pools."""
        return await self._members(self._keys.worker_pools)

    async def registered(self, pool_ids: Collection[str]) -> set[str]:
        """Return which of these pools are registered."""
        ids = sorted(pool_ids)
        if not ids:
            return set()
        try:
            replies = await self._redis.client().smismember(self._keys.worker_pools, [encode(each) for each in ids])
        except ErrorReply as error:
            if not is_wrong_type(error):
                raise
            return set(ids)  # nothing is known of them
        return {pool_id for pool_id, found in zip(ids, replies, strict=True) if found}

    async def job_names(self) -> set[str]:
        """Return the registered job names."""
        return await self._members(self._keys.known_jobs)

    async def registered_names(self, names: Sequence[str]) -> set[str]:
        """Return which of these job names are registered, that is, were ever enqueued or served."""
        found: set[str] = set()
        for some in slices(names, _NAMES_SLICE):
            try:
                replies = await self._redis.client().smismember(self._keys.known_jobs, list(some))
            except ErrorReply as error:
                if not is_wrong_type(error):
                    raise
                return set()
            found.update(name for name, known in zip(some, replies, strict=True) if known)
        return found

    async def raw_heartbeats(self, pool_ids: Iterable[str]) -> dict[str, RawHeartbeat]:
        """Return the heartbeat of each of these pools, registered or not, by pool id."""
        ids = sorted(pool_ids)
        async with self._redis.client().pipeline(transaction=False) as pipe:
            for pool_id in ids:
                pipe.hmget(self._keys.heartbeat(pool_id), ["heartbeat_at", "job_names", "worker_ids", "beats"])
            replies = await pipe.execute(raise_on_error=False)
        heartbeats = {}
        for pool_id, reply in zip(ids, replies, strict=True):
            at, names, workers, beats = reply if isinstance(reply, list) else [None] * 4
            heartbeats[pool_id] = RawHeartbeat(at or b"", _split(names), _split(workers), beats or b"")
        return heartbeats

    async def heartbeats(self) -> list[Heartbeat]:
        """Return the heartbeats of the registered pools, sorted by pool id. Malformed fields get their defaults."""
        client = self._redis.client()
        ids = sorted(await self.pool_ids())
        async with client.pipeline(transaction=False) as pipe:
            for pool_id in ids:
                pipe.hgetall(self._keys.heartbeat(pool_id))
            found = await pipe.execute(raise_on_error=False)
        return [
            heartbeat_fields.read(pool_id, fields if isinstance(fields, dict) else {})
            for pool_id, fields in zip(ids, found, strict=True)
        ]

    async def served_without_records(self, kept: Collection[str], dead_after: float) -> dict[str, list[str]]:
        """Return the job names whose results are kept although live pools of gocraft/work serve them, with the hosts of
        these pools.

        :param kept: the job names whose results are kept.
        :param dead_after: seconds after which a pool without a heartbeat is dead.
        """
        oldest = await self._redis.now() - dead_after
        return served_without_records(kept, [each for each in await self.heartbeats() if each.heartbeat_at >= oldest])

    async def _members(self, key: str) -> set[str]:
        """Return a set of names; none when the key holds another type, which :meth:`write_heartbeat` repairs."""
        try:
            members: set[bytes] = await self._redis.client().smembers(key)
        except ErrorReply as error:
            if not is_wrong_type(error):
                raise
            return set()
        return set(map(decode, members))


def _split(raw: bytes | None) -> list[str]:
    return decode(raw).split(",") if raw else []
