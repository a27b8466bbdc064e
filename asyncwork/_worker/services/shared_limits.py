"""The shared limits of a pool's job types: announced to the other pools, and read from Redis.

Part of the rate reader, because the same fetches obey both.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Mapping

from ..._jobs.printable import printable
from ..._redis.limits import KnownLimits, LimitNumbers, Limits, TypeLimits, warn_of_change
from ..._redis.namespace import Namespace
from ..._redis.wake_channel import wake_pools
from ...limit import Limit
from ...options import JobOptions
from .gone_owners import GoneOwners

logger = logging.getLogger("asyncwork")


class SharedLimits:
    """Keeps one pool's knowledge of the shared limits.

    :param options: of the job types that the pool handles, by name.
    """

    def __init__(self, namespace: Namespace, pool_id: str, options: Mapping[str, JobOptions]) -> None:
        self._limits = Limits(namespace)
        self._names = options.keys()
        self._own: dict[str, Limit] = {}
        for one in options.values():
            self.add(one.limits)
        self._types = {
            name: TypeLimits(pool_id, 1 if callable(one.cost) else one.cost, tuple(each.name for each in one.limits))
            for name, one in options.items()
            if one.limits
        }
        self._namespace = namespace
        # When the pool was started, by Redis's clock, epoch seconds.
        self._started_at = 0.0
        self._warned: dict[str, str] = {}
        self._owners = GoneOwners(namespace, pool_id)

    def add(self, limits: Iterable[Limit]) -> None:
        """Have limits of the code announced, also those that no job type has, for their slots."""
        self._own |= {each.name: each for each in limits if each.numbers}

    async def start(self) -> None:
        """Announce the limits of the code, and warn of those that were different.

        :raises RedisError, OSError: when Redis refuses or cannot be reached.
        """
        if not (self._types or self._own):
            return
        before, self._started_at = await self._limits.read(), await self._namespace.redis.now()
        await self._limits.announce(list(self._own.values()), self._types, self._started_at)
        await wake_pools(self._namespace)
        for name, each in self._own.items():
            code = before.numbers.get(name, LimitNumbers()).code
            if code not in ("", each.numbers):
                warn_of_change(each, code)

    async def read(self) -> Collection[str]:
        """Return the names among those of the pool whose jobs have limits, and announce what was lost.

        :raises RedisError, OSError: when Redis refuses or cannot be reached.
        """
        found = await self._limits.read()
        self._warn_of_others(found)
        if await self._keep_announced(found):
            found = await self._limits.read()
        return [name for name in found.types if name in self._names]

    def _warn_of_others(self, found: KnownLimits) -> None:
        """Log that another pool has announced other numbers than this one's, once for each."""
        for name, each in self._own.items():
            code = found.numbers.get(name, LimitNumbers()).code
            if code in ("", each.numbers):
                self._warned.pop(name, None)
            elif self._warned.get(name) != code:
                self._warned[name] = code
                text = "limit %s is %s now, which another process has announced; this one has %s in its code"
                logger.warning(text, printable(name), printable(code), each.numbers)

    async def _keep_announced(self, found: KnownLimits) -> bool:
        """Announce again what was lost, or whose pool is gone; withdraw what no pool has in its code any more."""
        owners = {name: each.owner for name, each in found.types.items() if name in self._names}
        over = await self._owners.over(owners)
        again = {name: each for name, each in self._types.items() if name in over or name not in found.types}
        lost = [each for name, each in self._own.items() if not found.numbers.get(name, LimitNumbers()).code]
        if again or lost:
            await self._limits.announce(lost, again, self._started_at)
        withdrawn = sorted(over - self._types.keys())
        if withdrawn:
            await self._limits.withdraw(withdrawn)
            for name in withdrawn:
                logger.info("limits of %s withdrawn: no pool that is alive has them in its code", printable(name))
        return bool(again or withdrawn)
