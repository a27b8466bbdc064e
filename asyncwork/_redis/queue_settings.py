"""The settings of queues at run time: pauses, limits and rates. Also registers and forgets the names of queues."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

from ..rate import Rate
from .client import run_script
from .errors import ErrorReply, is_out_of_memory, is_wrong_type
from .fair_queues import FairQueues
from .limits import Limits
from .namespace import Namespace
from .protocol import encode
from .rates import Rates
from .wake_channel import wake_pools


class QueueSettings:
    """The settings of the queues of one namespace.

    Every method raises RedisError or OSError when Redis refuses or cannot be reached.
    """

    def __init__(self, namespace: Namespace) -> None:
        self._namespace = namespace
        self._redis = namespace.redis
        self._keys = namespace.keys
        self._fair = FairQueues(namespace)
        self._rates = Rates(namespace)
        self._limits = Limits(namespace)

    async def pause(self, name: str) -> None:
        """Pause a queue, so that no job is fetched from it."""
        await self._redis.client().set(self._keys.paused(name), 1)  # which also ends the end of a rest

    async def unpause(self, name: str) -> None:
        """Resume a queue that is paused or rests."""
        await self._redis.client().delete(self._keys.paused(name))
        await wake_pools(self._namespace)

    async def set_max_concurrency(self, name: str, limit: int) -> None:
        """Set how many jobs of a name may run at once; 0 for any number."""
        await self._redis.client().set(self._keys.max_concurrency(name), limit)

    async def set_max_waiting(self, name: str, limit: int | None) -> None:
        """Set how many jobs may wait in a queue; 0 for any number, ``None`` for what enqueuers have."""
        if limit is None:
            await self._redis.client().hdel(self._keys.max_waiting, name)
        else:
            await self._redis.client().hset(self._keys.max_waiting, name, limit)

    async def set_rate(self, name: str, rate: Rate | None) -> None:
        """Set the rate of a queue, whatever the code says; ``None`` for any number of jobs."""
        await self._rates.set_rate(name, rate)

    async def reset_rate(self, name: str) -> None:
        """Return to the rate of the code."""
        await self._rates.reset_rate(name)

    async def forget(self, name: str) -> bool:
        """Forget a job name unless jobs of that name wait or run; return whether it was forgotten."""
        keys = self._keys
        if name in await self._fair.names() and not await self._fair.forget(name):
            return False
        related = [keys.paused(name), keys.lock(name), keys.lock_info(name), keys.max_concurrency(name)]
        own = [keys.queue_options, keys.max_waiting, keys.rate(name), keys.rates]
        all_keys = [keys.known_jobs, keys.queue(name), *related, *own]
        is_forgotten = bool(await run_script(self._redis.client(), "forget_job", all_keys, [name]))
        if is_forgotten:
            await self._limits.forget(name)
            fields = [encode(f"{what}:{name}") for what in ("dropped", "replaced")]
            # A key of another type is for the doctor.
            with suppress(ErrorReply):
                await self._redis.client().hdel(keys.duplicates, *fields)
        return is_forgotten

    async def register_names(self, names: Sequence[str]) -> None:
        """Register job names, so that their queues are listed. Does nothing if Redis's memory is full or the key of the
        names holds another type.
        """
        if names:
            try:
                await self._redis.client().sadd(self._keys.known_jobs, *names)
            except ErrorReply as error:
                if not (is_out_of_memory(error) or is_wrong_type(error)):
                    raise
