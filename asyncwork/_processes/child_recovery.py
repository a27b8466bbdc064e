"""Requeues the jobs of children that have ended, and renews the heartbeats of those that cannot write theirs."""

from __future__ import annotations

import asyncio
import logging
import time

from .._jobs.printable import plural
from .._redis.client import RedisClient
from .._redis.errors import REDIS_ERRORS
from .._redis.namespace import Namespace
from .._redis.pool_registry import PoolRegistry
from .._redis.recovery import Recovery
from .child import Child
from .messages import PoolAddress

logger = logging.getLogger("asyncwork.cli")

# Seconds after which jobs are searched again that Redis gave to the process after it had ended.
_LATE = 1.0
# Seconds between two attempts while Redis is away: the first, and the longest.
_FIRST_WAIT, _LONGEST_WAIT = 0.1, 2.0


class ChildRecovery:
    """Recovers the jobs of children in Redis, for the parent."""

    def __init__(self) -> None:
        # By URL and namespace. All children have the same, unless the application was changed meanwhile.
        self._clients: dict[tuple[str, str], RedisClient] = {}

    async def requeue(self, child: Child) -> None:
        """Requeue the jobs of a child that was reaped; try until Redis replies.

        :raises AssertionError: when the child was not reaped, so it may be alive.
        """
        assert child.code is not None
        if (address := child.address) is None:
            return
        recovery = Recovery(self._namespace(address))
        wait = _FIRST_WAIT
        while True:
            try:
                moved = await recovery.recover_ended(address.pool_id)
                if moved is None:
                    return
                self._log(moved, child, address)
                await asyncio.sleep(_LATE)
                self._log(await recovery.recover_late(address.pool_id), child, address)
                return
            except REDIS_ERRORS as error:
                if wait == _FIRST_WAIT:
                    text = "could not requeue the jobs of %s: Redis failed (%s); retrying until it is back"
                    logger.warning(text, child, error)
                await asyncio.sleep(wait)
                wait = min(wait * 2, _LONGEST_WAIT)

    async def renew(self, child: Child) -> bool:
        """Renew the heartbeat of a child that lives; return whether its pool is still registered.

        :raises RedisError, OSError: when Redis refuses or cannot be reached.
        """
        if (address := child.address) is None or child.code is not None:
            return False
        return await PoolRegistry(self._namespace(address)).renew_heartbeat(address.pool_id, time.time())

    async def close(self) -> None:
        """Close the connections."""
        for client in self._clients.values():
            await client.close()

    def _namespace(self, address: PoolAddress) -> Namespace:
        key = address.url, address.namespace
        if key not in self._clients:
            self._clients[key] = RedisClient(address.url, namespace=address.namespace)
        return Namespace.of(self._clients[key])

    def _log(self, moved: int, child: Child, address: PoolAddress) -> None:
        if moved:
            text = "requeued %s of %s, pool %s, at the front of their queues"
            logger.warning(text, plural(moved, "job"), child, address.pool_id)
