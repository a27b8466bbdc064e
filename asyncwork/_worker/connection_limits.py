"""Limits the connections of a pool where Redis accepts few more."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from typing import NamedTuple

from .._redis.client import RedisClient
from .dispatcher import Dispatcher

logger = logging.getLogger("asyncwork")

# The heartbeat has a connection of its own.
_HEARTBEAT = 1


class ConnectionShares(NamedTuple):
    """How many connections a pool may open.

    :ivar pooled: for the services.
    :ivar blocking: for blocking pops.
    :ivar missing: how many more Redis would have to accept so that there is one of each kind.
    """

    pooled: int
    blocking: int
    missing: int


def connection_shares(spare: int, pipelines: int) -> ConnectionShares:
    """Divide half of the connections that Redis still accepts; the other half is left to other processes, such as those
    that enqueue.

    :param spare: how many more connections Redis accepts.
    :param pipelines: how many of them the pipelines need.
    """
    fixed = pipelines + _HEARTBEAT
    rest = spare // 2 - fixed
    pooled = max(1, rest // 2)
    blocking = max(1, rest - pooled)
    # The first pooled connection is open already: `spare` was read over it. One must be left for blocking pops.
    return ConnectionShares(pooled, blocking, missing=max(0, fixed + 1 - spare))


class ConnectionLimits:
    """Keep a pool within the connections that Redis accepts.

    :param pipelines: how many connections the dispatcher's pipelines take.
    """

    def __init__(self, redis: RedisClient, dispatcher: Dispatcher, pipelines: int) -> None:
        self._redis = redis
        self._dispatcher = dispatcher
        self._pipelines = pipelines
        self._loop = asyncio.get_running_loop()
        # Keeps a reference, without which the task could be garbage-collected.
        self._freeing: asyncio.Future[None] | None = None

    def limit(self, spare: int) -> None:
        """Leave other processes a share of the connections that Redis still accepts."""
        shares = connection_shares(spare, self._pipelines)
        if shares.missing:
            text = "too few connections: Redis accepts %d more, and this pool needs %d; raise maxclients"
            logger.warning(text, spare, spare + shares.missing)
        self._redis.limit_pooled(shares.pooled)
        self._dispatcher.fetcher.limit_blocked(shares.blocking, f"Redis accepts {spare} more")

    def free_some(self, refusal: BaseException) -> None:
        """Close some connections, because Redis has refused one to the heartbeat. Called from its thread."""

        def free() -> None:
            self._dispatcher.reduce_connections(refusal)
            self._freeing = asyncio.ensure_future(self._redis.close_idle())

        with suppress(RuntimeError):  # the loop is closed
            self._loop.call_soon_threadsafe(free)
