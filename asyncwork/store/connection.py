"""Ways to Redis: a pooled client for the occasional command, and wires for who needs a connection of their own."""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import Iterable
from contextlib import suppress
from typing import Any

from redis.asyncio import BlockingConnectionPool, Connection, Redis
from redis.asyncio.client import Pipeline
from redis.asyncio.connection import parse_url
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import AuthenticationError, NoScriptError, RedisError, ResponseError

from ..errors import RedisUnusable, UsageError
from . import scripts

DEFAULT_URL = "redis://localhost:6379/0"
# LMOVE came with it, without which a job cannot go back to the front of its queue in one step; SMISMEMBER too.
OLDEST_REDIS = (6, 2)
# What Redis being away, busy or misconfigured looks like. Anything else is a defect of ours.
REDIS_TROUBLE = (RedisError, OSError)

# Seconds.
_CONNECT_TIMEOUT = 5.0
_COMMAND_TIMEOUT = 10.0
_MOST_CONNECTIONS = 32


def mask(url: str) -> str:
    """Return a Redis URL without its password, also one that is malformed. A password may have an @."""
    return re.sub(r"([?&]password=)[^&]*", r"\1***", re.sub(r"(//[^/@:]*:|^[^/@:]*:(?!//)).*@", r"\1***@", url))


class Connector:
    """Knows how to reach one Redis.

    :param url: ``redis://``, ``rediss://`` or ``unix://``, with user, password and db; ``None`` for the environment's
        ``ASYNCWORK_REDIS``, or ``redis://localhost:6379/0``.
    :raises UsageError: when the URL has another form.
    """

    def __init__(self, url: str | None = None) -> None:
        self.url = url if url is not None else (os.environ.get("ASYNCWORK_REDIS") or DEFAULT_URL)
        try:
            valid = bool(re.match(r"(redis|rediss|unix)://", self.url)) and bool(parse_url(self.url))
        except (ValueError, AttributeError, TypeError):
            valid = False
        if not valid:
            raise UsageError(
                f"not a Redis URL: {mask(str(self.url))!r}; write redis://[user:password@]host:port/db, "
                "rediss://… for TLS, or unix:///path/to/socket?db=0"
            )
        self._client: Redis | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    @property
    def masked_url(self) -> str:
        """The URL without its password, for people."""
        return mask(self.url)

    def client(self) -> Any:
        """Return the pooled client of the running event loop, a ``redis.asyncio.Redis`` that answers in bytes.

        It never sends a command twice by itself: a write whose answer was lost may have been done. It is not typed as
        what it is, for redis-py's types leave open whether an answer is bytes or text.
        """
        loop = asyncio.get_running_loop()
        if self._client is None or self._loop is not loop:
            pool = BlockingConnectionPool.from_url(
                self.url, max_connections=_MOST_CONNECTIONS, timeout=_COMMAND_TIMEOUT, **self._settings()
            )
            self._client, self._loop = _Client(connection_pool=pool), loop
        return self._client

    def _settings(self) -> dict[str, Any]:
        settings: dict[str, Any] = {
            "protocol": 2,
            "decode_responses": False,
            # A name that another program wrote in bytes that are no UTF-8 finds its keys again.
            "encoding_errors": "surrogateescape",
            "retry": Retry(NoBackoff(), 0),
            # redis-py would cut off pops that block longer, makes a task of every write, and in that swallows
            # cancellations (Python 3.11's wait_for). Time is limited by those who ask.
            "socket_timeout": None,
            "socket_connect_timeout": _CONNECT_TIMEOUT,
            "health_check_interval": 0,
            # Two commands less at each connect.
            "driver_info": None,
        }
        if not self.url.startswith("unix"):
            settings["socket_keepalive"] = True
        return settings

    async def open(self, timeout: float = _COMMAND_TIMEOUT) -> Wire:
        """Open a connection of one's own, with the scripts loaded.

        :param timeout: how long an answer may take, seconds.
        :raises RedisError, OSError: when Redis cannot be reached or refuses us.
        """
        pool = BlockingConnectionPool.from_url(self.url, **self._settings())
        connection: Connection = pool.make_connection()  # type: ignore[no-untyped-call]
        wire = Wire(connection, timeout)
        try:
            async with asyncio.timeout(_CONNECT_TIMEOUT):
                await connection.connect()  # type: ignore[no-untyped-call]
            await wire.load_scripts()
        except BaseException:
            await wire.close()
            raise
        return wire

    async def check(self) -> str:
        """Return the version of Redis, such as ``7.0.15``, having made sure that it can be used.

        :raises RedisUnusable: when it cannot be reached, refuses the credentials, or is too old.
        """
        try:
            info = await self.client().info("server")
        except AuthenticationError as error:
            raise RedisUnusable(f"Redis at {self.masked_url} refuses the user or password: {error}") from error
        except ResponseError as error:
            raise RedisUnusable(f"Redis at {self.masked_url} refuses us: {error}") from error
        except REDIS_TROUBLE as error:
            raise RedisUnusable(
                f"Redis at {self.masked_url} cannot be reached: {str(error).rstrip('.')}. Is it running there? "
                "(`--embedded` starts one of your own)"
            ) from error
        version = str(info["redis_version"])
        if tuple(int(part) for part in version.split(".")[:2]) < OLDEST_REDIS:
            raise RedisUnusable(
                f"Redis at {self.masked_url} is version {version}; asyncwork needs 6.2 or newer: "
                "its scripts use LMOVE, which puts a job back to the front of its queue in one step"
            )
        return version

    async def close(self) -> None:
        """Close the pooled client."""
        client, self._client = self._client, None
        if client is not None and self._loop is asyncio.get_running_loop():
            with suppress(*REDIS_TROUBLE):
                await client.aclose()
                await client.connection_pool.disconnect()


class _Client(Redis):
    """A client whose commands end in time."""

    async def execute_command(self, *args: Any, **options: Any) -> Any:
        async with asyncio.timeout(_COMMAND_TIMEOUT):
            return await super().execute_command(*args, **options)  # type: ignore[no-untyped-call]

    def pipeline(self, transaction: bool = True, shard_hint: str | None = None) -> _Pipeline:
        return _Pipeline(self.connection_pool, self.response_callbacks, transaction, shard_hint)


class _Pipeline(Pipeline):
    """A pipeline that ends in time."""

    async def execute(self, raise_on_error: bool = True) -> list[Any]:
        async with asyncio.timeout(_COMMAND_TIMEOUT):
            return await super().execute(raise_on_error)


class Wire:
    """One connection, written to and read from directly: a round trip costs a fraction of a pooled client's."""

    def __init__(self, connection: Connection, timeout: float) -> None:
        self._connection = connection
        self._timeout = timeout

    async def ask(self, commands: Iterable[bytes], answers: int, timeout: float | None = None) -> list[Any]:
        """Send packed commands in one go and return as many answers.

        An error reply is returned in its place as a ``ResponseError``, so that the other answers are not lost.
        When anything else goes wrong the connection is closed: what was asked may have been done or not.

        :param timeout: how long the last answer may take, seconds, if not what the wire was opened with.
        :raises RedisError, OSError: when the connection broke or no answer came in time.
        """
        try:
            async with asyncio.timeout(self._timeout if timeout is None else timeout):
                await self._connection.send_packed_command(commands, check_health=False)
                return [await self._answer() for _ in range(answers)]
        except BaseException:
            await self.close()
            raise

    async def _answer(self) -> Any:
        try:
            return await self._connection.read_response(disable_decoding=True)
        except ResponseError as error:
            return error

    async def load_scripts(self) -> None:
        """Tell Redis the scripts; needed again after it restarted or forgot them."""
        names = scripts.names()
        commands = [scripts.load_command(name) for name in names]
        for answer in await self.ask(commands, len(commands)):
            if isinstance(answer, ResponseError):
                raise answer

    async def close(self) -> None:
        """Close the connection; never raises what Redis or the network may say to that."""
        with suppress(*REDIS_TROUBLE):
            await self._connection.disconnect(nowait=True)


async def run_script(client: Any, name: str, keys: Iterable[str | bytes], args: Iterable[Any]) -> Any:
    """Run one script on a pooled client, telling Redis its text if it does not know it.

    :raises RedisError, OSError: when Redis refuses or cannot be reached.
    """
    keys, args = list(keys), list(args)
    try:
        return await client.evalsha(scripts.digest(name).decode(), len(keys), *keys, *args)
    except NoScriptError:
        return await client.eval(scripts.source(name), len(keys), *keys, *args)
