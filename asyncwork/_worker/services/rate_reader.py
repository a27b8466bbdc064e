"""The rate reader: announces the rates of the pool's job types, and learns which queues have a rate.

A message on a channel says at once that a rate was changed. Because a message may be lost, the rates are also read
again and again.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Mapping
from typing import Protocol

from ..._jobs.printable import printable
from ..._redis.namespace import Namespace
from ..._redis.rates import QueueRate, Rates
from ..._redis.wake_channel import wake_pools
from ...limit import Limit
from ...rate import Rate
from .gone_owners import GoneOwners
from .shared_limits import SharedLimits

logger = logging.getLogger("asyncwork")


class RatedFetching(Protocol):
    """Fetches jobs, and obeys the rates of their queues."""

    def set_rated(self, names: Collection[str]) -> None:
        """Have the jobs of these names take a token, and no others, because rates have changed."""

    def reopen_limited(self) -> None:
        """Fetch from queues that wait for a token or for the end of a rest, because that may have changed."""


class RateReader:
    """Keeps one pool's knowledge of the rates.

    :param names: the job names that the pool handles.
    :param rates: those of them that have a rate in the code.
    :param period: seconds between two readings without a message.
    :param shared: the limits that job types share; ``None`` for none.
    """

    name = "rate reader"

    def __init__(
        self,
        namespace: Namespace,
        pool_id: str,
        names: Collection[str],
        rates: Mapping[str, Rate],
        period: float,
        fetching: RatedFetching,
        shared: SharedLimits | None = None,
    ) -> None:
        self._namespace = namespace
        self._rates = Rates(namespace)
        self._pool_id = pool_id
        self._names = names
        self._own = rates
        self._period = period
        self._fetching = fetching
        self._shared = shared
        self._limited: frozenset[str] = frozenset()
        self._is_obeyed = True
        self._known: dict[str, QueueRate] = {}
        self._owners = GoneOwners(namespace, pool_id)

    def add_limits(self, limits: Iterable[Limit]) -> None:
        """Have shared limits announced that no job type has, for their slots."""
        if self._shared is not None:
            self._shared.add(limits)

    def ignore(self) -> None:
        """Have the pool obey no rates, for tests of applications."""
        self._is_obeyed = False

    async def start(self) -> None:
        """Announce the rates of the code, so that they hold for all pools, and warn of those that were different.

        :raises RedisError, OSError: when Redis refuses or cannot be reached.
        """
        if self._shared is not None:
            await self._shared.start()
        if self._own:
            before = await self._rates.read()
            await self._rates.announce(self._own, self._pool_id)
            for name, rate in self._own.items():
                if (found := before.get(name)) is not None and found.code not in ("", str(rate)):
                    text = "rate of %s changed to %s, the rate of this pool; another pool had announced %s"
                    logger.warning(text, printable(name), rate, printable(found.code))
            await wake_pools(self._namespace)
        await self.run_once()

    async def run_once(self) -> float:
        """Read the rates, and have the pool obey them."""
        found = await self._rates.read()
        self._warn_of_others(found)
        if await self._keep_announced(found):
            found = await self._rates.read()
        known = {name: each for name, each in found.items() if name in self._names}
        limited = frozenset() if self._shared is None else frozenset(await self._shared.read())
        if known != self._known or limited != self._limited:
            self._known, self._limited = known, limited
            if self._is_obeyed:
                rated = {name for name, each in known.items() if each.rate is not None}
                self._fetching.set_rated(rated | limited)
        return self._period

    async def on_message(self) -> None:
        """Read the rates now, because they may have been changed, or a rest may have been ended.

        :raises RedisError, OSError: when Redis refuses or cannot be reached.
        """
        await self.run_once()
        self._fetching.reopen_limited()

    def _warn_of_others(self, found: Mapping[str, QueueRate]) -> None:
        """Log that another pool has announced another rate than this one's, once for each."""
        for name, rate in self._own.items():
            code = found.get(name, QueueRate()).code
            before = self._known.get(name)
            if before is not None and code not in ("", before.code, str(rate)):
                text = "rate of %s is %s now, which another pool has announced; this pool has %s in its code"
                logger.warning(text, printable(name), printable(code), rate)

    async def _keep_announced(self, found: Mapping[str, QueueRate]) -> bool:
        """Announce rates again whose pool is gone or that were lost, and withdraw those that no pool has in its code
        any more; return whether there were any.
        """
        owners = {name: each.owner for name, each in found.items() if name in self._names and each.code}
        over = await self._owners.over(owners)
        again = {
            name: rate
            for name, rate in self._own.items()
            if name in over
            or not (code := found.get(name, QueueRate()).code)
            or (name in self._owners.gone and code == str(rate))
        }
        await self._rates.announce(again, self._pool_id)
        if withdrawn := over - self._own.keys():
            await self._rates.withdraw(withdrawn)
            for name in withdrawn:
                text = "rate of %s (%s) withdrawn: no pool that is alive has it in its code"
                logger.info(text, printable(name), printable(found[name].code))
        return bool(again or withdrawn)
