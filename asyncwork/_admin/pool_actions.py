"""Requests that pools be quiet, run again, stop, or run another number of jobs at once."""

from __future__ import annotations

import re

from .._jobs.printable import shown
from .._redis.namespace import Namespace
from .._redis.pool_requests import STOPPING, PoolRequests, RequestReply
from .._redis.wake_channel import wake_pools
from ..errors import UsageError
from ..models.pools import PoolRequest
from ..options import check_workers
from .arguments import check_arguments

# Surrogates that stand for no byte, so that no key in Redis can have them.
_NO_BYTES = re.compile("[\ud800-\udc7f\udd00-\udfff]")


class PoolActions:
    """Changes the state of the pools of a namespace."""

    def __init__(self, namespace: Namespace) -> None:
        self._requests = PoolRequests(namespace)
        self._namespace = namespace

    async def resize(self, pool_id: str, concurrency: int, who: str) -> None:
        """Request that a pool run another number of jobs at once; otherwise as :meth:`request`.

        :raises UsageError: also when the number is not a whole number from 1 to 10,000.
        """
        check_workers(concurrency)
        await self._request(pool_id, PoolRequest(concurrency=concurrency, who=who))

    async def request(self, pool_id: str, state: str, who: str) -> None:
        """Request a state of a pool, and wake the pools, so that it complies at once.

        :raises RedisError, OSError: when Redis refuses or cannot be reached.
        :raises UsageError: when there is no such pool, it takes no requests, or it is to be quiet or to run although it
            stops; or when an argument is not text.
        """
        await self._request(pool_id, PoolRequest(state=state, who=who))

    async def _request(self, pool_id: str, request: PoolRequest) -> None:
        check_arguments(who=request.who)
        if not isinstance(pool_id, str):
            raise UsageError(f"the id of a pool must be text, not {shown(pool_id)}")
        can_exist = not _NO_BYTES.search(pool_id)
        reply = await self._requests.write(pool_id, request) if can_exist else RequestReply.NO_POOL
        if reply is RequestReply.NO_POOL:
            raise UsageError(f"there is no pool {shown(pool_id)}: it has ended, or never was in this namespace")
        if reply is RequestReply.NOT_TAKEN:
            raise UsageError(
                f"pool {shown(pool_id)} takes no requests: it is one of gocraft/work, or of an earlier asyncwork; "
                "send its process a signal instead"
            )
        if reply is RequestReply.STOPPING and request.state != STOPPING:
            raise UsageError(f"pool {shown(pool_id)} is stopping, which cannot be undone")
        await wake_pools(self._namespace)
