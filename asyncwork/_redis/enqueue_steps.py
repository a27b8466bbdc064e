"""The round trips of an enqueue, without a connection: what is sent, and what the replies mean.

Each function is a generator of requests that receives the replies, or the error in their place. So an asyncio
connection and a blocking one share it.
"""

from __future__ import annotations

import re
from collections.abc import Generator
from typing import Any, NamedTuple, TypeVar

from ..errors import EnqueueManyError, QueueFull, UniqueConflictError
from ..models.enqueued_job import EnqueuedJob
from . import scripts
from .base_client import unavailable
from .errors import REDIS_ERRORS, ScriptMissing, is_unsent
from .limited_push import Write, split_by_limit
from .new_jobs import NewJobs

T = TypeVar("T")

# How a script refuses a job: how many wait, how many may, and the tenant.
_FULL = re.compile(r"QUEUEFULL (\d+) (\d+) (.*)", re.DOTALL)


class Request(NamedTuple):
    """Commands that are sent in one write.

    :ivar names: the names of the jobs that they write, which must be registered.
    """

    names: list[str]
    commands: list[bytes]


class Result(NamedTuple):
    """The replies to the writes of one round trip.

    :ivar answered: the writes that Redis has replied to, each with its reply, which may be an error.
    :ivar unanswered: the other writes.
    :ivar error: why there is no reply to those; ``None`` if there are none.
    """

    answered: list[tuple[Write, Any]]
    unanswered: list[Write]
    error: BaseException | None


Steps = Generator[Request, list[Any], T]

LOADS = ("enqueue_limited", "enqueue_unique", "enqueue_unique_at", "enqueue_holder", "debounce", "throttle")
FAIR_LOADS = (*(f"{scripts.FAIR}{name}" for name in ("enqueue_unique", "enqueue_holder", "throttle")), "enqueue_fair")


def enqueue_one(new: NewJobs) -> Steps[EnqueuedJob]:
    """Write the only job; return it.

    :raises RedisError, OSError: when Redis refused it or cannot be reached.
    :raises QueueFull: when too many jobs wait in its queue, or of its tenant.
    :raises UniqueConflictError: when another job holds its key, and that is an error.
    """
    result = yield from _send(new, range(1))
    if result.error is not None:
        raise result.error
    ((write, reply),) = result.answered
    if isinstance(reply, Exception):
        raise refusal_of(new, write, reply)
    *_, full = split_by_limit(write, reply)
    if full is not None:
        raise full
    new.on_reply(write, reply)
    return new.jobs[0]


def enqueue_many(new: NewJobs, masked_url: str) -> Steps[list[EnqueuedJob]]:
    """Write all jobs, in as many round trips as they need; return them.

    :param masked_url: where Redis is, for the error.
    :raises EnqueueManyError: when Redis refused some, or cannot be reached any more, or a queue was full, which is
        then its cause, or other jobs hold the keys of some, and that is an error.
    """
    written: list[int] = []
    uncertain: list[int] = []
    unwritten: list[int] = []
    cause: BaseException | None = None
    conflict: UniqueConflictError | None = None
    for positions in new.round_trips():
        answered, unanswered, error = yield from _send(new, positions)
        for write, reply in answered:
            if isinstance(reply, Exception):
                unwritten += write.jobs
                cause = refusal_of(new, write, reply)
                continue
            some, others, full = split_by_limit(write, reply)
            if full is None:
                try:
                    new.on_reply(write, reply)
                except UniqueConflictError as refused:
                    some, others, conflict = (), write.jobs, refused
            written += some
            unwritten += others
            cause = cause or full
        if error is not None:
            cause = error
            lost = unwritten if is_unsent(error) else uncertain
            for write in unanswered:
                lost += write.jobs
        if error is not None or isinstance(cause, QueueFull):
            # Jobs that come later must not overtake those that found their queue full.
            unwritten += range(positions.stop, len(new.jobs))
            break
    if cause is not None or conflict is not None:
        found, unknown, missing = (
            [new.jobs[each] for each in sorted(some)] for some in (written, uncertain, unwritten)
        )
        reason: BaseException | str = str(conflict)
        if cause is not None:
            reason = cause if isinstance(cause, QueueFull) else unavailable(cause, masked_url)
        raise EnqueueManyError(found, unknown, missing, reason) from (cause or conflict)
    return new.jobs


def refusal_of(new: NewJobs, write: Write, reply: Exception) -> Exception:
    """Return the error to raise for an error reply: :class:`QueueFull` if the list of a tenant is full."""
    full = _FULL.search(str(reply))
    if full is None:
        return reply
    return QueueFull(new.jobs[write.jobs[0]].name, int(full[1]), int(full[2]), full[3])


def _send(new: NewJobs, positions: range) -> Steps[Result]:
    """Send the commands of some jobs, and once more those whose script Redis did not have."""
    writes, names, before = new.writes(positions), new.names(positions), new.unmark(positions)
    try:
        replies = yield Request(names, [*before, *(each.command for each in writes)])
    except REDIS_ERRORS as error:
        return Result([], writes, error)
    answered = list(zip(writes, replies[len(before) :], strict=True))
    again = [write for write, reply in answered if isinstance(reply, ScriptMissing)]
    if not again:
        return Result(answered, [], None)
    answered = [each for each in answered if not isinstance(each[1], ScriptMissing)]
    needed = (*LOADS, *FAIR_LOADS) if new.has_tenants else LOADS
    loads = [scripts.load_command(name) for name in needed]
    try:
        replies = yield Request(names, [*loads, *(each.command for each in again)])
    except REDIS_ERRORS as error:
        return Result(answered, again, error)
    return Result([*answered, *zip(again, replies[len(loads) :], strict=True)], [], None)
