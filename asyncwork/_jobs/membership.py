"""Members of batches, and their callbacks. Their ids begin with that of their batch.

The member with the number 7 of the batch ``B`` has the id ``B-7``, and the callbacks of that batch have the ids
``B-success``, ``B-done`` and ``B-failure``. Nothing else says that a job belongs to a batch. The id of a flow begins
with ``w``, and so do those of its nodes, which are its members.
"""

from __future__ import annotations

import re
from enum import StrEnum
from typing import NamedTuple

from .._json import codec
from ..errors import PayloadError, UsageError
from .ids import is_made
from .printable import shown

# Characters of the shortest id of a member. On the hot path, other jobs are recognized by the length of their ids.
SHORTEST_ID = 26
_MEMBER = re.compile(r"([0-9a-fw][0-9a-f]{23})-(0|[1-9][0-9]{0,8})")
_OF_BATCH = re.compile(r"([0-9a-fw][0-9a-f]{23})-(?:[0-9]{1,9}|success|done|failure)")
_PLAIN = re.compile(rb'\{"name":"[^"\\]*","id":"([0-9a-fw][0-9a-f]{23})-(0|[1-9][0-9]{0,8})",')
# In the bytes of a payload, maybe only within its arguments.
_MAY_BE_MEMBER = re.compile(rb'"id"\s*:\s*"[0-9a-fw][0-9a-f]{23}-[0-9]')

# The name in the scheduled set of the entries by which batches that have ended settle their members of other batches.
# Requeuers do that instead of moving them to a queue.
SETTLE_NAME = "asyncwork:settle"
_SETTLE_MARK = SETTLE_NAME.encode()

# How the ids of flows, and of their nodes, begin.
FLOW = "w"


class Callback(StrEnum):
    """When a callback of a batch is enqueued."""

    SUCCESS = "success"
    DONE = "done"
    FAILURE = "failure"


class MemberState(StrEnum):
    """How a member of a batch has ended."""

    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"


class Member(NamedTuple):
    """A member of a batch.

    :ivar number: in the batch, from 0.
    """

    batch_id: str
    number: int

    @property
    def job_id(self) -> str:
        """Its id as a job."""
        return member_id(self.batch_id, self.number)


def member_id(batch_id: str, number: int) -> str:
    """Return the id of the job that is a member of a batch."""
    return f"{batch_id}-{number}"


def callback_id(batch_id: str, callback: Callback) -> str:
    """Return the id of the job that is a callback of a batch."""
    return f"{batch_id}-{callback.value}"


def member_of(job_id: object) -> Member | None:
    """Return what a job's id says of its batch; ``None`` if it is not a member of any."""
    found = _MEMBER.fullmatch(job_id) if isinstance(job_id, str) else None
    return None if found is None else Member(found[1], int(found[2]))


def batch_of(job_id: object) -> str | None:
    """Return the id of the batch whose member or callback a job is; ``None`` if there is none."""
    found = _OF_BATCH.fullmatch(job_id) if isinstance(job_id, str) else None
    return None if found is None else found[1]


def is_flow(batch_id: str) -> bool:
    """Return whether a batch is a flow, by its id."""
    return batch_id.startswith(FLOW)


def member_in(payload: bytes) -> Member | None:
    """Return what the payload of a job says of its batch; ``None`` if it is not a member, or not a job."""
    # The plain layout, in which nothing comes before the id that may hold another.
    if (found := _PLAIN.match(payload)) is not None:
        return Member(found[1].decode(), int(found[2]))
    if not _MAY_BE_MEMBER.search(payload):
        return None
    try:
        return member_of(codec.decode_job(payload).get("id"))
    except PayloadError:
        return None


def is_settlement(payload: bytes) -> bool:
    """Return whether a payload is not a job, but an entry that settles a member or goes on with a flow. Only a pool
    may take it, because what it stands for would never be done.
    """
    if _SETTLE_MARK not in payload:
        return False
    try:
        return codec.decode_job(payload).get("name") == SETTLE_NAME
    except PayloadError:
        return False


def check_batch_id(batch_id: object) -> str:
    """Return the id of a batch.

    :raises UsageError: when no batch can have it.
    """
    if isinstance(batch_id, str) and is_made(batch_id):
        return batch_id
    raise UsageError(f"the id of a batch is 24 hex digits, and that of a flow 'w' and 23, not {shown(batch_id)}")


def check_flow_id(flow_id: object) -> str:
    """Return the id of a flow.

    :raises UsageError: when no flow can have it.
    """
    if isinstance(flow_id, str) and is_made(flow_id) and is_flow(flow_id):
        return flow_id
    raise UsageError(f"the id of a flow is 'w' and 23 hex digits, not {shown(flow_id)}")
