"""What an enqueuer writes to Redis."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

from ..models import EnqueuedJob
from . import scripts, unique_value
from .errors import RedisError, ScriptMissing
from .multiplexer import Multiplexer
from .namespace import Namespace
from .per_loop import PerLoop
from .protocol import command, encode, pack

# Seconds after which a job name is registered again, because Redis may have lost it with its data; gocraft/work's 300
# are long for that.
_REGISTERED_FOR = 5
# Seconds after which a unique key expires.
UNIQUE_TTL = 86_400


class Producer:
    """Writes jobs to a namespace."""

    def __init__(self, namespace: Namespace) -> None:
        self._redis = namespace.redis
        self._keys = namespace.keys
        self._connections = PerLoop(lambda: Multiplexer(self._redis), Multiplexer.abandon)

    async def close(self) -> None:
        """Close the connection of this event loop. A job enqueued afterwards opens a new one."""
        if (connection := self._connections.pop()) is not None:
            await connection.close()

    async def _write(self, names: Iterable[str], commands: Sequence[bytes]) -> list[Any]:
        """Send commands that write jobs of these names, after registering the names; return the commands' replies."""
        now, connection, names = time.monotonic(), self._connections.get(), list(names)
        new = [name for name in names if connection.registered_until.get(name, 0) <= now]
        if new:
            return await self._register(connection, new, commands)
        opened = connection.opened
        replies = await connection.send(commands)
        if connection.opened != opened:
            # They went out on a new connection, maybe to a Redis that has lost its data. The jobs are enqueued even if
            # the names cannot be registered now.
            with suppress(RedisError, OSError):
                await self._register(connection, names)
        return replies

    async def _register(
        self, connection: Multiplexer, names: Sequence[str], commands: Sequence[bytes] = ()
    ) -> list[Any]:
        """Send a registration of names and then the commands; return the commands' replies."""
        until = time.monotonic() + _REGISTERED_FOR
        registration = command(b"SADD", encode(self._keys.known_jobs), *map(encode, names))
        registered, *replies = await connection.send([registration, *commands])
        # If it failed, the jobs are enqueued all the same: the pools that serve them register the names, too.
        if not isinstance(registered, Exception):
            connection.registered_until.update(dict.fromkeys(names, until))
        return replies

    async def _write_one(self, name: str, request: bytes) -> Any:
        (reply,) = await self._write((name,), (request,))
        if isinstance(reply, Exception):
            raise reply
        return reply

    async def push(self, name: str, payload: bytes) -> None:
        """Enqueue a job.

        :raises RedisError, OSError: when Redis refuses or cannot be reached. After a broken connection the job may have
            been written.
        """
        await self._write_one(name, command(b"LPUSH", encode(self._keys.queue(name)), payload))

    async def schedule(self, name: str, payload: bytes, run_at: int) -> None:
        """Schedule a job for ``run_at`` (epoch seconds).

        :raises RedisError, OSError: as for :meth:`push`.
        """
        await self._write_one(name, command(b"ZADD", encode(self._keys.scheduled), b"%d" % run_at, payload))

    def unique_key(self, name: str, args: Mapping[str, Any] | None) -> str:
        """Return the unique key of a job.

        :raises ArgumentsError: when Go's JSON cannot hold the arguments.
        """
        return self._keys.unique_for(name, None if args is None else dict(args))

    async def push_unique(self, job: EnqueuedJob, payload: bytes, key: str, *, by_key: bool) -> bool:
        """Enqueue a job unless its unique key exists; return whether it was enqueued.

        :param by_key: whether the job has a key map, so that a duplicate is to run in place of the waiting job.
        :raises RedisError, OSError: as for :meth:`push`.
        """
        value = unique_value.parts(payload, job.id, by_key=by_key)
        keys, args = [self._keys.queue(job.name), key], [payload, b"%d" % UNIQUE_TTL, *value]
        return bool(await self._run_script(job.name, "enqueue_unique", keys, args))

    async def schedule_unique(self, job: EnqueuedJob, payload: bytes, key: str, *, by_key: bool) -> bool:
        """Schedule a job unless its unique key exists; return whether it was scheduled.

        :raises RedisError, OSError: as for :meth:`push`.
        """
        value = unique_value.parts(payload, job.id, by_key=by_key)
        args = [payload, b"%d" % UNIQUE_TTL, *value, b"%d" % job.run_at]
        return bool(await self._run_script(job.name, "enqueue_unique_at", [self._keys.scheduled, key], args))

    async def _run_script(self, name: str, script: str, keys: Sequence[str], args: Sequence[bytes]) -> Any:
        packed_keys = pack(*map(encode, keys))
        call = partial(scripts.call, script, len(keys), packed_keys, args)
        try:
            return await self._write_one(name, call())
        except ScriptMissing:
            return await self._write_one(name, call(with_source=True))

    async def push_many(self, names: Sequence[str], payloads: Sequence[bytes]) -> list[BaseException | None]:
        """Enqueue jobs in one round trip, in their order; return the error of each, or ``None``.

        :raises RedisError, OSError: when the connection broke. Each of the jobs may have been written or not.
        """
        by_name: defaultdict[str, list[bytes]] = defaultdict(list)
        for name, payload in zip(names, payloads, strict=True):
            by_name[name].append(payload)
        commands = [command(b"LPUSH", encode(self._keys.queue(name)), *of_name) for name, of_name in by_name.items()]
        replies = zip(by_name, await self._write(by_name, commands), strict=True)
        errors = {name: reply for name, reply in replies if isinstance(reply, Exception)}
        return [errors.get(name) for name in names]
