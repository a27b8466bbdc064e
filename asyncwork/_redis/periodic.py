"""Planned instances of periodic jobs."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from contextlib import suppress
from typing import NamedTuple

from .._jobs.payload import write_payload
from .._jobs.times import LATEST
from .._json import codec
from ..errors import PayloadError
from .client import run_script
from .errors import ErrorReply, is_wrong_type
from .namespace import Namespace
from .protocol import decode, encode
from .slices import slices

# Periodic jobs forgotten by one command.
_SLICE = 100


class Planned(NamedTuple):
    """The result of planning instances of a periodic job.

    :ivar added: how many were new.
    :ivar ahead: by how many seconds the plan was too far ahead because Redis's clock had been wrong; otherwise 0.
    :ivar changed: whether nothing was planned, because the job was changed since its changes were read.
    """

    added: int
    ahead: int
    changed: bool = False


class Run(NamedTuple):
    """One run of a periodic job.

    :ivar at: the epoch second of its instance, or when it was enqueued beside the schedule.
    :ivar job_id: the id of the job.
    :ivar who: the user who has enqueued it; ``None`` for an instance of the schedule.
    """

    at: int
    job_id: str
    who: str | None


class PeriodicInstances:
    """The instances of periodic jobs in a namespace: those planned, and when each job last fired.

    A periodic job is identified by its key, which is made of its name and its schedule. Every method raises RedisError
    or OSError when Redis refuses or cannot be reached.
    """

    def __init__(self, namespace: Namespace) -> None:
        self._redis = namespace.redis
        self._keys = namespace.keys

    async def plan(
        self, job: str, horizon: float, instances: Sequence[tuple[int, bytes]], change: bytes = b""
    ) -> Planned:
        """Schedule instances of a periodic job, each once.

        :param job: the periodic job's key.
        :param horizon: how far ahead instances are planned, seconds.
        :param instances: the epoch second and the payload of each, in order of time.
        :param change: how the job was changed at run time, as it is in Redis; empty for a job that was not.
        """
        args: list[bytes | float | int | str] = [job, horizon, change]
        for at, payload in instances:
            args += (at, payload)
        keys = [self._keys.scheduled, self._keys.periodic, self._keys.periodic_changes]
        added, ahead, changed = await run_script(self._redis.client(), "plan_periodic", keys, args)
        return Planned(added, ahead, bool(changed))

    async def run_now(self, job: str, name: str, job_id: str, args: bytes, who: str) -> None:
        """Enqueue a periodic job beside its schedule.

        :param job: the periodic job's key.
        :param args: its arguments as JSON.
        :param who: the user who wants that, for the runs of the job.
        """
        now = await self._redis.now()
        run = b'{"at":%d,"id":%b,"by":%b}' % (now, codec.encode_string(job_id), codec.encode_string(who))
        keys = [self._keys.queue(name), self._keys.known_jobs, self._keys.periodic, self._keys.periodic_runs(job)]
        payload = write_payload(name, job_id, int(now), args)
        await run_script(self._redis.client(), "run_periodic", keys, [name, payload, job, now, run])

    async def runs(self, job: str, count: int) -> list[Run]:
        """Return the last runs of a periodic job, the newest first; malformed ones are left out."""
        try:
            found = await self._redis.client().zrevrange(self._keys.periodic_runs(job), 0, count - 1)
        except ErrorReply as error:
            if not is_wrong_type(error):
                raise
            return []
        return [run for run in (_read_run(job, raw) for raw in found) if run is not None]

    async def drop(self, instances: Sequence[tuple[bytes, int]]) -> set[bytes]:
        """Delete planned instances; return the payloads of those that were still scheduled at their planned time.

        :param instances: the payload and the epoch second of each.
        """
        args = list(itertools.chain.from_iterable(instances))
        numbers = await run_script(self._redis.client(), "drop_planned", [self._keys.scheduled], args)
        return {instances[number - 1][0] for number in numbers}

    async def unplanned(self, jobs: Sequence[str], horizon: float) -> set[str]:
        """Return the periodic jobs that have no plan in Redis, or one that is further ahead than the horizon allows."""
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

    async def last_fired(self) -> dict[str, int]:
        """Return when each periodic job last fired, epoch seconds, by its key; without malformed and future times."""
        now, found = int(await self._redis.now()), await self._hash(self._keys.periodic_fired)
        fired = {key.decode(errors="replace"): _epoch(at) for key, at in found.items()}
        return {key: at for key, at in fired.items() if 0 <= at <= now}

    async def jobs(self) -> set[str]:
        """Return the keys of all periodic jobs that were planned or fired and are not forgotten."""
        found = {**await self._hash(self._keys.periodic), **await self._hash(self._keys.periodic_fired)}
        return set(map(decode, found))

    async def forget(self, jobs: Sequence[str]) -> None:
        """Forget periodic jobs and their runs. Their planned instances stay."""
        for some in slices(jobs, _SLICE):
            await self._redis.client().delete(*(encode(self._keys.periodic_runs(job)) for job in some))
            for key in (self._keys.periodic, self._keys.periodic_fired):
                # The key may hold another type.
                with suppress(ErrorReply):
                    await self._redis.client().hdel(key, *map(encode, some))

    async def _hash(self, key: str) -> dict[bytes, bytes]:
        """Return a hash; an empty one when the key holds another type."""
        try:
            found: dict[bytes, bytes] = await self._redis.client().hgetall(key)
        except ErrorReply as error:
            if not is_wrong_type(error):
                raise
            return {}
        return found


def _read_run(job: str, raw: bytes) -> Run | None:
    try:
        found = codec.decode(raw)
    except PayloadError:
        return None
    # An instance of the schedule is its epoch second alone.
    fields = found if isinstance(found, dict) else {"at": found}
    at, job_id, who = fields.get("at"), fields.get("id"), fields.get("by")
    if type(at) is not int or not 0 <= at <= LATEST:
        return None
    if isinstance(job_id, str) and isinstance(who, str):
        return Run(at, job_id, who)
    return Run(at, f"periodic:{job}:{at}", None)


def _epoch(raw: bytes | None) -> int:
    """Return an epoch second; -1 for anything else."""
    return int(raw) if raw and raw.isdigit() and len(raw) < 19 else -1
