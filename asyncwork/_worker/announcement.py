"""The announcement of a pool that starts: its job types, its fair queues and its version."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping

from .._jobs.printable import printable
from .._redis.deployments import Deployments
from .._redis.errors import ErrorReply
from .._redis.fair_queues import FairQueues
from .._redis.namespace import Namespace
from .._redis.pool_registry import PoolRegistry
from .._redis.protocol import pack
from .._redis.queue import Queue
from .._redis.queue_options import QueueOptions
from .job_type import JobType, fair_options

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
    registry = PoolRegistry(namespace)
    await registry.write_job_types(max_concurrency, results, options)
    if not results:
        return
    for name, hosts in (await registry.served_without_records(results, dead_after)).items():
        logger.warning(
            "results of %s are not kept by a pool of gocraft/work that serves it, too (on %s): programs that wait for "
            "a job that runs there wait without end; stop serving it there, or register it without result=…",
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


async def announce_fair_queues(namespace: Namespace, job_types: Mapping[str, JobType], queues: Iterable[Queue]) -> None:
    """Declare the fair queues of a pool, and mark those of its queues that are fair, also if another pool has declared
    them.

    :raises RedisError, OSError: when Redis refuses or cannot be reached.
    """
    fair = fair_options({name: each.options for name, each in job_types.items()})
    fair_queues = FairQueues(namespace)
    await fair_queues.declare(fair)
    names = await fair_queues.names()
    for queue in queues:
        if queue.name not in names:
            continue
        namespace.redis.runs_fair_queues = True
        queue.fair = pack(*queue.tenant_keys)
        if queue.name not in fair:
            logger.warning(
                "jobs of %s are taken in the turns of their tenants, because another pool has declared that: register "
                "it with partition=… here, too",
                printable(queue.name),
            )
