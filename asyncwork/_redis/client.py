"""The client of a Redis: a pool of connections for occasional commands, and dedicated connections."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any

from redis.asyncio import BlockingConnectionPool, Connection, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import AuthenticationError, NoPermissionError

from .. import _environment
from .._jobs.names import check_namespace
from ..errors import RedisUnavailable
from ..logging import guard_loggers
from . import scripts, urls
from .connection import Connection as DedicatedConnection
from .connection_settings import COMMAND_TIMEOUT, CONNECT_TIMEOUT, SETTINGS
from .discovery import (
    CLUSTER_ADVICE,
    DiscoveredConnection,
    DiscoveredTLSConnection,
    make_discovery,
)
from .errors import REDIS_ERRORS, ErrorReply, ScriptMissing, is_out_of_connections
from .keys import Keys, hash_tag
from .per_loop import PerLoop
from .pooled_client import Pool, PooledClient, read_reply, time_limit
from .subscription import Subscription
from .urls import NodeAddress

# The first version with LMOVE, which requeues a job to the front of its queue in one step, and with SMISMEMBER.
OLDEST_REDIS = (6, 2)
_VERSION = re.compile(r"([0-9]{1,6})\.([0-9]{1,6})")

_MAX_CONNECTIONS = 32

# Here, because every pool, client and enqueuer needs this module, and pytest imports the package without using it.
guard_loggers()

_SETTINGS: Mapping[str, Any] = {
    **SETTINGS,
    "retry": Retry(NoBackoff(), 0),
    # With a socket timeout, redis-py would cut off blocking pops that last longer, and would make a task of every
    # write, which swallows cancellations (Python 3.11's wait_for). The callers limit the time instead.
    "socket_timeout": None,
}


class RedisClient:
    """Connects to the Redis of a namespace, and follows it when it moves.

    :param url: ``redis://``, ``rediss://`` or ``unix://``, with user, password and db; ``redis+sentinel://`` or
        ``redis+cluster://``, or ``rediss+…`` with TLS, with the addresses of sentinels or cluster nodes; ``None`` for
        the environment's ``ASYNCWORK_REDIS``, or ``redis://localhost:6379/0``.
    :param namespace: a cluster places the keys by it.
    :param timeout: how long a command on a pooled or multiplexed connection may take, seconds; 10 by default.
    :raises UsageError: when the URL has another form, the namespace cannot begin a key, or a cluster would scatter its
        keys.
    """

    def __init__(self, url: str | None = None, *, namespace: str = "work", timeout: float | None = None) -> None:
        check_namespace(namespace)
        self.url: str = _environment.choose(url, _environment.REDIS, urls.checked, urls.DEFAULT_URL)
        self.namespace: str = namespace
        # Whether new connections load the variants of scripts for fair queues.
        self.runs_fair_queues: bool = False
        self.timeout: float = COMMAND_TIMEOUT if timeout is None else timeout
        target = urls.read(self.url)
        self._options = {**_SETTINGS, **target.options}
        self._discovery = make_discovery(self.masked_url, target, namespace, _SETTINGS)
        # By node: the clients of single nodes; by None: the client that follows Redis.
        self._subscriptions = PerLoop[list[Subscription]](list)
        self._clients = PerLoop[dict[NodeAddress | None, Redis]](dict)

    def clone(self, timeout: float) -> RedisClient:
        """Return a client of the same Redis with another timeout, seconds, for use in another thread."""
        return RedisClient(self.url, namespace=self.namespace, timeout=timeout)

    @property
    def masked_url(self) -> str:
        """The URL without its passwords, for messages."""
        return urls.mask(self.url)

    def client(self) -> Any:
        """Return the pooled client of the running event loop, a ``redis.asyncio.Redis`` with replies in bytes.

        It sends a command again only if Redis has refused it because Redis has moved. A write whose reply was lost is
        not sent again, because it may have been executed. The return type is ``Any`` because redis-py's types leave
        open whether a reply is bytes or text.
        """
        clients = self._clients.get()
        client = clients.get(None)
        if client is None:
            client = clients[None] = self._make_client(self._connection_options())
        return client

    async def now(self) -> float:
        """Return Redis's clock, epoch seconds.

        :raises RedisError, OSError: when Redis refuses or cannot be reached.
        """
        seconds, micros = await self.client().time()
        return int(seconds) + int(micros) / 1e6

    def node_client(self, connection: DedicatedConnection) -> Any:
        """Return a pooled client of the very node that a connection leads to, even if Redis has moved from there."""
        node, clients = connection.node, self._clients.get()
        if self._discovery is None or node is None:
            return self.client()
        if node not in clients:
            clients[node] = self._make_client({**self._options, "host": node[0], "port": node[1]})
        return clients[node]

    def _make_client(self, options: Mapping[str, Any]) -> PooledClient:
        pool = Pool(**{"max_connections": _MAX_CONNECTIONS, "timeout": self.timeout, **options})
        return PooledClient(pool, self.timeout)

    def _connection_options(self) -> dict[str, Any]:
        """Return the options of a connection that leads to Redis even after it has moved."""
        if self._discovery is None:
            return self._options
        kind = DiscoveredTLSConnection if "connection_class" in self._options else DiscoveredConnection
        return {**self._options, "connection_class": kind, "discovery": self._discovery}

    @property
    def may_move(self) -> bool:
        """Whether the URL is not the address of Redis itself, so that :meth:`refresh_discovery` is needed."""
        return self._discovery is not None

    async def refresh_discovery(self) -> None:
        """Break the connections if Redis has moved. To be called before a command is sent without :meth:`client`."""
        if self._discovery is not None:
            await self._discovery.refresh()

    async def open(self, timeout: float = COMMAND_TIMEOUT, *, with_scripts: bool = True) -> DedicatedConnection:
        """Open a dedicated connection.

        :param timeout: how long a reply may take, seconds.
        :param with_scripts: whether to load all scripts into Redis.
        :raises RedisError, OSError: when Redis cannot be reached or refuses the connection.
        """
        async with self._new_connection() as connection:
            dedicated = DedicatedConnection(connection, timeout)
            if with_scripts:
                await dedicated.load_scripts(fair=self.runs_fair_queues)
        return dedicated

    async def subscribe(self, channel: str) -> Subscription | None:
        """Open a connection that waits for messages on a channel; ``None`` where there may be only one pooled
        connection, because then others need it more.

        :raises RedisError, OSError: when Redis cannot be reached, or refuses the connection or the channel.
        """
        if self.client().connection_pool.max_connections <= 1:
            return None
        async with self._new_connection() as connection:
            subscription = await Subscription.begin(connection, channel, self.timeout)
        opened = self._subscriptions.get()
        opened[:] = [subscription, *(each for each in opened if not each.closed)]
        return subscription

    @asynccontextmanager
    async def _new_connection(self) -> AsyncIterator[Connection]:
        """Yield a new connection; close it if the block raises."""
        pool = BlockingConnectionPool(**self._connection_options())
        connection: Connection = pool.make_connection()  # type: ignore[no-untyped-call]
        try:
            async with time_limit(CONNECT_TIMEOUT):
                await connection.connect()  # type: ignore[no-untyped-call]
            yield connection
        except BaseException:
            with suppress(*REDIS_ERRORS):
                await connection.disconnect(nowait=True)
            raise

    async def check(self, hint: str = "") -> str:
        """Check that Redis can be used, and return its version, such as ``7.0.15``.

        :param hint: more advice for the message when no server is reached at a URL.
        :raises RedisUnavailable: when it cannot be reached, refuses the credentials or the namespace, or is too old.
        """
        client, at = self.client(), f"Redis at {self.masked_url}"
        try:
            version, mode = await _version_and_mode(client)
            # A cluster node refuses keys that it does not hold.
            await client.exists(Keys(self.namespace).known_jobs)
        except AuthenticationError as error:
            raise RedisUnavailable(f"{at} refuses the user or password: {error}") from error
        except ErrorReply as error:
            raise RedisUnavailable(f"{at} refused a command: {error}") from error
        except REDIS_ERRORS as error:
            advice = "" if self._discovery or is_out_of_connections(error) else f". Is it running there?{hint}"
            raise RedisUnavailable(f"{at} cannot be reached: {str(error).rstrip('.')}{advice}") from error
        if (found := _VERSION.match(version)) and (int(found[1]), int(found[2])) < OLDEST_REDIS:
            raise RedisUnavailable(
                f"{at} is version {version}; asyncwork needs 6.2 or newer: "
                "its scripts use LMOVE, which requeues a job to the front of its queue in one step"
            )
        if mode == "cluster" and hash_tag(self.namespace) is None:
            raise RedisUnavailable(
                f"{at} is a node of a cluster, which would scatter the keys of namespace {self.namespace!r}: "
                f"{CLUSTER_ADVICE}"
            )
        return version or "(version unknown)"

    async def spare_connections(self) -> int | None:
        """Return how many more clients Redis accepts now; ``None`` when the user may not see that.

        :raises RedisError, OSError: when Redis refuses otherwise or cannot be reached.
        """
        client = self.client()
        try:
            info = await client.info("clients")
            # INFO reports the limit since 7.0.
            limit = info.get("maxclients") or (await client.config_get("maxclients"))[b"maxclients"]
            return max(0, int(limit) - int(info["connected_clients"]))
        except (NoPermissionError, KeyError, ValueError):
            return None
        except ErrorReply as error:
            # Managed Redises have renamed the command, and report it as unknown.
            if "unknown command" not in str(error).lower():
                raise
            return None

    def limit_pooled(self, most: int) -> None:
        """Limit the connections of the running event loop's pooled client; one is always allowed."""
        pool = self.client().connection_pool
        pool.max_connections = min(pool.max_connections, max(1, most))

    async def close_idle(self) -> None:
        """Close the idle pooled connections of the running event loop. They are opened again when needed."""
        with suppress(*REDIS_ERRORS):
            await self.client().connection_pool.disconnect(inuse_connections=False)

    async def send(self, commands: Sequence[bytes]) -> list[Any]:
        """Send packed commands in one write on a pooled connection; return their replies, with errors in their places.

        :raises RedisError, OSError: when Redis cannot be reached, the connection broke, or no reply came in time.
        """
        async with time_limit(self.timeout):
            pool = self.client().connection_pool
            connection = await pool.get_connection()
            try:
                await connection.send_packed_command(list(commands), check_health=False)
                return [await read_reply(connection) for _ in commands]
            except BaseException:
                await connection.disconnect(nowait=True)
                raise
            finally:
                await pool.release(connection)

    async def close(self) -> None:
        """Close the pooled clients and the subscriptions of the running event loop."""
        for subscription in self._subscriptions.pop() or ():
            await subscription.close()
        clients = self._clients.pop() or {}
        if self._discovery is not None:
            await self._discovery.close()
        for client in clients.values():
            with suppress(*REDIS_ERRORS):
                await client.aclose()
                await client.connection_pool.disconnect()


async def _version_and_mode(client: Any) -> tuple[str, str]:
    """Return a server's version, such as ``7.0.15``, and its mode, such as ``cluster``; both empty when the user may
    not see them.

    Managed Redises refuse INFO to many users. HELLO needs no permission.
    """
    try:
        info: dict[str, Any] = await client.info("server")
        # Valkey has a name of its own for the mode.
        return str(info.get("redis_version", "")), str(info.get("redis_mode") or info.get("server_mode", ""))
    except NoPermissionError:
        with suppress(ErrorReply):
            reply = await client.execute_command("HELLO")
            fields = dict(zip(reply[::2], reply[1::2], strict=True))
            return fields[b"version"].decode(), fields[b"mode"].decode()
        return "", ""


async def run_script(
    client: Any,
    name: str,
    keys: Iterable[str | bytes],
    args: Iterable[Any],
    *,
    fair: Sequence[Sequence[str]] = (),
) -> Any:
    """Run one script on a pooled client, with its source if Redis does not have it.

    :param fair: the keys of the fair queues whose jobs it moves.
    :raises RedisError, OSError: when Redis refuses or cannot be reached.
    """
    keys, args = list(keys), list(args)
    if fair:
        keys, args = [*keys, *(key for each in fair for key in each)], [*args, len(fair)]
        if name in scripts.VARIANTS:
            name = scripts.FAIR + name
    try:
        return await client.evalsha(scripts.digest(name).decode(), len(keys), *keys, *args)
    except ScriptMissing:
        return await client.eval(scripts.source(name), len(keys), *keys, *args)
