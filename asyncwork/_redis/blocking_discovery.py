"""Discovery of a Redis that may move, for threads without an event loop."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from redis import connection as redis_connection
from redis.connection import Connection

from .discovery import MAX_AGE, QUERY_TIMEOUT
from .errors import REDIS_ERRORS, ConnectionBroken, ErrorReply
from .topology import SLOTS_QUERY, master_query, no_holder, no_master, read_master, read_slots, slot_of
from .urls import Kind, NodeAddress, Target


class BlockingDiscovery:
    """Finds the address of a Redis by asking sentinels, or the nodes of a cluster.

    Sentinels are asked again once a second while commands are sent, as :class:`SentinelDiscovery` explains.

    :param settings: of the connections to them.
    """

    def __init__(self, target: Target, namespace: str, settings: Mapping[str, Any]) -> None:
        self._target = target
        self._namespace = namespace
        self._slot = slot_of(namespace)
        limits = {"socket_timeout": QUERY_TIMEOUT, "socket_connect_timeout": QUERY_TIMEOUT}
        self._options = {**settings, **limits, **target.node_options}
        self._class = blocking_class(self._options.pop("connection_class", None))
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
            raise ConnectionBroken(f"{self._failure()} ({'; '.join(errors)})")

    def invalidate(self) -> None:
        """Query again before the next command, beginning with another node."""
        with self._lock:
            if self._address is not None:
                self._address = None
                self._nodes.append(self._nodes.pop(0))

    def _query(self, node: NodeAddress) -> NodeAddress:
        connection: Any = self._class(**{**self._options, "host": node[0], "port": node[1]})
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

    def _failure(self) -> str:
        if self._target.kind is Kind.SENTINEL:
            return no_master(self._target.service)
        return no_holder(self._slot, self._namespace)


def blocking_class(kind: type | None) -> type[Connection]:
    """Return redis-py's blocking class that corresponds to one for asyncio."""
    blocking: type[Connection] = getattr(redis_connection, "Connection" if kind is None else kind.__name__)
    return blocking
