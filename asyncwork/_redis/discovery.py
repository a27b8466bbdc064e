"""Ways to find a Redis that may move: the master that sentinels tell of, or the one of a cluster that holds a slot."""

from __future__ import annotations

import asyncio
import math
import re
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any
from weakref import WeakSet

from redis.asyncio import Connection
from redis.asyncio.connection import SSLConnection
from redis.crc import key_slot
from redis.exceptions import (
    AskError,
    ClusterCrossSlotError,
    ClusterDownError,
    MovedError,
    ReadOnlyError,
    RedisError,
    ResponseError,
    TryAgainError,
)
from redis.exceptions import ConnectionError as NotFound

from ..errors import UsageError
from .keys import hash_tag, prefix
from .urls import Address, Kind, Target

# Seconds that one node may take to tell where Redis is.
_ASK_LIMIT = 1.0
# Seconds for which that is taken to hold.
_HOLDS = 1.0

# Refusals of a node that is not, or no longer, the one to speak to. It has done nothing of what it was asked.
_ELSEWHERE = (AskError, ClusterDownError, ReadOnlyError, TryAgainError)
# The same where redis-py has no class for it, or a script of Redis 6 tells it amidst other text.
_ELSEWHERE_TEXT = re.compile(r"\b(READONLY|NOREPLICAS|UNBLOCKED) ")

# What to do where a plain URL leads to a node of a cluster.
ADVICE = "write redis+cluster://host:port/ for the URL, and a namespace with braces, such as '{work}'"


def is_elsewhere(error: BaseException) -> bool:
    """Tell whether a refusal means that another node is, or will soon be, the one to speak to."""
    return isinstance(error, _ELSEWHERE) or bool(
        isinstance(error, ResponseError) and _ELSEWHERE_TEXT.search(str(error))
    )


def heed(connection: Any, error: ResponseError) -> None:
    """Have a connection that was given a refusal be made anew, and perhaps to another node, if that may help.

    The refusal of a cluster's node that a plain URL led to is made to say what to do.
    """
    if is_elsewhere(error):
        connection.mark_for_reconnect()
    if isinstance(connection, Found):
        if isinstance(error, MovedError):
            connection.location.told((error.host or connection.host, error.port))
        elif is_elsewhere(error):
            connection.location.forget()
    elif isinstance(error, (MovedError, ClusterCrossSlotError)):
        said = "MOVED" if isinstance(error, MovedError) else "CROSSSLOT"
        error.args = (f"this is a node of a cluster ({said} {error}): {ADVICE}",)


def locate(url: str, target: Target, namespace: str, options: Mapping[str, Any]) -> Location | None:
    """Return what finds the Redis of a URL; ``None`` when the URL itself tells where it is.

    :param url: without its passwords, for messages.
    :param options: what any connection of ours is made with.
    :raises UsageError: when a cluster would scatter the keys of the namespace.
    """
    options = {**options, **target.asking}
    match target.kind:
        case Kind.SENTINEL:
            return SentinelDiscovery(target.nodes, options, target.service)
        case Kind.CLUSTER:
            if hash_tag(namespace) is None:
                better = re.sub(r"[{}]", "", namespace) or "work"
                raise UsageError(
                    f"a cluster keeps together only keys that have the same part in braces: for {url} write "
                    f"namespace='{{{better}}}', not {namespace!r}"
                )
            return Cluster(target.nodes, options, namespace)
        case Kind.PLAIN:
            return None


class Location(ABC):
    """Where a Redis is, as others tell.

    :param nodes: whom to ask, one after the other.
    :param options: what a connection to one of them is made with.
    """

    def __init__(self, nodes: Sequence[Address], options: Mapping[str, Any]) -> None:
        self._nodes = list(nodes)
        self._options = dict(options)
        self._connection_class: type[Connection] = self._options.pop("connection_class", Connection)
        self._known: Address | None = None
        self._asked_at = -math.inf
        self._asking: asyncio.Task[Address] | None = None

    async def find(self) -> Address:
        """Return where Redis is, asking for it unless that was done just now.

        :raises redis.ConnectionError: when nobody can tell; the message says whom it was that could not, and why.
        """
        if self._known is None or self._is_old():
            self._known = None
            return await asyncio.shield(self._ask_all_once())
        return self._known

    def told(self, address: Address) -> None:
        """Take it that Redis is at an address."""
        self._known, self._asked_at = address, time.monotonic()

    def forget(self) -> None:
        """Take what was told for wrong: the next :meth:`find` asks, and another node than before."""
        if self._known is not None:
            self._known = None
            self._nodes.append(self._nodes.pop(0))

    @abstractmethod
    def enter(self, connection: Found) -> None:
        """Take note of a connection to where Redis is said to be."""

    @abstractmethod
    async def keep_up(self) -> None:
        """Leave where Redis was, if it is elsewhere by now. To be called before it is spoken to."""

    async def close(self) -> None:
        """Wait until nobody is asked any more, in this event loop."""
        asking, self._asking = self._asking, None
        if asking is not None and asking.get_loop() is asyncio.get_running_loop():
            await asyncio.wait([asking])

    def _is_old(self) -> bool:
        return time.monotonic() - self._asked_at > _HOLDS

    def _ask_all_once(self) -> asyncio.Task[Address]:
        """Ask, or join who is asking: many connections are made at once."""
        asking = self._asking
        if asking is None or asking.done() or asking.get_loop() is not asyncio.get_running_loop():
            self._asking = asking = asyncio.create_task(self._ask_all(), name="asyncwork finds Redis")
            # Looked at, so that asyncio does not complain that nobody has.
            asking.add_done_callback(lambda task: task.cancelled() or task.exception())
        return asking

    async def _ask_all(self) -> Address:
        self._asked_at = time.monotonic()
        troubles = []
        for node in list(self._nodes):
            try:
                async with asyncio.timeout(_ASK_LIMIT):
                    address = await self._ask(node)
            except (RedisError, OSError) as error:
                troubles.append(f"{node[0]}:{node[1]}: {str(error) or f'no answer within {_ASK_LIMIT:g} s'}")
            else:
                self._ask_first(node)
                self.told(address)
                return address
        raise NotFound(f"{self._purpose()} ({'; '.join(troubles)})")

    def _ask_first(self, node: Address) -> None:
        if node in self._nodes:
            self._nodes.remove(node)
            self._nodes.insert(0, node)

    async def _say(self, node: Address, *command: str) -> Any:
        connection = self._connection_class(host=node[0], port=node[1], **self._options)
        try:
            await connection.connect()  # type: ignore[no-untyped-call]
            await connection.send_command(*command)
            return await connection.read_response()
        finally:
            with suppress(RedisError, OSError):
                await connection.disconnect(nowait=True)

    @abstractmethod
    async def _ask(self, node: Address) -> Address:
        """Ask one node.

        :raises RedisError, OSError: when it cannot tell.
        """

    @abstractmethod
    def _purpose(self) -> str:
        """Tell, for an error, what it is that nobody can tell."""


class SentinelDiscovery(Location):
    """Where the master of a service is, as sentinels tell.

    A master that was replaced on purpose serves who stays with it for ten seconds or more, as if it was still the one,
    and forgets all that then. So the sentinels are asked again while it is spoken to, once a second.
    """

    def __init__(self, nodes: Sequence[Address], options: Mapping[str, Any], service: str) -> None:
        super().__init__(nodes, options)
        self._service = service
        self._connections: WeakSet[Found] = WeakSet()

    def told(self, address: Address) -> None:
        super().told(address)
        for connection in list(self._connections):
            if (connection.host, connection.port) != address:
                connection.cut()

    def enter(self, connection: Found) -> None:
        self._connections.add(connection)

    async def keep_up(self) -> None:
        if self._is_old():
            # That nobody can tell is no reason to leave.
            await asyncio.wait([self._ask_all_once()], timeout=_ASK_LIMIT)

    async def _ask(self, node: Address) -> Address:
        answer = await self._say(node, "SENTINEL", "GET-MASTER-ADDR-BY-NAME", self._service)
        if not answer:
            raise ResponseError(f"it knows no service {self._service!r}")
        host, port = answer
        return host.decode(), int(port)

    def _purpose(self) -> str:
        return f"no sentinel tells where the master of service {self._service!r} is"


class Cluster(Location):
    """Which master of a cluster holds the slot of a namespace, as its nodes tell."""

    def __init__(self, nodes: Sequence[Address], options: Mapping[str, Any], namespace: str) -> None:
        super().__init__(nodes, options)
        self._given = list(nodes)
        self._namespace = namespace
        self._slot = key_slot(prefix(namespace).encode())

    def told(self, address: Address) -> None:
        super().told(address)
        # Who holds the slot is the first to know when it is gone.
        self._ask_first(address)

    def enter(self, connection: Found) -> None:
        """Nothing to do: who stays with a node that does not hold the slot any more is refused by it."""

    async def keep_up(self) -> None:
        """Nothing to do, for the same reason."""

    async def _ask(self, node: Address) -> Address:
        def address(shown: Sequence[Any]) -> Address:
            # A node that does not know by which name it is reached leaves it empty.
            return (shown[0] or b"").decode() or node[0], int(shown[1])

        rows = await self._say(node, "CLUSTER", "SLOTS")
        seen = [address(shown) for row in rows for shown in row[2:]]
        # The nodes of the URL may be gone one day.
        self._nodes = list(dict.fromkeys([node, *seen, *self._given]))
        for first, last, master, *_ in rows:
            if first <= self._slot <= last:
                return address(master)
        raise ResponseError("it knows of no node that holds that slot")

    def _purpose(self) -> str:
        return f"no node of the cluster tells where slot {self._slot} of namespace {self._namespace!r} is"


class Found(Connection):
    """A connection to wherever Redis is when it connects."""

    def __init__(self, *, location: Location, **options: Any) -> None:
        super().__init__(**options)
        self.location = location

    async def _connect(self) -> None:
        self.host, self.port = await self.location.find()
        try:
            await super()._connect()  # type: ignore[no-untyped-call]
        except BaseException:
            self.location.forget()
            raise
        self.location.enter(self)

    def cut(self) -> None:
        """Break the connection. Who waits for an answer gets an error, as of any break."""
        if self._writer is not None:
            with suppress(RuntimeError):  # of an event loop that was closed
                self._writer.transport.abort()
            self._reader = self._writer = None


class FoundTLS(Found, SSLConnection):
    """The same, encrypted."""
