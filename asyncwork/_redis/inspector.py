"""Reads the state of a namespace, in steps that never block Redis for long."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

from redis.exceptions import NoPermissionError

from .._jobs.location import JOB_SETS, queue_name
from .._jobs.progress import read_progress
from ..errors import PayloadError
from ..job import Job
from ..models.pools import Heartbeat, Observation
from ..models.queues import QueueInfo, Sizes
from .errors import ErrorReply, is_wrong_type
from .fair_listing import FairListing
from .fair_queues import FairState
from .located_payload import LocatedPayload
from .lock_state import LockState
from .namespace import Namespace
from .protocol import decode, encode, read_count, value_of
from .queue_options import QueueOptions, read_options
from .rates import QueueRate, Rates, tokens_left
from .slices import slices

# Commands sent in one pipeline.
_SLICE = 500


class Inspector:
    """Reads one namespace. Every method raises RedisError or OSError when Redis refuses or cannot be reached."""

    def __init__(self, namespace: Namespace) -> None:
        self._redis = namespace.redis
        self._keys = namespace.keys
        self.fair = FairListing(namespace)
        self._rates = Rates(namespace)

    async def names(self) -> list[str]:
        """Return the registered job names, sorted; none when their key holds another type."""
        try:
            names = await self._redis.client().smembers(self._keys.known_jobs)
        except ErrorReply as error:
            if not is_wrong_type(error):
                raise
            return []
        return sorted(map(decode, names))

    async def queues(self, now: float, pools: Mapping[str, int]) -> list[QueueInfo]:
        """Return every queue, sorted by name.

        :param now: Redis's clock, epoch seconds.
        :param pools: how many live pools serve each name.
        """
        keys, names, rates = self._keys, await self.names(), await self._rates.read()
        commands: list[tuple[object, ...]] = []
        for name in names:
            queue = keys.queue(name)
            commands += [("LLEN", queue), ("LINDEX", queue, -1), ("EXISTS", keys.paused(name))]
            commands += [("GET", keys.lock(name)), ("GET", keys.max_concurrency(name))]
            commands += [("PTTL", keys.paused(name)), ("GET", keys.rate(name))]
        commands += [("HGETALL", each) for each in (keys.queue_options, keys.max_waiting, keys.duplicates)]
        *replies, declared, limits, duplicates = await self._pipeline(commands)
        options, none = read_options(declared, limits), QueueOptions()
        fair = await self._fair_states(names)
        found = []
        for name, at in zip(names, range(0, len(replies), 7), strict=True):
            own = options.get(name, none)
            length, front, paused, lock, limit, rest_ms, state = replies[at : at + 7]
            # A pause has no end, and a rest has one.
            rests_for = max(0, rest_ms) / 1000
            rate = rates.get(name, QueueRate())
            holds = rate.rate
            found.append(
                QueueInfo(
                    name,
                    **_waiting(fair[name], now)
                    if name in fair
                    else {"count": _number(length), "latency": _latency(front, now)},
                    running=max(0, _number(lock)),
                    max_concurrency=max(0, _number(limit)),
                    paused=bool(_number(paused)) and not rests_for,
                    pools=pools.get(name, 0),
                    max_waiting=own.max_waiting,
                    chunk=own.chunk,
                    wait=own.wait,
                    rate="" if holds is None else str(holds),
                    rate_set=rate.is_set,
                    tokens=0 if holds is None else tokens_left(holds, state if isinstance(state, bytes) else None, now),
                    rests_for=rests_for,
                    duplicates_dropped=_duplicates(duplicates, "dropped", name),
                    duplicates_replaced=_duplicates(duplicates, "replaced", name),
                )
            )
        return found

    async def _fair_states(self, names: Sequence[str]) -> dict[str, FairState]:
        fair = await self.fair.queues.names()
        states = {name: await self.fair.queues.read(name, waiting=True) for name in names if name in fair}
        return {name: state for name, state in states.items() if state is not None}

    async def sizes(self, queues: Sequence[QueueInfo]) -> Sizes:
        """Return how many jobs are in each location.

        :param queues: of :meth:`queues`.
        """
        keys = self._keys
        commands = [("ZCARD", keys.retry), ("ZCARD", keys.scheduled), ("ZCARD", keys.dead), ("LLEN", keys.quarantine)]
        retry, scheduled, dead, quarantine = map(_number, await self._pipeline(commands))
        queued, busy = sum(each.count for each in queues), sum(each.running for each in queues)
        return Sizes(queued, busy, retry, scheduled, dead, quarantine)

    async def observations(self, heartbeats: Sequence[Heartbeat]) -> list[Observation]:
        """Return the observations of the busy workers of these pools."""
        workers = [(worker_id, each.pool_id) for each in heartbeats for worker_id in each.worker_ids]
        replies = await self._pipeline([("HGETALL", self._keys.observation(worker_id)) for worker_id, _ in workers])
        return [
            _observation(worker_id, pool_id, fields)
            for (worker_id, pool_id), fields in zip(workers, replies, strict=True)
            if isinstance(fields, dict) and fields
        ]

    async def locks(self, names: Sequence[str]) -> dict[str, LockState]:
        """Return the locks of these queues, without what is in progress."""
        commands: list[tuple[object, ...]] = []
        for name in names:
            commands += [("GET", self._keys.lock(name)), ("HGETALL", self._keys.lock_info(name))]
        replies = await self._pipeline(commands)
        return {
            name: LockState.parse(lock, shares if isinstance(shares, dict) else {}, {})
            for name, lock, shares in zip(names, replies[::2], replies[1::2], strict=True)
        }

    async def server(self) -> dict[str, Any]:
        """Return the fields of INFO; none when the user may not see them."""
        try:
            info: dict[str, Any] = await self._redis.client().info()
        except NoPermissionError:
            return {}
        return info

    # Jobs in their locations

    async def members(
        self, location: str, start: int, count: int, *, newest_first: bool
    ) -> tuple[list[LocatedPayload], int]:
        """Return ``count`` members of a location from the ``start``-th on, and how many are there.

        In a sorted set the newest has the highest score; in a list it was pushed last.
        """
        key, in_set = self._keys.location(location), location in JOB_SETS
        if await self.fair.is_fair(name := queue_name(location)):
            if not newest_first:
                return await self.fair.next_to_run(name, start, count)
            found, total = await self.fair.next_to_run(name, 0, 1)
            # Only a scan finds out where a certain job is.
            return found if start == 0 else [], total
        # Not a transaction: Redis refuses to begin one when its memory is full, and reading must work then.
        async with self._redis.client().pipeline(transaction=False) as pipe:
            if in_set:
                pipe.zrange(key, start, start + count - 1, desc=newest_first, withscores=True)
                pipe.zcard(key)
            elif newest_first:
                pipe.lrange(key, start, start + count - 1)
                pipe.llen(key)
            else:
                pipe.lrange(key, -start - count, -start - 1)
                pipe.llen(key)
            found, total = await pipe.execute(raise_on_error=False)
        if is_wrong_type(found):
            return [], 0
        value_of(found)
        ranks = itertools.count(start) if in_set != newest_first else itertools.count(total - 1 - start, -1)
        if in_set:
            return [LocatedPayload(raw, at, rank) for (raw, at), rank in zip(found, ranks, strict=False)], total
        ordered = found if newest_first else reversed(found)
        return [LocatedPayload(raw, None, rank) for raw, rank in zip(ordered, ranks, strict=False)], total

    async def count_before(self, job_set: str, at: float, *, newest_first: bool) -> int:
        """Return how many members of a sorted set come before those of score ``at`` (epoch seconds)."""
        bounds = (f"({at!r}", "+inf") if newest_first else ("-inf", f"({at!r}")
        return int(await self._redis.client().zcount(self._keys.location(job_set), *bounds))

    async def gone(self, location: str, members: Sequence[LocatedPayload]) -> list[LocatedPayload]:
        """Return which of the members are no longer in their location."""
        key, client = self._keys.location(location), self._redis.client()
        if location in JOB_SETS:
            found = await client.execute_command("ZMSCORE", key, *(each.raw for each in members))
        elif await self.fair.is_fair(name := queue_name(location)):
            return await self.fair.gone(name, members)
        else:
            found = await self._pipeline([("LPOS", key, each.raw) for each in members])
        return [each for each, reply in zip(members, found, strict=True) if reply is None]

    async def _pipeline(self, commands: Sequence[tuple[object, ...]]) -> list[Any]:
        """Send commands in batches and return their replies. A key of a wrong type must not hide the others, so that
        error is returned in its place.
        """
        replies: list[Any] = []
        for some in slices(commands, _SLICE):
            async with self._redis.client().pipeline(transaction=False) as pipe:
                for command in some:
                    pipe.execute_command(*command)
                replies += await pipe.execute(raise_on_error=False)
        return [reply if is_wrong_type(reply) else value_of(reply) for reply in replies]


def _number(reply: Any) -> int:
    return read_count(reply) or 0


def _duplicates(counts: Any, what: str, name: str) -> int:
    """Return how many jobs of a name were not enqueued.

    :param counts: the reply to HGETALL, which may be an error.
    """
    return _number(counts.get(encode(f"{what}:{name}"), 0)) if isinstance(counts, dict) else 0


def _waiting(state: FairState, now: float) -> dict[str, Any]:
    """Return the numbers of a fair queue's waiting jobs."""
    tenants = [each for each in state.tenants if each.waiting]
    oldest = min((each.oldest for each in tenants if each.oldest), default=0)
    return {
        "count": sum(each.waiting for each in tenants),
        "latency": max(0, int(now) - oldest) if oldest else 0,
        "fair": True,
        "tenants": len(tenants),
        "tenants_held": sum(each.held for each in tenants),
    }


def _latency(front: Any, now: float) -> int:
    if not isinstance(front, bytes):
        return 0
    try:
        return max(0, int(now) - Job.decode(front).enqueued_at)
    except PayloadError:
        return 0


def _observation(worker_id: str, pool_id: str, fields: Mapping[bytes, bytes]) -> Observation:
    def text(name: bytes) -> str:
        return fields.get(name, b"").decode("utf-8", "replace")

    return Observation(
        worker_id=worker_id,
        job_name=text(b"job_name"),
        job_id=text(b"job_id"),
        started_at=_number(fields.get(b"started_at")),
        args=fields.get(b"args", b""),
        checkin=text(b"checkin"),
        checkin_at=_number(fields.get(b"checkin_at")),
        pool_id=pool_id,
        overdue=fields.get(b"overdue") == b"1",
        progress=read_progress(text(b"done"), text(b"total"), text(b"checkin")),
    )
