"""The channel whose messages have pools read Redis now."""

from __future__ import annotations

from contextlib import suppress

from .errors import ErrorReply
from .namespace import Namespace


async def wake_pools(namespace: Namespace) -> None:
    """Have the pools read now what they read again and again: marks of cancelled jobs, requests, rates and limits.

    :raises RedisError, OSError: when Redis cannot be reached.
    """
    # The user may not be allowed to publish. The pools read all of it from time to time all the same.
    with suppress(ErrorReply):
        await namespace.redis.client().publish(namespace.keys.wake_channel(), b"")
