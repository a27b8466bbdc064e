"""redis-py's pooled client, with a time limit for each request, that follows a Redis that moves."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.client import Pipeline as RedisPyPipeline

from .discovery import Discovery, reconnect_if_moved, resend_if_moved
from .errors import ErrorReply


@asynccontextmanager
async def time_limit(seconds: float) -> AsyncIterator[None]:
    """Limit the time of a request to Redis. asyncio's own error has no message."""
    try:
        async with asyncio.timeout(seconds):
            yield
    except TimeoutError as error:
        raise TimeoutError(str(error) or "Redis did not reply in time") from error


class Pool(BlockingConnectionPool):
    """A pool of connections that breaks them when Redis has moved."""

    async def get_connection(self, *args: Any, **options: Any) -> Any:
        discovery: Discovery | None = self.connection_kwargs.get("discovery")
        if discovery is not None:
            await discovery.refresh()
        return await super().get_connection(*args, **options)  # type: ignore[no-untyped-call]


class PooledClient(Redis):
    """A client with a time limit for each command, which is sent once more if Redis has moved."""

    def __init__(self, pool: Pool, timeout: float) -> None:
        super().__init__(connection_pool=pool)
        self._timeout = timeout

    async def execute_command(self, *args: Any, **options: Any) -> Any:
        async with time_limit(self._timeout):
            return await resend_if_moved(partial(super().execute_command, *args, **options))

    async def parse_response(self, connection: Any, command_name: str | bytes, **options: Any) -> Any:
        try:
            return await super().parse_response(connection, command_name, **options)
        except ErrorReply as error:
            reconnect_if_moved(connection, error)
            raise

    def pipeline(self, transaction: bool = True, shard_hint: str | None = None) -> PooledPipeline:
        return PooledPipeline(self.connection_pool, self.response_callbacks, transaction, shard_hint, self._timeout)


class PooledPipeline(RedisPyPipeline):
    """A pipeline with a time limit, which is sent once more if Redis has moved."""

    def __init__(self, pool: Any, callbacks: Any, transaction: bool, shard_hint: str | None, timeout: float) -> None:
        super().__init__(pool, callbacks, transaction, shard_hint)
        self._timeout = timeout

    async def execute(self, raise_on_error: bool = True) -> list[Any]:
        commands = list(self.command_stack)
        async with time_limit(self._timeout):
            replies = await resend_if_moved(self._send, commands)
        if raise_on_error:
            self.raise_first_error(commands, replies)
        return replies

    async def _send(self, commands: list[Any]) -> list[Any]:
        # redis-py empties it.
        self.command_stack = commands
        return await super().execute(raise_on_error=False)

    async def parse_response(self, connection: Any, command_name: str | bytes, **options: Any) -> Any:
        try:
            return await super().parse_response(connection, command_name, **options)
        except ErrorReply as error:
            reconnect_if_moved(connection, error)
            raise


async def read_reply(connection: Any) -> Any:
    """Return the next reply on a connection; an error is returned, too."""
    try:
        return await connection.read_response()
    except ErrorReply as error:
        reconnect_if_moved(connection, error)
        return error
