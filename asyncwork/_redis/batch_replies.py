"""The replies to writes of members of a batch: whether it takes members, and which were not written."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .._jobs.membership import is_flow
from ..errors import BatchEndedError, UniqueConflictError
from .base_client import unavailable
from .limited_push import Write, split_by_limit
from .new_jobs import NewJobs

_WHY = {
    -1: "it never was, or has ended so long ago that it is not kept any more",
    -2: "it has ended",
    -3: "it was cancelled",
}


def ended_error(batch_id: str, reply: int) -> BatchEndedError | None:
    """Return the error that the reply of a script says, which counts or reserves members; ``None`` if there is none."""
    if reply >= 0:
        return None
    what = "nodes cannot be added to flow" if is_flow(batch_id) else "jobs cannot be added to batch"
    return BatchEndedError(f"{what} {batch_id}: {_WHY[reply]}")


def count_missing(new: NewJobs, answered: Sequence[tuple[Write, Any]], masked_url: str) -> tuple[int, Exception | None]:
    """Return how many members were not written, and why if Redis refused them.

    :param answered: what writes them, each with the reply.
    """
    missing = 0
    failure: Exception | None = None
    for write, reply in answered:
        if isinstance(reply, Exception):
            missing += len(write.jobs)
            failure = unavailable(reply, masked_url)
            continue
        _, others, full = split_by_limit(write, reply)
        missing += len(others)
        failure = failure or full
        if full is None:
            try:
                new.on_reply(write, reply)
                missing += sum(new.jobs[each].duplicate for each in write.jobs)
            except UniqueConflictError as refused:
                missing += len(write.jobs)
                failure = refused
    return missing, failure
