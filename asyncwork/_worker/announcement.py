"""What a pool writes about its job types when it starts."""

from __future__ import annotations

import logging
from collections.abc import Mapping

from .._jobs.printable import printable
from .._redis.namespace import Namespace
from .._redis.registry import Registry

logger = logging.getLogger("asyncwork")


async def announce_job_types(
    namespace: Namespace, max_concurrency: Mapping[str, int], results: Mapping[str, int], dead_after: float
) -> None:
    """Write the concurrency limits of the job types, and for how long their results are kept. Warn if other pools keep
    no results of theirs.

    :param max_concurrency: by job name.
    :param results: seconds by job name; names whose results are not kept are left out.
    :param dead_after: seconds after which a pool without a heartbeat is dead.
    :raises RedisError, OSError: when Redis refuses or cannot be reached.
    """
    registry = Registry(namespace)
    await registry.write_job_types(max_concurrency, results)
    if not results:
        return
    for name, hosts in (await registry.served_without_records(results, dead_after)).items():
        logger.warning(
            "results of %s are not kept by a pool of gocraft/work that serves it, too (on %s): those who wait for a "
            "job that runs there wait without end; stop serving it there, or register it without result=…",
            printable(name),
            ", ".join(sorted(map(printable, set(hosts)))),
        )
