"""Makes the questions to sentinels and cluster nodes, and parses their replies."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from redis.crc import key_slot

from .errors import ErrorReply
from .keys import prefix
from .urls import NodeAddress

SLOTS_QUERY = ("CLUSTER", "SLOTS")


def master_query(service: str) -> tuple[str, ...]:
    """Return the command that asks a sentinel for the master of a service."""
    return ("SENTINEL", "GET-MASTER-ADDR-BY-NAME", service)


def read_master(reply: Any, service: str) -> NodeAddress:
    """Return the master's address.

    :raises ErrorReply: when the sentinel does not know the service.
    """
    if not reply:
        raise ErrorReply(f"it does not know service {service!r}")
    host, port = reply
    return host.decode(), int(port)


def no_master(service: str) -> str:
    """Return the message for when no sentinel knows the master of a service."""
    return f"no sentinel knows where the master of service {service!r} is"


def slot_of(namespace: str) -> int:
    """Return the slot of a cluster that holds all keys of a namespace."""
    slot: int = key_slot(prefix(namespace).encode())
    return slot


def read_slots(
    ranges: Sequence[Sequence[Any]], slot: int, node: NodeAddress
) -> tuple[list[NodeAddress], NodeAddress | None]:
    """Return all nodes of a cluster, and the master that holds a slot; ``None`` when none does.

    :param node: the node that was asked.
    """

    def address(row: Sequence[Any]) -> NodeAddress:
        # A node leaves its host empty if it does not know under which name it is reached.
        return (row[0] or b"").decode() or node[0], int(row[1])

    nodes = [address(row) for each in ranges for row in each[2:]]
    holder = next((address(each[2]) for each in ranges if each[0] <= slot <= each[1]), None)
    return nodes, holder


def no_holder(slot: int, namespace: str) -> str:
    """Return the message for when no node of a cluster knows which node holds a slot."""
    return f"no node of the cluster knows where slot {slot} of namespace {namespace!r} is"
