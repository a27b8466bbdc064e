"""The tenant reviewer: repairs what Redis holds of fair queues beside their jobs, from which it can be computed."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping

from ..._jobs.printable import printable
from ..._redis.fair_queues import FairOptions, FairQueues
from ..._redis.namespace import Namespace

logger = logging.getLogger("asyncwork")

# Seconds between two passes. The options of a queue, without which it has no limits, are restored that soon.
_PERIOD = 5.0


class TenantReviewer:
    """Reviews the fair queues of one pool.

    :param fair: by job name, what the pool declares.
    :param period: seconds between two reviews of all tenants.
    """

    name = "tenant reviewer"

    def __init__(
        self,
        namespace: Namespace,
        fair: Mapping[str, FairOptions],
        period: float,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._queues = FairQueues(namespace)
        self._fair = fair
        self._period = period
        self._monotonic = monotonic
        self._reviewed_at = monotonic()
        # By queue, the tenants that waited at the last review for the retry of a job that was nowhere.
        self._suspects: dict[str, set[tuple[str, str]]] = {}

    async def run_once(self) -> float:
        """Restore the options that Redis has lost; from time to time, review the tenants."""
        await self._queues.restore(self._fair)
        if self._monotonic() - self._reviewed_at >= self._period:
            self._reviewed_at = self._monotonic()
            for name in self._fair:
                await self.review(name)
        return min(_PERIOD, self._period)

    async def review(self, name: str) -> None:
        """Repair the state of a fair queue's tenants, if it is wrong."""
        gone = await self._gone(name)
        wrong = await self._queues.review(name, sorted(gone), sorted(await self._queues.listed(name)))
        if wrong:
            text = "repaired the state of fair queue %s: it was wrong for %d of its tenants"
            logger.warning(text, printable(name), wrong)

    async def _gone(self, name: str) -> set[tuple[str, str]]:
        """Return the tenants that wait for the retry of a job that was nowhere at two reviews, with its id."""
        orders = await self._queues.orders(name)
        delayed = await self._queues.delayed(set(orders.values())) if orders else set()
        suspects = {(tenant, job_id) for tenant, job_id in orders.items() if job_id not in delayed}
        before, self._suspects[name] = self._suspects.get(name, set()), suspects
        return suspects & before
