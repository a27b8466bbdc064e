"""Blocking connections to Redis, for threads without an event loop, that follow a Redis that moves."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, TypeVar

from redis.backoff import NoBackoff
from redis.retry import Retry

from .. import _environment
from .blocking_discovery import BlockingDiscovery, blocking_class
from .connection_settings import COMMAND_TIMEOUT, SETTINGS
from .discovery import advise_on_cluster, check_cluster_namespace, is_moved
from .enqueue_steps import Steps
from .errors import REDIS_ERRORS, ErrorReply, mark_unsent
from .keys import Keys
from .registered_names import REGISTERED_FOR, registration
from .urls import DEFAULT_URL, Kind, NodeAddress, Target, checked, mask, read

T = TypeVar("T")

_MOST_CONNECTIONS = 8

_SETTINGS: Mapping[str, Any] = {
    **SETTINGS,
    # A write whose reply was lost may have been executed.
    "retry": Retry(NoBackoff(), 0),
    "socket_timeout": COMMAND_TIMEOUT,
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
        self._namespace = namespace
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

    def send(self, commands: Sequence[bytes]) -> list[Any]:
        """Send packed commands; return their replies, with errors in their places.

        :raises RedisError, OSError: when Redis cannot be reached, the connection broke, or no reply came in time.
        """
        return self._write((), commands)

    def open(self) -> SyncConnection:
        """Open a connection that is not shared. The caller closes it.

        :raises RedisError, OSError: when Redis cannot be reached or refuses the connection.
        """
        return self._connections().open()

    def close(self) -> None:
        """Close the idle connections of this process. New ones are opened when they are needed."""
        self._connections().close()

    def _connections(self) -> _Connections:
        pid = os.getpid()
        found = self._processes.get(pid)
        if found is None:
            # Threads may do this at the same time; one of them sets it.
            found = self._processes.setdefault(pid, _Connections(self._target, self._namespace))
            for parent in [each for each in list(self._processes) if each != pid]:
                if (inherited := self._processes.pop(parent, None)) is not None:
                    inherited.abandon()
        return found

    def _write(self, names: Sequence[str], commands: Sequence[bytes]) -> list[Any]:
        """Send commands, and once more if Redis refused all of them because it has moved, so that none was executed."""
        connections = self._connections()
        replies = self._send(connections, names, commands)
        if all(map(is_moved, replies)):
            connections.discard()
            replies = self._send(connections, names, commands)
        if self._target.kind is Kind.PLAIN:
            for reply in replies:
                advise_on_cluster(reply)
        return replies

    def _send(self, connections: _Connections, names: Sequence[str], commands: Sequence[bytes]) -> list[Any]:
        """Send commands over one connection, on which the names are registered first."""
        try:
            connection = connections.take()
        except REDIS_ERRORS as error:
            mark_unsent(error)
            raise
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


class SyncConnection:
    """A connection that one thread uses at a time. It is not used any more after it broke.

    :ivar address: where it leads; ``None`` if the URL says it.
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

    def read_message(self, seconds: float) -> None:
        """Wait until a message of a channel has come, or time is up.

        :raises RedisError, OSError: when the connection broke.
        """
        if self._connection.can_read(seconds):
            _read_reply(self._connection)

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
    """The connections of one process. A thread waits for a free one when there are as many as may be."""

    def __init__(self, target: Target, namespace: str) -> None:
        self._options = {**_SETTINGS, **target.options}
        self._class = blocking_class(self._options.pop("connection_class", None))
        self._free = threading.Semaphore(self._options.pop("max_connections", _MOST_CONNECTIONS))
        self._lock = threading.Lock()
        self._idle: list[SyncConnection] = []
        self._discovery = None if target.kind is Kind.PLAIN else BlockingDiscovery(target, namespace, _SETTINGS)

    def take(self) -> SyncConnection:
        """Return a connection that no other thread uses, open.

        :raises RedisError, OSError: when there is none and none can be opened, or none became free in time.
        """
        if not self._free.acquire(timeout=COMMAND_TIMEOUT):
            raise TimeoutError("no connection became free in time")
        try:
            address = None if self._discovery is None else self._discovery.find()
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

    def open(self) -> SyncConnection:
        """Open a connection beside those that are counted.

        :raises RedisError, OSError: when Redis cannot be reached or refuses the connection.
        """
        return self._open(None if self._discovery is None else self._discovery.find())

    def _open(self, address: NodeAddress | None) -> SyncConnection:
        node = {} if address is None else {"host": address[0], "port": address[1]}
        connection = SyncConnection(self._class(**{**self._options, **node}), address)
        try:
            connection.connect()
        except BaseException:
            connection.close()
            if self._discovery is not None:
                self._discovery.invalidate()
            raise
        return connection

    def release(self, connection: SyncConnection) -> None:
        """Let another thread use a connection."""
        with self._lock:
            self._idle.append(connection)
        self._free.release()

    def discard(self) -> None:
        """Close the idle connections, and find Redis anew."""
        if self._discovery is not None:
            self._discovery.invalidate()
        self.close()

    def close(self) -> None:
        """Close the idle connections."""
        with self._lock:
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()

    def abandon(self) -> None:
        """Close this process's copies of a parent's connections, with which the parent goes on.

        Without the lock, which a thread of the parent may have held when it forked.
        """
        for connection in self._idle:
            connection.close()


def _read_reply(connection: Any) -> Any:
    """Return the next reply; an error of a command is returned, too."""
    try:
        return connection.read_response()
    except ErrorReply as error:
        return error
