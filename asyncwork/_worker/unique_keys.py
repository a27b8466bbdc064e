"""Frees the unique key of a job before it starts, so that the next job with that key can be enqueued."""

from __future__ import annotations

import logging

from .._jobs.membership import member_of
from .._redis.commands import FreeUniqueKey
from .._redis.queue import Queue
from ..errors import PayloadError
from ..job import Job
from .worker_environment import WorkerEnvironment

logger = logging.getLogger("asyncwork.job")


async def free_unique_key(env: WorkerEnvironment, queue: Queue, job: Job) -> Job | None:
    """Let the next job with the same unique key be enqueued; return the job to run, which is the newest one if it was
    enqueued by key again. Its ``raw`` is what Redis then holds as in progress.

    Returns ``None`` when the job may be another pool's.
    """
    dispatcher, keys, job_type = env.dispatcher, env.unique_keys(job), env.job_types.get(job.name)
    seconds = job_type.keeper.seconds if job_type is not None and job_type.keeper is not None else 0
    while True:
        command = FreeUniqueKey(queue, [job.raw], keys=keys, job_id=job.id, seconds=seconds, member=member_of(job.id))
        (is_held, *newest), in_time = await dispatcher.request_in_time(command)
        if in_time or newest or not is_held:
            break
        # This pool may have been considered dead since Redis replied. The key is free by now.
        keys = ()
    # Only this reply says that a newer payload is held. After a late one, the payload may have been requeued.
    if not is_held or (newest and not in_time):
        return None
    if not newest:
        return job
    newer: bytes = newest[0]
    try:
        newer_job = Job.decode(newer)
        env.cancellations.replaced(job, newer_job)
        return newer_job
    except PayloadError as error:
        # The newer payload is in progress now and has to be settled; only the popped one can be run.
        logger.warning("%s %s: ignoring what its unique key held: %s", job.name, job.id, error)
        job.raw = newer
        return job
