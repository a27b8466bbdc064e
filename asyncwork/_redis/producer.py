"""The producer: writes what is enqueued to Redis, over one connection for each event loop."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from functools import lru_cache
from typing import Any, TypeVar

from .enqueue_steps import Steps
from .errors import REDIS_ERRORS
from .multiplexer import Multiplexer
from .namespace import Namespace
from .per_loop import PerLoop
from .protocol import command, encode, value_of
from .registered_names import REGISTERED_FOR, registration

T = TypeVar("T")


class Producer:
    """Writes jobs to a namespace."""

    def __init__(self, namespace: Namespace) -> None:
        self._redis = namespace.redis
        self._keys = namespace.keys
        # Remembered, because making one costs as much as sending it.
        self._queue_key = lru_cache(maxsize=1024)(lambda name: encode(namespace.keys.queue(name)))
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
            await self._register_again(connection, names)
        return replies

    async def _register_again(self, connection: Multiplexer, names: Sequence[str]) -> None:
        """Register names of jobs that went out on a new connection, maybe to a Redis that has lost its data."""
        # The jobs are enqueued even if the names cannot be registered now.
        with suppress(*REDIS_ERRORS):
            await self._register(connection, names)

    async def _register(
        self, connection: Multiplexer, names: Sequence[str], commands: Sequence[bytes] = ()
    ) -> list[Any]:
        """Send a registration of names and then the commands; return the commands' replies."""
        until = time.monotonic() + REGISTERED_FOR
        registered, *replies = await connection.send([registration(self._keys, names), *commands])
        # If it failed, the jobs are enqueued all the same: the pools that serve them register the names, too.
        if not isinstance(registered, Exception):
            connection.registered_until.update(dict.fromkeys(names, until))
        return replies

    async def push(self, name: str, payload: bytes) -> None:
        """Enqueue a job.

        :raises RedisError, OSError: when Redis refuses or cannot be reached. After a broken connection the job may have
            been written.
        """
        connection, key = self._connections.get(), self._queue_key(name)
        if connection.registered_until.get(name, 0) <= time.monotonic():
            (reply,) = await self._register(connection, (name,), (command(b"LPUSH", key, payload),))
            value_of(reply)
            return
        opened = connection.opened
        await connection.push(key, payload)
        if connection.opened != opened:
            await self._register_again(connection, (name,))

    async def run(self, steps: Steps[T]) -> T:
        """Send the requests of some steps; return their result.

        :raises RedisError, OSError: when Redis refuses or cannot be reached, as the steps let it through.
        """
        try:
            request = next(steps)
            while True:
                try:
                    replies = await self._write(*request)
                except REDIS_ERRORS as error:
                    request = steps.throw(error)
                else:
                    request = steps.send(replies)
        except StopIteration as end:
            result: T = end.value
            return result
