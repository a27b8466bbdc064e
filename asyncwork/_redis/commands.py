"""Commands: what a pool writes to Redis about its jobs, as frozen values."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field
from typing import NamedTuple

from .._jobs.hold import Hold
from .._jobs.location import JobSet
from .._jobs.membership import Member, MemberState
from .job_end import JobEnd
from .protocol import encode
from .queue import Queue
from .queue_poll import QueuePoll


@dataclass(frozen=True, slots=True, eq=False)
class Command:
    """Something other than an acknowledgement that is to be done to jobs of one queue.

    All commands are idempotent, so that they can be sent again when a reply was lost. Compared by identity.
    """

    queue: Queue
    payloads: Sequence[bytes]


@dataclass(frozen=True, slots=True, eq=False)
class MoveToSet(Command):
    """Move a job from the in-progress list to a sorted set.

    :ivar score: epoch seconds.
    :ivar payload: what is written to the set; it may differ from the payload that is in progress.
    :ivar end: for its record, if it has one.
    :ivar frees: the key that it holds and frees; ``None`` if there is none.
    """

    job_set: JobSet
    score: int
    payload: bytes
    end: JobEnd | None = None
    frees: Hold | None = None


@dataclass(frozen=True, slots=True, eq=False)
class FinishJob(Command):
    """Remove a job that has ended, and write its record. Only for members of batches: others are in a batch's ends."""

    end: JobEnd


class MemberAck(NamedTuple):
    """A member of a batch that has ended and has no record.

    :ivar result: what it leaves for others, JSON, if it is a node of a flow that is done.
    """

    payload: bytes
    member: Member
    state: MemberState
    result: bytes = b""


def how_ended(state: MemberState, result: bytes) -> bytes:
    """Return how a member has ended, for scripts, with what it leaves for others."""
    return b"%b %b" % (state.encode(), result) if result else state.encode()


@dataclass(frozen=True, slots=True, eq=False)
class RequeueFront(Command):
    """Move jobs to the front of their queue; the one that was taken first will be the first to run."""


@dataclass(frozen=True, slots=True, eq=False)
class OpenTenants(Command):
    """Give a turn to the tenants of a fair queue whose next token has come.

    Replies ``[opened, next]``: how many there were, and in how many microseconds the next one may go on; 0 if none
    waits for that.
    """


@dataclass(frozen=True, slots=True, eq=False)
class RequeueAndRest(Command):
    """Move a job to the front of its queue, and have no pool take jobs from that for some time.

    :ivar seconds: for how long.
    :ivar end: of the attempt, if the attempts of the job are kept.
    """

    seconds: float
    end: JobEnd | None = None


@dataclass(frozen=True, slots=True, eq=False)
class MoveToQuarantine(Command):
    """Move a payload to the quarantine.

    :ivar entry: JSON that holds the payload and the reason.
    :ivar end: for its record, if it has one.
    :ivar frees: the key that it holds and frees; ``None`` if there is none.
    """

    entry: bytes
    end: JobEnd | None = None
    frees: Hold | None = None


@dataclass(frozen=True, slots=True, eq=False)
class EndHolder(Command):
    """Remove a job that has ended, free the key that it holds, and remove its mark if it was to be cancelled.

    :ivar end: for its record, if it has one.
    """

    hold: Hold
    end: JobEnd | None = None


@dataclass(frozen=True, slots=True, eq=False)
class AdmitPopped(Command):
    """Account for a job that a blocking pop took and that may not start at once, or requeue it.

    Replies ``[verdict, number of jobs that wait, crashes]``, see :class:`Verdict`.
    """


@dataclass(frozen=True, slots=True, eq=False)
class ClaimJobs(Command):
    """Make sure that jobs are still this pool's.

    A job that another pool has requeued, and that no pool has fetched since, is in progress here again. Replies the
    positions, from 1, of the payloads that are no longer this pool's.

    :ivar heartbeat_at: epoch seconds by this pool's clock; a claim counts as a heartbeat.
    """

    heartbeat_at: int


@dataclass(frozen=True, slots=True, eq=False)
class ClearReaped(Command):
    """Forget that this pool was considered dead, once all of its jobs are claimed."""


@dataclass(frozen=True, slots=True, eq=False)
class FreeUniqueKey(Command):
    """Free the key of a unique job that is about to start.

    Replies ``[0]`` when the job is no longer in progress here, ``[1]`` when it is to run, and ``[1, payload]`` when a
    newer payload has taken its place.

    :ivar keys: the key in each way it may be spelled.
    :ivar seconds: for how long the job's record is kept, 0 if it has none.
    :ivar member: if it is one of a batch. If a newer payload takes its place, it counts as cancelled there.
    """

    keys: Sequence[str]
    job_id: str
    seconds: int = 0
    member: Member | None = None


@dataclass(frozen=True, slots=True, eq=False)
class MarkSuspect(Command):
    """Record that this job alone is to blame if the pool dies now. Replies 0 when another pool has the job."""


@dataclass(frozen=True, slots=True, eq=False)
class ClearSuspect(Command):
    """Forget that a job was running when its pool died, because it has ended now."""


@dataclass(frozen=True, slots=True, eq=False)
class ReadResults(Command):
    """Read the results of nodes of a flow, which a job takes as arguments.

    Replies these in the order of the numbers, ``None`` for a node that has none; 0 when another pool has the job.
    """

    flow_id: str
    numbers: Sequence[int]


@dataclass(frozen=True, slots=True, eq=False)
class ReadCancelMark(Command):
    """Read whether a job that is about to start is to be cancelled.

    Replies ``[held, mark]``: 0 when another pool has the job, and the mark, empty if there is none.
    """

    job_id: str


@dataclass(frozen=True, slots=True, eq=False)
class EndHolders(Command):
    """Remove jobs that have ended and have no record, and free the keys that they hold.

    :ivar payloads: others are added until this is sent.
    :ivar holds: the keys, in the order of the payloads.
    """

    payloads: list[bytes]
    holds: list[Hold]


@dataclass(frozen=True, slots=True, eq=False)
class DropCancelled(Command):
    """Remove a cancelled job, and its mark.

    :ivar end: for its record, if it has one.
    """

    job_id: str
    end: JobEnd | None = None


@dataclass(frozen=True, slots=True, eq=False)
class ClearCancelMark(Command):
    """Forget that a job was to be cancelled, because it has ended in another way."""

    job_id: str


@dataclass(frozen=True, slots=True, eq=False)
class ReadPaused(Command):
    """Read whether the queue is paused. Replies 1 if it is, else 0."""


@dataclass(frozen=True, slots=True, eq=False)
class BeginLookAhead(Command):
    """Write to the heartbeat that this pool holds jobs which have not begun.

    Replies 0, or the milliseconds for which it must not look ahead.
    """


@dataclass(frozen=True, slots=True, eq=False)
class EndLookAhead(Command):
    """Remove from the heartbeat what :class:`BeginLookAhead` has written."""


# A pool makes a fetch and a batch for each round trip. Nothing changes them, but they are not frozen, because making a
# frozen one takes three times as long.


@dataclass(frozen=True, slots=True)
class Collecting:
    """The chunks that a pool collects of a fair queue, each of one tenant.

    :ivar rooms: by tenant, how many more jobs its chunk may have.
    :ivar others: how many jobs of another tenant may be taken, to begin its chunk; 0 for none.
    """

    rooms: Mapping[str, int]
    others: int

    def args(self) -> list[bytes]:
        """Return it as the arguments of a fetch."""
        tenants = [part for name, room in self.rooms.items() for part in (encode(name), b"%d" % room)]
        return [*tenants, b"%d" % len(self.rooms), b"%d" % self.others]


@dataclass(slots=True, eq=False)
class Fetch:
    """A request for jobs.

    :ivar queues: the queues in the order in which Redis reads them.
    :ivar limit: the most jobs to return.
    :ivar requested_at: by the event loop's clock, seconds.
    :ivar looks_ahead: whether the pool may hold jobs that have not begun.
    :ivar fair: whether some of the queues may be fair.
    :ivar limited: the queues of the pool that may have a rate; empty if none of the requested ones does.
    :ivar at_once: how many of the jobs can begin at once, if some queues are limited.
    :ivar collecting: for whose chunks, if the jobs of the only queue run in chunks of one tenant each; else ``None``.
    """

    queues: Sequence[Queue]
    limit: int
    requested_at: float
    looks_ahead: bool = False
    fair: bool = True
    limited: Set[Queue] = frozenset()
    at_once: int = 0
    collecting: Collecting | None = None


@dataclass(slots=True, eq=False)
class CommandBatch:
    """The commands of one round trip.

    :ivar acks: the payloads of jobs that succeeded, by queue.
    :ivar ends: the ends of jobs that have a record, by queue.
    :ivar members: the members of batches that have ended and have no record, by queue.
    :ivar claims: whether the commands claim the pool's jobs; such a batch holds nothing else.
    """

    acks: Mapping[Queue, Sequence[bytes]] = field(default_factory=dict)
    ends: Mapping[Queue, Sequence[JobEnd]] = field(default_factory=dict)
    members: Mapping[Queue, Sequence[MemberAck]] = field(default_factory=dict)
    commands: Sequence[Command] = ()
    fetch: Fetch | None = None
    claims: bool = False
    poll: QueuePoll | None = None


def fingerprint(payload: bytes) -> bytes:
    """Return the SHA-1 of a payload in hex: its field in the hash that counts crashes."""
    return hashlib.sha1(payload, usedforsecurity=False).hexdigest().encode()


def exemption_field(payload_fingerprint: bytes) -> bytes:
    """Return the field, in the hash that counts crashes, which records that a job was exempted once."""
    return payload_fingerprint + b":doubt"
