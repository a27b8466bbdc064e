"""The versions of the application whose pools have run in a namespace, and since when."""

from __future__ import annotations

from .._jobs.times import LATEST
from ..models.pools import Deployment
from .errors import ErrorReply, is_wrong_type
from .namespace import Namespace
from .protocol import decode

# How many versions are kept, the newest.
_KEPT = 50


class Deployments:
    """The deployments of a namespace.

    Every method raises RedisError or OSError when Redis refuses or cannot be reached.
    """

    def __init__(self, namespace: Namespace) -> None:
        self._redis = namespace.redis
        self._key = namespace.keys.deployments

    async def record(self, version_label: str) -> None:
        """Record that a pool with a version label has started, unless an earlier one has recorded the label."""
        client, now = self._redis.client(), await self._redis.now()
        # Not a transaction: if the old ones are not removed, the next pool removes them.
        if await client.zadd(self._key, {version_label: now}, nx=True):
            await client.zremrangebyrank(self._key, 0, -_KEPT - 1)

    async def all(self) -> list[Deployment]:
        """Return the deployments, the newest first, without malformed times; none when their key holds another type."""
        try:
            found = await self._redis.client().zrange(self._key, 0, -1, desc=True, withscores=True)
        except ErrorReply as error:
            if not is_wrong_type(error):
                raise
            return []
        return [Deployment(decode(label), at) for label, at in found if 0 <= at <= LATEST]
