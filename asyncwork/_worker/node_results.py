"""Results of nodes of flows: those that a job takes as arguments, and that which it leaves for others."""

from __future__ import annotations

import logging
from typing import Any

from .._jobs.calling import Call
from .._jobs.error_text import describe_error
from .._jobs.membership import FLOW, is_flow, member_in
from .._jobs.mismatch import NotWritable, path_below
from .._jobs.node_results import MARK, RESULT_LIMIT, unkept, wanted_by, with_results
from .._json import codec
from .._redis.commands import ReadResults
from .._redis.queue import Queue
from ..job import Job
from .dispatcher import Dispatcher
from .job_type import JobType
from .poison_pills import JobTakenError

logger = logging.getLogger("asyncwork.job")

# In the bytes of the payload of a node, maybe only within its arguments.
_MAY_BE_NODE = b'"id":"w'


def node_call(call: Call, dispatcher: Dispatcher, queue: Queue, payload: bytes) -> Call:
    """Return what runs the job of a node, with results in the places of what stands for them in its arguments.

    :param call: runs the job.
    """

    async def run(context: Any, job: Job) -> object:
        if MARK in payload and (numbers := wanted_by(job.args)) and (member := member_in(payload)) is not None:
            found = await dispatcher.request(ReadResults(queue, [payload], member.batch_id, numbers))
            if found == 0:
                raise JobTakenError
            job.args = with_results(member.batch_id, job.args, dict(zip(numbers, found, strict=True)))
        result = await call(context, job)
        if not hasattr(job, "_returned"):
            job._returned = result
        return result

    return run


def keeping_of_nodes(call: Call) -> Call:
    """Return a call, to be wrapped in middlewares, that keeps the result of a node's handler, whatever these return."""

    async def keep(context: Any, job: Job) -> object:
        result = await call(context, job)
        job._returned = result
        return result

    return lambda context, job: keep(context, job) if job.id[:1] == FLOW else call(context, job)


def node_result(payload: bytes, job: Job, job_type: JobType) -> bytes:
    """Return what a job leaves for others of its flow; empty for one that is no node.

    Only the script that ends the job knows whether others want the result. So one that cannot be kept is replaced by
    the reason, and a job that takes it fails.
    """
    if _MAY_BE_NODE not in payload or (member := member_in(payload)) is None or not is_flow(member.batch_id):
        return b""
    try:
        returns, value = job_type.returns(), getattr(job, "_returned", None)
        if returns.encode is not None:
            value = returns.encode(value)
        result = codec.encode_value(value)
        if len(result) <= RESULT_LIMIT:
            return result
        return unkept(f"it has {len(result)} bytes as JSON, and at most {RESULT_LIMIT} are kept")
    except NotWritable as error:
        return unkept(f"result{path_below(error)}: {error.reason}")
    except BaseException as error:  # a class of the application may raise anything
        return unkept(describe_error(error))
