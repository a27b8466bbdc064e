"""Ways to Redis: a pooled client for the occasional command, and wires for who needs a connection of their own."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any

from redis.asyncio import BlockingConnectionPool, Connection, Redis
from redis.asyncio.client import Pipeline
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import AuthenticationError, NoPermissionError

from .. import _environment
from .._jobs.names import check_namespace
from ..errors import RedisUnusable
from . import scripts, urls
from .connection import Wire
from .discovery import ADVICE, Found, FoundTLS, Location, heed, is_elsewhere, locate
from .errors import REDIS_ERRORS, ErrorReply, ScriptMissing, is_out_of_connections
from .keys import Keys, hash_tag
from .per_loop import PerLoop
from .urls import Address

# LMOVE came with it, without which a job cannot go back to the front of its queue in one step; SMISMEMBER too.
OLDEST_REDIS = (6, 2)
_VERSION = re.compile(r"([0-9]{1,6})\.([0-9]{1,6})")

# Seconds.
_CONNECT_TIMEOUT = 5.0
_COMMAND_TIMEOUT = 10.0
_MOST_CONNECTIONS = 32

_SETTINGS: Mapping[str, Any] = {
    "protocol": 2,
    "decode_responses": False,
    # A name that another program wrote in bytes that are no UTF-8 finds its keys again.
    "encoding_errors": "surrogateescape",
    "retry": Retry(NoBackoff(), 0),
    # redis-py would cut off pops that block longer, makes a task of every write, and in that swallows cancellations
    # (Python 3.11's wait_for). Time is limited by those who ask.
    "socket_timeout": None,
    "socket_connect_timeout": _CONNECT_TIMEOUT,
    "health_check_interval": 0,
    # Two commands less at each connect.
    "driver_info": None,
}


class RedisClient:
    """Knows how to reach the Redis of a namespace, wherever it is.

    :param url: ``redis://``, ``rediss://`` or ``unix://``, with user, password and db; ``redis+sentinel://`` or
        ``redis+cluster://``, or ``rediss+…`` with TLS, with the addresses of those who know where Redis is; ``None``
        for the environment's ``ASYNCWORK_REDIS``, or ``redis://localhost:6379/0``.
    :param namespace: what a cluster places the keys by.
    :param patience: how long a command of the pooled client, or on a shared wire, may take, seconds; 10 by default.
    :raises UsageError: when the URL has another form, the namespace cannot begin a key, or a cluster would scatter its
        keys.
    """

    def __init__(self, url: str | None = None, *, namespace: str = "work", patience: float | None = None) -> None:
        check_namespace(namespace)
        self.url = _environment.choose(url, _environment.REDIS, urls.checked, urls.DEFAULT_URL)
        self.namespace = namespace
        self.patience = _COMMAND_TIMEOUT if patience is None else patience
        target = urls.read(self.url)
        self._options = {**_SETTINGS, **target.options}
        self._location = locate(self.masked_url, target, namespace, _SETTINGS)
        # The client that follows Redis, by None; and those of single nodes, by their addresses.
        self._clients = PerLoop[dict[Address | None, Redis]](dict)

    def another(self, patience: float) -> RedisClient:
        """Return a redis to the same Redis, for another thread."""
        return RedisClient(self.url, namespace=self.namespace, patience=patience)

    @property
    def masked_url(self) -> str:
        """The URL without its password, for people."""
        return urls.mask(self.url)

    def client(self) -> Any:
        """Return the pooled client of the running event loop, a ``redis.asyncio.Redis`` that answers in bytes.

        It sends a command twice only if Redis has said that it did not do it: a write whose answer was lost may have
        been done. It is not typed as what it is, for redis-py's types leave open whether an answer is bytes or text.
        """
        clients = self._clients.get()
        client = clients.get(None)
        if client is None:
            client = clients[None] = self._make_client(self._moving_options())
        return client

    async def now(self) -> float:
        """Return Redis's clock, epoch seconds.

        :raises RedisError, OSError: when Redis refuses or cannot be reached.
        """
        seconds, micros = await self.client().time()
        return int(seconds) + int(micros) / 1e6

    def client_beside(self, wire: Wire) -> Any:
        """Return a pooled client of the very node that a wire leads to, which Redis may have left."""
        node, clients = wire.node, self._clients.get()
        if self._location is None or node is None:
            return self.client()
        if node not in clients:
            clients[node] = self._make_client({**self._options, "host": node[0], "port": node[1]})
        return clients[node]

    def _make_client(self, options: Mapping[str, Any]) -> _Client:
        pool = _Pool(**{"max_connections": _MOST_CONNECTIONS, "timeout": self.patience, **options})
        return _Client(pool, self.patience)

    def _moving_options(self) -> dict[str, Any]:
        """Return what a connection is made with that leads to wherever Redis is at that time."""
        if self._location is None:
            return self._options
        encrypted = "connection_class" in self._options
        return {**self._options, "connection_class": FoundTLS if encrypted else Found, "location": self._location}

    async def keep_up(self) -> None:
        """Break the connections to where Redis was, if it is elsewhere by now: for who does not use :meth:`client`."""
        if self._location is not None:
            await self._location.keep_up()

    async def open(self, timeout: float = _COMMAND_TIMEOUT, *, with_scripts: bool = True) -> Wire:
        """Open a connection of one's own.

        :param timeout: how long an answer may take, seconds.
        :param with_scripts: whether to tell Redis all scripts at once.
        :raises RedisError, OSError: when Redis cannot be reached or refuses us.
        """
        pool = BlockingConnectionPool(**self._moving_options())
        connection: Connection = pool.make_connection()  # type: ignore[no-untyped-call]
        try:
            async with _in_time(_CONNECT_TIMEOUT):
                await connection.connect()  # type: ignore[no-untyped-call]
            wire = Wire(connection, timeout)
            if with_scripts:
                await wire.load_scripts()
        except BaseException:
            with suppress(*REDIS_ERRORS):
                await connection.disconnect(nowait=True)
            raise
        return wire

    async def check(self, hint: str = "") -> str:
        """Return the version of Redis, such as ``7.0.15``, having made sure that it can be used.

        :param hint: what more to say when nobody answers at a URL.
        :raises RedisUnusable: when it cannot be reached, refuses the credentials or the namespace, or is too old.
        """
        client, at = self.client(), f"Redis at {self.masked_url}"
        try:
            info = await _server_info(client)
            # A node of a cluster refuses keys that it does not hold.
            await client.exists(Keys(self.namespace).known_jobs)
        except AuthenticationError as error:
            raise RedisUnusable(f"{at} refuses the user or password: {error}") from error
        except ErrorReply as error:
            raise RedisUnusable(f"{at} refuses us: {error}") from error
        except REDIS_ERRORS as error:
            ask = "" if self._location or is_out_of_connections(error) else f". Is it running there?{hint}"
            raise RedisUnusable(f"{at} cannot be reached: {str(error).rstrip('.')}{ask}") from error
        version = str(info.get("redis_version", ""))
        if (found := _VERSION.match(version)) and (int(found[1]), int(found[2])) < OLDEST_REDIS:
            raise RedisUnusable(
                f"{at} is version {version}; asyncwork needs 6.2 or newer: "
                "its scripts use LMOVE, which puts a job back to the front of its queue in one step"
            )
        if info.get("redis_mode") == "cluster" and hash_tag(self.namespace) is None:
            raise RedisUnusable(
                f"{at} is a node of a cluster, which would scatter the keys of namespace {self.namespace!r}: {ADVICE}"
            )
        return version or "(version unknown)"

    async def spare_connections(self) -> int | None:
        """Return how many more clients Redis accepts now; ``None`` when this user may not see that.

        :raises RedisError, OSError: when Redis refuses otherwise or cannot be reached.
        """
        client = self.client()
        try:
            info = await client.info("clients")
            # INFO has told the limit since 7.0.
            limit = info.get("maxclients") or (await client.config_get("maxclients"))[b"maxclients"]
            return max(0, int(limit) - int(info["connected_clients"]))
        except (NoPermissionError, KeyError, ValueError):
            return None
        except ErrorReply as error:
            # Managed Redises that have renamed a command say that there is none.
            if "unknown command" not in str(error).lower():
                raise
            return None

    def limit_pooled(self, most: int) -> None:
        """Have the pooled client of the running event loop hold no more than so many connections, one at least."""
        pool = self.client().connection_pool
        pool.max_connections = min(pool.max_connections, max(1, most))

    async def give_room(self) -> None:
        """Close the pooled connections of the running event loop that are idle; each is opened again when needed."""
        with suppress(*REDIS_ERRORS):
            await self.client().connection_pool.disconnect(inuse_connections=False)

    async def ask(self, commands: Sequence[bytes]) -> list[Any]:
        """Send packed commands in one go over a pooled connection and return as many answers. An error reply stands
        in its place.

        :raises RedisError, OSError: when Redis cannot be reached, the connection broke, or no answer came in time.
        """
        async with _in_time(self.patience):
            pool = self.client().connection_pool
            connection = await pool.get_connection()
            try:
                await connection.send_packed_command(list(commands), check_health=False)
                return [await _read_reply(connection) for _ in commands]
            except BaseException:
                await connection.disconnect(nowait=True)
                raise
            finally:
                await pool.release(connection)

    async def close(self) -> None:
        """Close the pooled clients of this event loop."""
        clients = self._clients.pop() or {}
        if self._location is not None:
            await self._location.close()
        for client in clients.values():
            with suppress(*REDIS_ERRORS):
                await client.aclose()
                await client.connection_pool.disconnect()


@asynccontextmanager
async def _in_time(seconds: float) -> AsyncIterator[None]:
    """Limit the time of what is asked of Redis; asyncio's own error says nothing."""
    try:
        async with asyncio.timeout(seconds):
            yield
    except TimeoutError as error:
        raise TimeoutError(str(error) or "no answer in time") from error


async def _server_info(client: Any) -> Mapping[str, Any]:
    """Return the fields ``redis_version`` and ``redis_mode``, and perhaps others; none where Redis does not tell them.

    Managed Redises refuse INFO to many users. HELLO needs no permission.
    """
    try:
        info: dict[str, Any] = await client.info("server")
    except NoPermissionError:
        with suppress(ErrorReply):
            answer = await client.execute_command("HELLO")
            fields = dict(zip(answer[::2], answer[1::2], strict=True))
            return {"redis_version": fields[b"version"].decode(), "redis_mode": fields[b"mode"].decode()}
        return {}
    return info


class _Pool(BlockingConnectionPool):
    """Connections to where Redis is now."""

    async def get_connection(self, *args: Any, **options: Any) -> Any:
        location: Location | None = self.connection_kwargs.get("location")
        if location is not None:
            await location.keep_up()
        return await super().get_connection(*args, **options)  # type: ignore[no-untyped-call]


class _Client(Redis):
    """A client whose commands end in time, and are sent once more when they were refused because Redis is elsewhere."""

    def __init__(self, pool: _Pool, patience: float) -> None:
        super().__init__(connection_pool=pool)
        self._patience = patience

    async def execute_command(self, *args: Any, **options: Any) -> Any:
        async with _in_time(self._patience):
            try:
                return await super().execute_command(*args, **options)  # type: ignore[no-untyped-call]
            except ErrorReply as error:
                if not is_elsewhere(error):
                    raise
            return await super().execute_command(*args, **options)  # type: ignore[no-untyped-call]

    async def parse_response(self, connection: Any, command_name: str | bytes, **options: Any) -> Any:
        try:
            return await super().parse_response(connection, command_name, **options)
        except ErrorReply as error:
            heed(connection, error)
            raise

    def pipeline(self, transaction: bool = True, shard_hint: str | None = None) -> _Pipeline:
        return _Pipeline(self.connection_pool, self.response_callbacks, transaction, shard_hint, self._patience)


class _Pipeline(Pipeline):
    """A pipeline that ends in time, and is sent once more when all of it was refused because Redis is elsewhere."""

    def __init__(self, pool: Any, callbacks: Any, transaction: bool, shard_hint: str | None, patience: float) -> None:
        super().__init__(pool, callbacks, transaction, shard_hint)
        self._patience = patience

    async def execute(self, raise_on_error: bool = True) -> list[Any]:
        commands = list(self.command_stack)
        async with _in_time(self._patience):
            try:
                answers = await super().execute(raise_on_error=False)
            except ErrorReply as error:
                if not is_elsewhere(error):
                    raise
                # Of a transaction that is refused nothing is done.
                answers = [error]
            if answers and all(isinstance(each, ErrorReply) and is_elsewhere(each) for each in answers):
                self.command_stack = commands
                answers = await super().execute(raise_on_error=False)
        if raise_on_error:
            self.raise_first_error(commands, answers)
        return answers

    async def parse_response(self, connection: Any, command_name: str | bytes, **options: Any) -> Any:
        try:
            return await super().parse_response(connection, command_name, **options)
        except ErrorReply as error:
            heed(connection, error)
            raise


async def _read_reply(connection: Any) -> Any:
    try:
        return await connection.read_response()
    except ErrorReply as error:
        heed(connection, error)
        return error


async def run_script(client: Any, name: str, keys: Iterable[str | bytes], args: Iterable[Any]) -> Any:
    """Run one script on a pooled client, telling Redis its text if it does not know it.

    :raises RedisError, OSError: when Redis refuses or cannot be reached.
    """
    keys, args = list(keys), list(args)
    try:
        return await client.evalsha(scripts.digest(name).decode(), len(keys), *keys, *args)
    except ScriptMissing:
        return await client.eval(scripts.source(name), len(keys), *keys, *args)
