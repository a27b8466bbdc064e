"""Many commands in few round trips. The error of one does not hide the replies of the others."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .._redis.client import RedisClient
from .._redis.slices import slices

# Commands in one round trip, and keys in one call of a script; keeps either far below 10 ms.
STEP = 1000


async def send(redis: RedisClient, commands: Sequence[tuple[object, ...]]) -> list[Any]:
    """Send commands and return their replies; the reply to a command that failed is its error.

    :raises RedisError, OSError: when Redis cannot be reached.
    """
    replies: list[Any] = []
    for some in slices(commands, STEP):
        async with redis.client().pipeline(transaction=False) as pipe:
            for command in some:
                pipe.execute_command(*command)
            replies += await pipe.execute(raise_on_error=False)
    return replies
