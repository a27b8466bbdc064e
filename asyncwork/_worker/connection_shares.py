"""How many connections a pool takes of those that Redis still accepts."""

from __future__ import annotations

from typing import NamedTuple

# The heartbeat has one of its own.
_HEARTBEAT = 1


class ConnectionShares(NamedTuple):
    """For how many connections there is room.

    :ivar pooled: for the background roles.
    :ivar parked: for blocking pops.
    :ivar short: by how many more Redis would have to accept for one of each kind.
    """

    pooled: int
    parked: int
    short: int


def connection_shares(spare: int, lanes: int) -> ConnectionShares:
    """Share half of what Redis still accepts; the other half is left to other processes and to who enqueues.

    :param spare: how many more connections Redis accepts.
    :param lanes: how many of them are for batches.
    """
    fixed = lanes + _HEARTBEAT
    rest = spare // 2 - fixed
    pooled = max(1, rest // 2)
    parked = max(1, rest - pooled)
    # The first pooled one is open: it has asked Redis how many it accepts. One must be left to blocking pops.
    return ConnectionShares(pooled, parked, short=max(0, fixed + 1 - spare))
