"""Blocking connections to Redis, for threads without an event loop, that follow a Redis that moves."""

from __future__ import annotations

import math
import os
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, TypeVar

from redis import connection as redis_connection
from redis.backoff import NoBackoff
from redis.connection import Connection
from redis.retry import Retry

from .. import _environment
from .discovery import MAX_AGE, QUERY_TIMEOUT, advise_on_cluster, check_cluster_namespace, is_moved
from .enqueue_steps import Steps
from .errors import REDIS_ERRORS, ConnectionBroken, ErrorReply
from .keys import Keys
from .registered_names import REGISTERED_FOR, registration
from .topology import SLOTS_QUERY, master_query, read_master, read_slots, slot_of
from .urls import DEFAULT_URL, Kind, NodeAddress, Target, checked, mask, read

T = TypeVar("T")

# Seconds.
_CONNECT_TIMEOUT = 5.0
_COMMAND_TIMEOUT = 10.0
_MOST_CONNECTIONS = 8

_SETTINGS: dict[str, Any] = {
    "protocol": 2,
    "encoding_errors": "surrogateescape",
    # A write whose reply was lost may have been executed.
    "retry": Retry(NoBackoff(), 0),
    "socket_timeout": _COMMAND_TIMEOUT,
    "socket_connect_timeout": _CONNECT_TIMEOUT,
    "driver_info": None,
}


class BlockingClient:
    """A few connections that threads share; each is used by one thread at a time.

    A process that was forked opens its own.

    :param url: as for :class:`~asyncwork._redis.client.RedisClient`.
    :raises UsageError: when the URL has another form, or a cluster would scatter the keys of the namespace.
    """

    def __init__(self, url: str | None, namespace: str) -> None:
        self.url = _environment.choose(url, _environment.REDIS, checked, DEFAULT_URL)
        self._keys = Keys(namespace)
        target = read(self.url)
        if target.kind is Kind.CLUSTER:
            check_cluster_namespace(self.masked_url, namespace)
        self._target = target
        self._slot = slot_of(namespace)
        options = dict(target.options)
        self._most = options.pop("max_connections", _MOST_CONNECTIONS)
        self._options = {**_SETTINGS, **options}
        self._processes: dict[int, _Connections] = {}

    @property
    def masked_url(self) -> str:
        """The URL without its passwords, for messages."""
        return mask(self.url)

    def run(self, steps: Steps[T]) -> T:
        """Send the requests of some steps; return their result.

        :raises RedisError, OSError: when Redis refuses or cannot be reached, as the steps let it through.
        """
        try:
            request = next(steps)
            while True:
                try:
                    replies = self._write(*request)
                except REDIS_ERRORS as error:
                    request = steps.throw(error)
                else:
                    request = steps.send(replies)
        except StopIteration as end:
            result: T = end.value
            return result

    def close(self) -> None:
        """Close the idle connections of this process. New ones are opened when they are needed."""
        self._connections().close()

    def _connections(self) -> _Connections:
        pid = os.getpid()
        found = self._processes.get(pid)
        if found is None:
            for parent in list(self._processes):
                # The parent goes on with them: only this process's copies of the sockets are closed.
                self._processes.pop(parent).abandon()
            # Threads may do this at the same time; one of them sets it.
            fresh = _Connections(self._target, self._options, self._slot, self._most)
            found = self._processes.setdefault(pid, fresh)
        return found

    def _write(self, names: Sequence[str], commands: Sequence[bytes]) -> list[Any]:
        """Send commands, and once more if Redis refused all of them because it has moved, so that none was executed."""
        connections = self._connections()
        replies = self._send(connections, names, commands)
        if all(map(is_moved, replies)):
            connections.discard()
            replies = self._send(connections, names, commands)
        for reply in replies:
            if self._target.kind is Kind.PLAIN:
                advise_on_cluster(reply)
        return replies

    def _send(self, connections: _Connections, names: Sequence[str], commands: Sequence[bytes]) -> list[Any]:
        """Send commands over one connection, on which the names are registered first."""
        connection = connections.take()
        try:
            now = time.monotonic()
            new = [name for name in names if connection.registered_until.get(name, 0) <= now]
            if new:
                registered, *replies = connection.send([registration(self._keys, new), *commands])
                # If it failed, the jobs are enqueued all the same: the pools that serve them register the names, too.
                if not isinstance(registered, Exception):
                    connection.registered_until.update(dict.fromkeys(new, now + REGISTERED_FOR))
                return replies
            return connection.send(commands)
        finally:
            connections.release(connection)


class _BlockingConnection:
    """One connection, opened when first used, and again after it broke.

    :ivar registered_until: by job name, until when it need not be registered again, by ``time.monotonic``.
    """

    def __init__(self, connection: Any, address: NodeAddress | None) -> None:
        self.registered_until: dict[str, float] = {}
        self.address = address
        self._connection = connection

    def send(self, commands: Sequence[bytes]) -> list[Any]:
        """Send packed commands in one write; return their replies, with errors in their places.

        :raises RedisError, OSError: when Redis cannot be reached, the connection broke, or no reply came in time.
        """
        connection = self._connection
        try:
            connection.send_packed_command([b"".join(commands)], check_health=False)
            return [_read_reply(connection) for _ in commands]
        except BaseException:
            self.close()
            raise

    def connect(self) -> None:
        """Open the connection.

        :raises RedisError, OSError: when Redis cannot be reached or refuses the connection.
        """
        self._connection.connect()

    @property
    def usable(self) -> bool:
        """Whether it is open, and Redis has not closed it while it was idle."""
        try:
            return self._connection.is_connected and not self._connection.can_read(0)
        except REDIS_ERRORS:
            return False

    def close(self) -> None:
        """Close it; never raises what Redis or the network may report."""
        with suppress(*REDIS_ERRORS):
            self._connection.disconnect()


class _Connections:
    """The connections of one process.

    :param most: how many there may be at once; a thread waits for a free one.
    """

    def __init__(self, target: Target, options: dict[str, Any], slot: int, most: int) -> None:
        self._free = threading.Semaphore(most)
        self._lock = threading.Lock()
        self._idle: list[_BlockingConnection] = []
        self._location = None if target.kind is Kind.PLAIN else _Location(target, slot)
        self._class = _blocking_class(options.get("connection_class"))
        self._options = {name: value for name, value in options.items() if name != "connection_class"}

    def take(self) -> _BlockingConnection:
        """Return a connection that no other thread uses, open.

        :raises RedisError, OSError: when there is none and none can be opened, or none became free in time.
        """
        if not self._free.acquire(timeout=_COMMAND_TIMEOUT):
            raise TimeoutError("no connection became free in time")
        try:
            address = None if self._location is None else self._location.find()
            while True:
                with self._lock:
                    connection = self._idle.pop() if self._idle else None
                if connection is None:
                    break
                if connection.usable and connection.address == address:
                    return connection
                connection.close()
            connection = self._open(address)
        except BaseException:
            self._free.release()
            raise
        return connection

    def _open(self, address: NodeAddress | None) -> _BlockingConnection:
        node = {} if address is None else {"host": address[0], "port": address[1]}
        connection = _BlockingConnection(self._class(**{**self._options, **node}), address)
        try:
            connection.connect()
        except BaseException:
            connection.close()
            if self._location is not None:
                self._location.invalidate()
            raise
        return connection

    def release(self, connection: _BlockingConnection) -> None:
        """Let another thread use a connection."""
        with self._lock:
            self._idle.append(connection)
        self._free.release()

    def discard(self) -> None:
        """Close the idle connections, and find Redis anew."""
        if self._location is not None:
            self._location.invalidate()
        self.close()

    def close(self) -> None:
        """Close the idle connections."""
        with self._lock:
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()

    def abandon(self) -> None:
        """Close this process's copies of a parent's connections, whose lock a thread of the parent may hold."""
        for connection in self._idle:
            connection.close()


class _Location:
    """Where Redis is, as sentinels or the nodes of a cluster say. Queried again after a second of use."""

    def __init__(self, target: Target, slot: int) -> None:
        self._target = target
        self._slot = slot
        self._lock = threading.Lock()
        self._nodes = list(target.nodes)
        self._address: NodeAddress | None = None
        self._queried_at = -math.inf

    def find(self) -> NodeAddress:
        """Return the address of Redis.

        :raises ConnectionBroken: when no node knows it; the message names each node and its error.
        """
        with self._lock:
            fresh = time.monotonic() - self._queried_at <= MAX_AGE
            if self._address is not None and (fresh or self._target.kind is Kind.CLUSTER):
                return self._address
            errors = []
            for node in list(self._nodes):
                try:
                    address = self._query(node)
                except REDIS_ERRORS as error:
                    errors.append(f"{node[0]}:{node[1]}: {error}")
                    continue
                self._nodes.remove(node)
                self._nodes.insert(0, node)
                self._address, self._queried_at = address, time.monotonic()
                return address
            if self._address is not None:
                # A master that no sentinel speaks of may still be the master.
                return self._address
            raise ConnectionBroken(f"no node knows where Redis is ({'; '.join(errors)})")

    def invalidate(self) -> None:
        """Query again before the next command, beginning with another node."""
        with self._lock:
            if self._address is not None:
                self._address = None
                self._nodes.append(self._nodes.pop(0))

    def _query(self, node: NodeAddress) -> NodeAddress:
        options = {**_SETTINGS, "socket_timeout": QUERY_TIMEOUT, "socket_connect_timeout": QUERY_TIMEOUT}
        options |= self._target.node_options
        kind = _blocking_class(options.pop("connection_class", None))
        connection: Any = kind(**{**options, "host": node[0], "port": node[1]})
        try:
            connection.connect()
            if self._target.kind is Kind.SENTINEL:
                connection.send_command(*master_query(self._target.service))
                return read_master(connection.read_response(), self._target.service)
            connection.send_command(*SLOTS_QUERY)
            nodes, holder = read_slots(connection.read_response(), self._slot, node)
        finally:
            with suppress(*REDIS_ERRORS):
                connection.disconnect()
        self._nodes = list(dict.fromkeys([node, *nodes, *self._target.nodes]))
        if holder is None:
            raise ErrorReply("it knows no node that holds that slot")
        return holder


def _blocking_class(kind: type | None) -> type[Connection]:
    """Return redis-py's blocking class that corresponds to one for asyncio."""
    blocking: type[Connection] = getattr(redis_connection, "Connection" if kind is None else kind.__name__)
    return blocking


def _read_reply(connection: Any) -> Any:
    """Return the next reply; an error of a command is returned, too."""
    try:
        return connection.read_response()
    except ErrorReply as error:
        return error
