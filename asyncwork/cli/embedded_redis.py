"""The Redis server that ``asyncwork run --embedded`` starts."""

from __future__ import annotations

import logging
from contextlib import AsyncExitStack

logger: logging.Logger = logging.getLogger("asyncwork.cli")


async def start_redis(directory: str, stack: AsyncExitStack) -> str:
    """Start a Redis server that ends with the stack; return its URL.

    :param directory: its data directory; empty for the default directory.
    :raises EmbeddedRedisError: when it cannot be started.
    """
    from ..embedded import EmbeddedRedis

    server = await stack.enter_async_context(EmbeddedRedis(directory or None))
    logger.info("started a Redis server, process %d, which keeps its data in %s", server.pid, server.directory)
    return server.url
