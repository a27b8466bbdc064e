"""The metrics writer: writes the pool's metrics to Redis, each count exactly once even if the connection fails."""

from __future__ import annotations

import itertools
import logging
from collections import deque
from collections.abc import Mapping
from typing import NamedTuple

from ..._jobs.printable import printable
from ..._redis.metrics import MetricsStore, RunCounts
from ...models.queues import JobCounts
from ..metrics import PoolMetrics

logger = logging.getLogger("asyncwork")

# Queues per script call; keeps each call far below 10 ms.
_SLICE = 100


class _Batch(NamedTuple):
    """The counts of one write, by queue."""

    number: int
    counts: Mapping[str, JobCounts]
    runs: Mapping[str, RunCounts]


class MetricsWriter:
    """Writes one pool's metrics every ``period`` seconds, if there are any."""

    name = "metrics writer"

    def __init__(self, store: MetricsStore, metrics: PoolMetrics, pool_id: str, period: float) -> None:
        self._store = store
        self._metrics = metrics
        self._pool_id = pool_id
        self._period = period
        self._numbers = itertools.count(1)
        # Numbered batches that Redis has not confirmed. They must not change, because Redis may have them already.
        self._batches: deque[_Batch] = deque()
        self._refused: set[str] = set()

    async def run_once(self) -> float:
        """Write what was counted since the last pass."""
        await self.flush()
        return self._period

    async def flush(self) -> None:
        """Write the batches that Redis has not confirmed, then everything that was counted since.

        :raises RedisError, OSError: when Redis refuses or cannot be reached; the counts are kept for the next call.
        """
        await self._write()
        counts = list(self._metrics.take().items())
        for start in range(0, len(counts), _SLICE):
            some = dict(counts[start : start + _SLICE])
            self._batches.append(_Batch(next(self._numbers), some, self._metrics.take_runs(some)))
        await self._write()

    async def _write(self) -> None:
        while self._batches:
            refused = await self._store.add(self._pool_id, *self._batches[0])
            self._batches.popleft()
            for key in refused:
                if key not in self._refused:
                    self._refused.add(key)
                    logger.warning("cannot write metrics to %s: the key holds another kind of value", printable(key))
