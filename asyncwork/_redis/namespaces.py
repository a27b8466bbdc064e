"""Namespaces whose keys lie among those of another, such as ``app:jobs`` among those of ``app``."""

from __future__ import annotations

from typing import Any

from .keys import Keys, literal

_STEP = 1000
# The sets that every namespace has in which jobs were enqueued, or pools run.
_SETS = (":known_jobs", ":worker_pools")


async def nested_prefixes(client: Any, keys: Keys) -> tuple[str, ...]:
    """Search the whole keyspace, in steps, for other namespaces whose keys begin with the prefix of this one; return
    their prefixes.

    :raises RedisError, OSError: when Redis refuses or cannot be reached.
    """
    found = set()
    async for raw in client.scan_iter(match=f"{literal(keys.prefix)}*", count=_STEP, _type="set"):
        key = raw.decode(errors="surrogateescape")
        for ending in _SETS:
            prefix = key.removesuffix(ending[1:])
            if key.endswith(ending) and prefix != keys.prefix:
                found.add(prefix)
    return tuple(sorted(found))
