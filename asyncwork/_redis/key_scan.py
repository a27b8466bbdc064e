"""Scans of the key space."""

from __future__ import annotations

from collections.abc import AsyncIterator

from .client import RedisClient
from .namespace import Namespace
from .protocol import decode

# Keys that Redis visits in one step; keeps every step short.
_STEP = 1000
# The sets that every namespace has in which jobs were enqueued or pools run.
_SETS = (":known_jobs", ":worker_pools")


def literal(text: str) -> str:
    """Escape the special characters of SCAN's patterns."""
    return "".join(f"\\{char}" if char in "*?[]^\\" else char for char in text)


async def scan_keys(
    redis: RedisClient, prefix: str, suffix: str = "", *, kind: str | None = None
) -> AsyncIterator[str]:
    """Yield the keys that begin and end like this, in steps. A key may come twice while others are written.

    :param kind: the type of value that a key must hold, as Redis's TYPE names it; ``None`` for any.
    :raises RedisError, OSError: when Redis refuses or cannot be reached.
    """
    match = f"{literal(prefix)}*{literal(suffix)}"
    async for raw in redis.client().scan_iter(match=match, count=_STEP, _type=kind):
        yield decode(raw)


async def scan_namespace(namespace: Namespace) -> AsyncIterator[str]:
    """Yield the keys of a namespace, without those of other namespaces nested in it, such as ``app:jobs`` in ``app``.

    :raises RedisError, OSError: when Redis refuses or cannot be reached.
    """
    nested = await _nested_prefixes(namespace)
    async for key in scan_keys(namespace.redis, namespace.keys.prefix):
        if not key.startswith(nested):
            yield key


async def _nested_prefixes(namespace: Namespace) -> tuple[str, ...]:
    """Return the prefixes of other namespaces whose keys begin with the prefix of this one."""
    own, found = namespace.keys.prefix, set()
    async for key in scan_keys(namespace.redis, own, kind="set"):
        for suffix in _SETS:
            prefix = key.removesuffix(suffix[1:])
            if key.endswith(suffix) and prefix != own:
                found.add(prefix)
    return tuple(sorted(found))
