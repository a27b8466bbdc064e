"""The rule by which a pool takes over what another has announced: its owner must be gone for a while."""

from __future__ import annotations

import time
from collections.abc import Mapping, Set

from ..._redis.namespace import Namespace
from ..._redis.pool_registry import PoolRegistry

# Seconds for which the pool that has announced something must be gone until another pool announces something else, or
# withdraws it: a pool announces what is in its code before it is registered.
_GONE_FOR = 20.0


class GoneOwners:
    """Knows since when the owners of what was announced have been gone.

    :ivar gone: the names whose owner is not registered now.
    """

    def __init__(self, namespace: Namespace, pool_id: str) -> None:
        self._registry = PoolRegistry(namespace)
        self._pool_id = pool_id
        # By name, by this process's monotonic clock.
        self._since: dict[str, float] = {}

    @property
    def gone(self) -> Set[str]:
        return self._since.keys()

    async def over(self, owners: Mapping[str, str]) -> set[str]:
        """Return the names whose owner has been gone for so long that it will not come back.

        :param owners: the ids of the pools that have announced what is known of each name.
        :raises RedisError, OSError: when Redis refuses or cannot be reached.
        """
        others = set(owners.values()) - {self._pool_id}
        gone, now = others - await self._registry.registered(others), time.monotonic()
        self._since = {name: self._since.get(name, now) for name, owner in owners.items() if owner in gone}
        return {name for name, since in self._since.items() if now - since >= _GONE_FOR}
