"""The round trips of an enqueue, without a connection: what is sent, and what the replies mean.

Each function is a generator of requests that receives the replies, or the error in their place. So an asyncio
connection and a blocking one share it.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Any, NamedTuple, TypeVar

from ..errors import EnqueueManyError
from ..models import EnqueuedJob
from . import scripts
from .errors import REDIS_ERRORS, ScriptMissing
from .new_jobs import NewJobs, Write

T = TypeVar("T")


class Request(NamedTuple):
    """Commands that are sent in one write.

    :ivar names: the names of the jobs that they write, which must be registered.
    """

    names: list[str]
    commands: list[bytes]


Steps = Generator[Request, list[Any], T]

_LOADS = ("enqueue_unique", "enqueue_unique_at")


def enqueue_one(new: NewJobs) -> Steps[EnqueuedJob]:
    """Write the only job; return it.

    :raises RedisError: when Redis refused it.
    """
    ((write, reply),) = yield from _send(new, range(1))
    if isinstance(reply, Exception):
        raise reply
    new.on_reply(write, reply)
    return new.jobs[0]


def enqueue_many(new: NewJobs) -> Steps[list[EnqueuedJob]]:
    """Write all jobs, in as many round trips as they need; return them.

    :raises EnqueueManyError: when Redis refused some, or cannot be reached any more.
    """
    written: list[int] = []
    refused: list[int] = []
    refusal: BaseException | None = None

    def failure(uncertain: range | tuple[()], unwritten: list[int], cause: BaseException) -> EnqueueManyError:
        found, unknown, missing = (
            [new.jobs[each] for each in sorted(some)] for some in (written, uncertain, unwritten)
        )
        return EnqueueManyError(found, unknown, missing, cause)

    for positions in new.batches():
        try:
            replies = yield from _send(new, positions)
        except REDIS_ERRORS as error:
            rest = range(positions.stop, len(new.jobs))
            raise failure(positions, [*refused, *rest], error) from error
        for write, reply in replies:
            if isinstance(reply, Exception):
                refused += write.jobs
                refusal = reply
            else:
                written += write.jobs
                new.on_reply(write, reply)
    if refusal is not None:
        raise failure((), refused, refusal) from refusal
    return new.jobs


def _send(new: NewJobs, positions: range) -> Steps[list[tuple[Write, Any]]]:
    """Send the commands of some jobs, and once more those whose script Redis did not have."""
    writes, names = new.writes(positions), new.names(positions)
    replies = yield Request(names, [each.command for each in writes])
    missing = [at for at, reply in enumerate(replies) if isinstance(reply, ScriptMissing)]
    if missing:
        loads = [scripts.load_command(name) for name in _LOADS]
        again = yield Request(names, [*loads, *(writes[at].command for at in missing)])
        for at, reply in zip(missing, again[len(loads) :], strict=True):
            replies[at] = reply
    return list(zip(writes, replies, strict=True))
