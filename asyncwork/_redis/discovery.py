"""Discovery of a Redis that may move: the master that sentinels name, or the cluster node that holds a slot."""

from __future__ import annotations

import asyncio
import math
import re
import time
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, TypeVar, TypeVarTuple
from weakref import WeakSet

from redis.asyncio import Connection
from redis.asyncio.connection import SSLConnection
from redis.exceptions import (
    AskError,
    ClusterCrossSlotError,
    ClusterDownError,
    MovedError,
    ReadOnlyError,
    TryAgainError,
)

from ..errors import UsageError
from .errors import REDIS_ERRORS, ConnectionBroken, ErrorReply
from .keys import hash_tag
from .topology import SLOTS_QUERY, master_query, no_holder, no_master, read_master, read_slots, slot_of
from .urls import Kind, NodeAddress, Target

T = TypeVar("T")
Args = TypeVarTuple("Args")

# Seconds within which one node must reply where Redis is.
QUERY_TIMEOUT = 1.0
# Seconds for which such a reply is used.
MAX_AGE = 1.0

# Errors of a node that is not the right one, or not any more. It has not executed the command.
_MOVED = (AskError, ClusterDownError, ReadOnlyError, TryAgainError)
# The codes of such errors for which redis-py has no class, or which a script of Redis 6 reports within other text.
_MOVED_TEXT = re.compile(r"\b(READONLY|NOREPLICAS|UNBLOCKED) ")

# For users whose plain URL leads to a cluster node.
CLUSTER_ADVICE = "write redis+cluster://host:port/ for the URL, and a namespace with braces, such as '{work}'"


def is_moved(error: object) -> bool:
    """Return whether an error means that Redis has moved, or is about to: another node must execute the command."""
    return isinstance(error, ErrorReply) and (isinstance(error, _MOVED) or bool(_MOVED_TEXT.search(str(error))))


def reconnect_if_moved(connection: Any, error: ErrorReply) -> None:
    """Mark a connection for reconnection if an error that it has received means that Redis has moved.

    The text of the error is replaced by advice if a plain URL leads to a cluster node.
    """
    if is_moved(error):
        connection.mark_for_reconnect()
    if isinstance(connection, DiscoveredConnection):
        if isinstance(error, MovedError):
            connection.discovery.set_address((error.host or connection.host, error.port))
        elif is_moved(error):
            connection.discovery.invalidate()
    else:
        advise_on_cluster(error)


def advise_on_cluster(error: object) -> None:
    """Replace the text of an error by advice if it means that a plain URL leads to a cluster node."""
    if isinstance(error, (MovedError, ClusterCrossSlotError)):
        kind = "MOVED" if isinstance(error, MovedError) else "CROSSSLOT"
        error.args = (f"this is a node of a cluster ({kind} {error}): {CLUSTER_ADVICE}",)


async def resend_if_moved(send: Callable[[*Args], Awaitable[T]], *args: *Args) -> T:
    """Send commands, and once more if Redis refused all of them because it has moved, so that none was executed.

    :param send: sends them; returns the reply, or a list of replies with errors in it, or raises the error.
    """
    try:
        reply = await send(*args)
    except ErrorReply as error:
        if not is_moved(error):
            raise
    else:
        if not (isinstance(reply, list) and reply and all(map(is_moved, reply))):
            return reply
    return await send(*args)


def make_discovery(url: str, target: Target, namespace: str, options: Mapping[str, Any]) -> Discovery | None:
    """Return the discovery for a URL; ``None`` when the URL itself is the address of Redis.

    :param url: without its passwords, for messages.
    :param options: options of every connection.
    :raises UsageError: when a cluster would scatter the keys of the namespace.
    """
    options = {**options, **target.node_options}
    match target.kind:
        case Kind.SENTINEL:
            return SentinelDiscovery(target.nodes, options, target.service)
        case Kind.CLUSTER:
            check_cluster_namespace(url, namespace)
            return ClusterDiscovery(target.nodes, options, namespace)
        case Kind.PLAIN:
            return None


def check_cluster_namespace(url: str, namespace: str) -> None:
    """Check that a cluster keeps the keys of a namespace together.

    :param url: without its passwords, for the message.
    :raises UsageError: when it would scatter them.
    """
    if hash_tag(namespace) is None:
        better = re.sub(r"[{}]", "", namespace) or "work"
        raise UsageError(
            f"a cluster keeps together only keys that have the same part in braces: for {url} write "
            f"namespace='{{{better}}}', not {namespace!r}"
        )


class Discovery(ABC):
    """Finds the address of a Redis by asking other nodes.

    :param nodes: the nodes to ask, one after the other.
    :param options: options of the connections to them.
    """

    def __init__(self, nodes: Sequence[NodeAddress], options: Mapping[str, Any]) -> None:
        self._nodes = list(nodes)
        self._options = dict(options)
        self._connection_class: type[Connection] = self._options.pop("connection_class", Connection)
        self._address: NodeAddress | None = None
        self._queried_at = -math.inf
        self._query: asyncio.Task[NodeAddress] | None = None

    async def find(self) -> NodeAddress:
        """Return the address of Redis, from a query or from one that is at most a second old.

        :raises ConnectionBroken: when no node knows it; the message names each node and its error.
        """
        if self._address is None or self._is_old():
            self._address = None
            return await asyncio.shield(self._start_query())
        return self._address

    def set_address(self, address: NodeAddress) -> None:
        """Use an address that a node has reported."""
        self._address, self._queried_at = address, time.monotonic()

    def invalidate(self) -> None:
        """Discard the address because it was wrong. The next :meth:`find` asks, beginning with another node."""
        if self._address is not None:
            self._address = None
            self._nodes.append(self._nodes.pop(0))

    @abstractmethod
    def register(self, connection: DiscoveredConnection) -> None:
        """Register a connection to the found address."""

    @abstractmethod
    async def refresh(self) -> None:
        """Break the registered connections if Redis has moved. To be called before a command is sent."""

    async def close(self) -> None:
        """Wait until no query runs in this event loop."""
        query, self._query = self._query, None
        if query is not None and query.get_loop() is asyncio.get_running_loop():
            await asyncio.wait([query])

    def _is_old(self) -> bool:
        return time.monotonic() - self._queried_at > MAX_AGE

    def _start_query(self) -> asyncio.Task[NodeAddress]:
        """Start a query, or return the running one: connections are often made many at once."""
        query = self._query
        if query is None or query.done() or query.get_loop() is not asyncio.get_running_loop():
            self._query = query = asyncio.create_task(self._query_nodes(), name="asyncwork finds Redis")
            # Retrieves the exception, so that asyncio does not log it as never retrieved.
            query.add_done_callback(lambda task: task.cancelled() or task.exception())
        return query

    async def _query_nodes(self) -> NodeAddress:
        self._queried_at = time.monotonic()
        errors = []
        for node in list(self._nodes):
            try:
                async with asyncio.timeout(QUERY_TIMEOUT):
                    address = await self._query_node(node)
            except REDIS_ERRORS as error:
                errors.append(f"{node[0]}:{node[1]}: {str(error) or f'no reply within {QUERY_TIMEOUT:g} s'}")
            else:
                self._prefer(node)
                self.set_address(address)
                return address
        raise ConnectionBroken(f"{self._failure()} ({'; '.join(errors)})")

    def _prefer(self, node: NodeAddress) -> None:
        """Ask this node first from now on."""
        if node in self._nodes:
            self._nodes.remove(node)
            self._nodes.insert(0, node)

    async def _send(self, node: NodeAddress, *command: str) -> Any:
        connection = self._connection_class(host=node[0], port=node[1], **self._options)
        try:
            await connection.connect()  # type: ignore[no-untyped-call]
            await connection.send_command(*command)
            return await connection.read_response()
        finally:
            with suppress(*REDIS_ERRORS):
                await connection.disconnect(nowait=True)

    @abstractmethod
    async def _query_node(self, node: NodeAddress) -> NodeAddress:
        """Return the address of Redis as one node reports it.

        :raises RedisError, OSError: when the node cannot be reached or does not know it.
        """

    @abstractmethod
    def _failure(self) -> str:
        """Return the error message for when no node knows the address."""


class SentinelDiscovery(Discovery):
    """Finds the master of a service by asking sentinels.

    A master that was replaced on purpose serves the clients that stay connected for ten seconds or more, as if it were
    still the master, and then discards what they wrote. So the sentinels are asked again once a second while commands
    are sent.
    """

    def __init__(self, nodes: Sequence[NodeAddress], options: Mapping[str, Any], service: str) -> None:
        super().__init__(nodes, options)
        self._service = service
        self._connections: WeakSet[DiscoveredConnection] = WeakSet()

    def set_address(self, address: NodeAddress) -> None:
        super().set_address(address)
        for connection in list(self._connections):
            if (connection.host, connection.port) != address:
                connection.abort()

    def register(self, connection: DiscoveredConnection) -> None:
        self._connections.add(connection)

    async def refresh(self) -> None:
        if self._is_old():
            # If no sentinel replies, the connections stay.
            await asyncio.wait([self._start_query()], timeout=QUERY_TIMEOUT)

    async def _query_node(self, node: NodeAddress) -> NodeAddress:
        return read_master(await self._send(node, *master_query(self._service)), self._service)

    def _failure(self) -> str:
        return no_master(self._service)


class ClusterDiscovery(Discovery):
    """Finds the cluster master that holds the slot of a namespace by asking the cluster's nodes."""

    def __init__(self, nodes: Sequence[NodeAddress], options: Mapping[str, Any], namespace: str) -> None:
        super().__init__(nodes, options)
        self._given = list(nodes)
        self._namespace = namespace
        self._slot = slot_of(namespace)

    def set_address(self, address: NodeAddress) -> None:
        super().set_address(address)
        # The node that holds the slot is the first to know when it loses the slot.
        self._prefer(address)

    def register(self, connection: DiscoveredConnection) -> None:
        """Do nothing: a node that has lost the slot refuses every command."""

    async def refresh(self) -> None:
        """Do nothing, for the same reason."""

    async def _query_node(self, node: NodeAddress) -> NodeAddress:
        nodes, holder = read_slots(await self._send(node, *SLOTS_QUERY), self._slot, node)
        # The nodes of the URL may all be replaced over time.
        self._nodes = list(dict.fromkeys([node, *nodes, *self._given]))
        if holder is None:
            raise ErrorReply("it knows no node that holds that slot")
        return holder

    def _failure(self) -> str:
        return no_holder(self._slot, self._namespace)


class DiscoveredConnection(Connection):
    """A connection that asks for the address of Redis whenever it connects."""

    def __init__(self, *, discovery: Discovery, **options: Any) -> None:
        super().__init__(**options)
        self.discovery = discovery

    async def _connect(self) -> None:
        self.host, self.port = await self.discovery.find()
        try:
            await super()._connect()  # type: ignore[no-untyped-call]
        except BaseException:
            self.discovery.invalidate()
            raise
        self.discovery.register(self)

    def abort(self) -> None:
        """Break the connection. A task that awaits a reply gets an error, as when the network fails."""
        if self._writer is not None:
            with suppress(RuntimeError):  # of an event loop that was closed
                self._writer.transport.abort()
            self._reader = self._writer = None


class DiscoveredTLSConnection(DiscoveredConnection, SSLConnection):
    """The same, encrypted."""
