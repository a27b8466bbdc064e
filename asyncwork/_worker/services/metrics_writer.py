"""Writes down what the ledger has counted, each of it once, whatever becomes of the connection."""

from __future__ import annotations

import itertools
import logging
from collections import deque
from collections.abc import Mapping

from ..._redis.metrics import MetricsStore
from ...models import JobCounts
from ..metrics import PoolMetrics

logger = logging.getLogger("asyncwork")

# Queues that are written by one call of a script; keeps every call far below 10 ms.
_BATCH = 100


class MetricsWriter:
    """Writes one pool's counts, every ``period`` seconds if there are any."""

    name = "bookkeeper"

    def __init__(self, counters: MetricsStore, ledger: PoolMetrics, pool_id: str, period: float) -> None:
        self._counters = counters
        self._ledger = ledger
        self._pool_id = pool_id
        self._period = period
        self._numbers = itertools.count(1)
        # What is being written: number and counts. It stays as it is until Redis has confirmed it, for it may be there.
        self._pages: deque[tuple[int, Mapping[str, JobCounts]]] = deque()
        self._refused: set[str] = set()

    async def once(self) -> float:
        """Write what is to be written."""
        await self.flush()
        return self._period

    async def flush(self) -> None:
        """Write what was not confirmed the last time, then what was counted since.

        :raises RedisError, OSError: when Redis refuses or cannot be reached; nothing is lost by that.
        """
        await self._write()
        news = list(self._ledger.take().items())
        for start in range(0, len(news), _BATCH):
            self._pages.append((next(self._numbers), dict(news[start : start + _BATCH])))
        await self._write()

    async def _write(self) -> None:
        while self._pages:
            number, counts = self._pages[0]
            refused = await self._counters.add(self._pool_id, number, counts)
            self._pages.popleft()
            for key in refused:
                if key not in self._refused:
                    self._refused.add(key)
                    logger.warning("not counting in %s: that key holds something else", key)
