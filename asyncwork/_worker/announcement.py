"""What a pool writes about its job types and its version when it starts."""

from __future__ import annotations

import logging
from collections.abc import Mapping

from .._jobs.printable import printable
from .._redis.deployments import Deployments
from .._redis.errors import ErrorReply
from .._redis.namespace import Namespace
from .._redis.queue_options import QueueOptions
from .._redis.registry import Registry

logger = logging.getLogger("asyncwork")


async def announce_job_types(
    namespace: Namespace,
    max_concurrency: Mapping[str, int],
    results: Mapping[str, int],
    options: Mapping[str, QueueOptions],
    dead_after: float,
) -> None:
    """Write the concurrency limits of the job types, for how long their results are kept, and their other options.
    Warn if other pools keep no results of theirs.

    :param max_concurrency: by job name.
    :param results: seconds by job name; names whose results are not kept are left out.
    :param options: those of queues, by job name; names that have none of them are left out.
    :param dead_after: seconds after which a pool without a heartbeat is dead.
    :raises RedisError, OSError: when Redis refuses or cannot be reached.
    """
    registry = Registry(namespace)
    await registry.write_job_types(max_concurrency, results, options)
    if not results:
        return
    for name, hosts in (await registry.served_without_records(results, dead_after)).items():
        logger.warning(
            "results of %s are not kept by a pool of gocraft/work that serves it, too (on %s): those who wait for a "
            "job that runs there wait without end; stop serving it there, or register it without result=…",
            printable(name),
            ", ".join(sorted(map(printable, set(hosts)))),
        )


async def announce_version(namespace: Namespace, version_label: str) -> None:
    """Record the version of the application, unless a pool has recorded it before.

    If Redis refuses that, only the log says so, because jobs can run all the same.

    :param version_label: empty for none.
    :raises RedisError, OSError: when Redis cannot be reached.
    """
    if not version_label:
        return
    try:
        await Deployments(namespace).record(version_label)
    except ErrorReply as error:
        logger.warning("the start of version %s was not recorded: %s", printable(version_label), error)
