"""The active reapers of a namespace: the few pools that watch the heartbeats of all others.

If every pool watched every other, the reads would grow with the square of the pools. Several watch at the same time, so
that the death of one delays nothing. When all of them die, others take their places, within seconds.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from .client import run_script
from .errors import REDIS_ERRORS
from .namespace import Namespace

# How many reapers are active at a time.
MOST = 3
# Seconds by which an active reaper may be late until another pool may take its place.
_LATE = 1.5


class ActiveReapers:
    """Makes a pool one of the active reapers.

    Every method raises RedisError or OSError when Redis refuses or cannot be reached.

    :param period: seconds between two passes of this pool's reaper.
    :param dead_after: seconds for which a heartbeat must not have changed until this pool's reaper considers its pool
        dead.
    """

    def __init__(self, namespace: Namespace, pool_id: str, *, period: float, dead_after: float) -> None:
        self._redis = namespace.redis
        self._key = namespace.keys.reapers
        self._pool_id = pool_id
        self._period = period
        self._args = [pool_id, f"{period + _LATE:.3f}", f"{dead_after + period:.3f}", MOST]

    async def join(self) -> bool:
        """Return whether this pool is active until its next pass. Otherwise, enough others are that find a dead pool at
        least as soon.
        """
        return bool(await run_script(self._redis.client(), "join_reapers", [self._key], self._args))

    @asynccontextmanager
    async def stay(self) -> AsyncIterator[None]:
        """Keep this pool active within the context, during a pass that takes long.

        Otherwise a search of a large key space would pass from pool to pool, and none would watch for long enough.
        """
        keeping = asyncio.create_task(self._join_again(), name="asyncwork keeps an active reaper")
        try:
            yield
        finally:
            keeping.cancel()
            await asyncio.wait([keeping])

    async def _join_again(self) -> None:
        while True:
            await asyncio.sleep(self._period)
            with suppress(*REDIS_ERRORS):
                await self.join()

    async def leave(self) -> None:
        """Let another pool take the place of this one."""
        await self._redis.client().hdel(self._key, self._pool_id)
