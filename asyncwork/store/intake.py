"""Where jobs come in: what the enqueuer says to Redis."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from redis.exceptions import ResponseError

from ..records import EnqueuedJob
from .connection import REDIS_TROUBLE, Connector, is_wrong_type, run_script
from .keys import Keys

# Seconds. A name is told to Redis again after this, as gocraft/work does.
_KNOWN_FOR = 300
UNIQUE_FOR = 86_400


class Intake:
    """The queues of a namespace, from the side of those who fill them."""

    def __init__(self, connector: Connector, keys: Keys) -> None:
        self._connector = connector
        self._keys = keys
        self._known_until: dict[str, float] = {}

    def _news(self, names: Iterable[str]) -> list[str]:
        now = time.monotonic()
        return sorted({name for name in names if self._known_until.get(name, 0) <= now})

    def _told(self, names: Iterable[str]) -> None:
        until = time.monotonic() + _KNOWN_FOR
        self._known_until.update(dict.fromkeys(names, until))

    async def _tell_names(self, names: Iterable[str]) -> None:
        news = self._news(names)
        if not news:
            return
        try:
            await self._connector.client().sadd(self._keys.known_jobs, *news)
        except ResponseError as error:
            # Whoever serves the jobs tells their names, too.
            if not is_wrong_type(error):
                raise
        else:
            self._told(news)

    async def push(self, name: str, payload: bytes) -> None:
        """Put a job on its queue.

        :raises RedisError, OSError: when Redis refuses or cannot be reached; after a broken connection the job may
            have been written.
        """
        await self._tell_names([name])
        await self._connector.client().lpush(self._keys.queue(name), payload)

    async def schedule(self, name: str, payload: bytes, run_at: int) -> None:
        """Put a job among the scheduled ones, due at ``run_at`` (epoch seconds).

        :raises RedisError, OSError: as for :meth:`push`.
        """
        await self._tell_names([name])
        await self._connector.client().zadd(self._keys.scheduled, {payload: run_at})

    def unique_key(self, name: str, args: Mapping[str, Any] | None) -> str:
        """Return the key that keeps a job unique.

        :raises ArgumentsError: when Go's JSON cannot hold the arguments.
        """
        return self._keys.unique_for(name, None if args is None else dict(args))

    async def push_unique(self, job: EnqueuedJob, payload: bytes, key: str, *, by_key: bool) -> bool:
        """Put a job on its queue unless its key is held; tell whether it was.

        :param by_key: whether the key is to hold the job, to take the place of the one that waits.
        :raises RedisError, OSError: as for :meth:`push`.
        """
        await self._tell_names([job.name])
        keys, args = [self._keys.queue(job.name), key], [payload, UNIQUE_FOR, *_held(job, payload, by_key)]
        return bool(await run_script(self._connector.client(), "enqueue_unique", keys, args))

    async def schedule_unique(self, job: EnqueuedJob, payload: bytes, key: str, *, by_key: bool) -> bool:
        """Put a job among the scheduled ones unless its key is held; tell whether it was.

        :raises RedisError, OSError: as for :meth:`push`.
        """
        await self._tell_names([job.name])
        args = [payload, UNIQUE_FOR, *_held(job, payload, by_key), job.run_at]
        return bool(await run_script(self._connector.client(), "enqueue_unique_at", [self._keys.scheduled, key], args))

    async def push_many(self, jobs: Sequence[tuple[str, bytes]]) -> list[BaseException | None]:
        """Put jobs on their queues in one round trip, in their order; tell of each what went wrong, or ``None``.

        :raises RedisError, OSError: when the connection broke: each of the jobs may have been written or not.
        """
        places: dict[str, list[int]] = {}
        for place, (name, _) in enumerate(jobs):
            places.setdefault(name, []).append(place)
        try:
            await self._tell_names(places)
        except ResponseError as refusal:
            return [refusal] * len(jobs)
        async with self._connector.client().pipeline(transaction=False) as pipe:
            for name, of_name in places.items():
                pipe.lpush(self._keys.queue(name), *(jobs[place][1] for place in of_name))
            answers = await pipe.execute(raise_on_error=False)
        outcome: list[BaseException | None] = [None] * len(jobs)
        for of_name, answer in zip(places.values(), answers, strict=True):
            if isinstance(answer, ResponseError):
                for place in of_name:
                    outcome[place] = answer
            elif isinstance(answer, REDIS_TROUBLE):
                raise answer
        return outcome


def _held(job: EnqueuedJob, payload: bytes, by_key: bool) -> tuple[bytes, str, bytes]:
    """Return what a unique key is to hold, in the parts between which the script puts the id of the waiting job."""
    return (payload[:-1] + b',"waiting":"', job.id, b'"}') if by_key else (b"1", "", b"")
