"""What a pool writes to Redis about its jobs: frozen values, and the one encoder that makes Redis commands of them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from .._jobs.location import JobSet
from . import scripts
from .keys import Keys, Queue
from .protocol import pack


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
    """

    job_set: JobSet
    score: int
    payload: bytes


@dataclass(frozen=True, slots=True, eq=False)
class RequeueFront(Command):
    """Move jobs to the front of their queue; the last of the payloads will be the first to run."""


@dataclass(frozen=True, slots=True, eq=False)
class MoveToQuarantine(Command):
    """Move a payload to the quarantine.

    :ivar entry: JSON that holds the payload and the reason.
    """

    entry: bytes


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
    """


@dataclass(frozen=True, slots=True, eq=False)
class ClearReaped(Command):
    """Forget that this pool was considered dead, once all of its jobs are claimed."""


@dataclass(frozen=True, slots=True, eq=False)
class FreeUniqueKey(Command):
    """Free the key of a unique job that is about to start.

    Replies ``[0]`` when the job is no longer in progress here, ``[1]`` when it is to run, and ``[1, payload]`` when a
    newer payload has taken its place.

    :ivar keys: the key in each way it may be spelled.
    """

    keys: Sequence[str]
    job_id: str


@dataclass(frozen=True, slots=True, eq=False)
class MarkSuspect(Command):
    """Record that this job alone is to blame if the pool dies now. Replies 0 when another pool has the job."""


@dataclass(frozen=True, slots=True, eq=False)
class ClearSuspect(Command):
    """Forget that a job was running when its pool died, because it has ended now."""


@dataclass(frozen=True, slots=True, eq=False)
class Fetch:
    """A request for jobs.

    :ivar queues: the queues in the order in which Redis looks at them.
    :ivar limit: the most jobs to return.
    :ivar requested_at: by the event loop's clock, seconds.
    """

    queues: Sequence[Queue]
    limit: int
    requested_at: float


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """The commands of one round trip.

    :ivar acks: the payloads of jobs that succeeded, by queue.
    :ivar claims: whether the commands claim the pool's jobs; such a batch holds nothing else.
    """

    acks: Mapping[Queue, Sequence[bytes]] = field(default_factory=dict)
    commands: Sequence[Command] = ()
    fetch: Fetch | None = None
    claims: bool = False


def fingerprint(payload: bytes) -> bytes:
    """Return the SHA-1 of a payload in hex: its field in the hash that counts crashes."""
    return hashlib.sha1(payload, usedforsecurity=False).hexdigest().encode()


def exemption_field(payload_fingerprint: bytes) -> bytes:
    """Return the field, in the hash that counts crashes, which records that a job was exempted once."""
    return payload_fingerprint + b":doubt"


class CommandEncoder:
    """Encodes the commands of one pool for Redis."""

    def __init__(self, keys: Keys, pool_id: bytes) -> None:
        self._pool_id = pool_id
        self._packed_id = pack(pool_id)
        self._sets = {each: pack(getattr(keys, each.value).encode()) for each in JobSet}
        self._quarantine = pack(keys.quarantine.encode())
        self._crashes = pack(keys.crashes.encode())
        self._suspect = keys.accused_by(pool_id.decode()).encode()
        self._heartbeat = pack(keys.heartbeat(pool_id.decode()).encode())
        self._registration = pack(keys.worker_pools.encode()) + self._heartbeat
        self._pops: dict[tuple[Queue, float], tuple[bytes, bytes]] = {}

    def batch(self, batch: Batch) -> list[bytes]:
        """Return the commands of a batch: one per queue with acks, then the others, then the fetch."""
        encoded = [
            scripts.call("ack", 3, queue.ack_keys, 1 + len(payloads), self._packed_id + pack(*payloads))
            for queue, payloads in batch.acks.items()
        ]
        encoded += [_ENCODERS[type(command)](self, command) for command in batch.commands]
        if (fetch := batch.fetch) is not None:
            keys = b"".join([self._crashes, *[queue.fetch_keys for queue in fetch.queues]])
            limit = b"%d" % fetch.limit
            args = b"%b$%d\r\n%b\r\n" % (self._packed_id, len(limit), limit)
            encoded.append(scripts.call("fetch", 1 + 6 * len(fetch.queues), keys, 2, args))
        return encoded

    def blocking_pop(self, queue: Queue, seconds: float) -> tuple[bytes, bytes]:
        """Return a blocking pop of a queue, and the script that accounts for the popped job."""
        known = self._pops.get((queue, seconds))
        if known is None:
            pop = b"*4\r\n" + pack(b"BRPOPLPUSH", queue.queue, queue.in_progress, b"%g" % seconds)
            admit = scripts.call("enter", 7, queue.fetch_keys + self._crashes, 1, self._packed_id)
            known = self._pops[queue, seconds] = pop, admit
        return known

    def _move_to_set(self, command: MoveToSet) -> bytes:
        keys = command.queue.ack_keys + self._sets[command.job_set]
        args = pack(self._pool_id, command.payloads[0], b"%d" % command.score, command.payload)
        return scripts.call("move", 4, keys, 4, args)

    def _requeue_front(self, command: RequeueFront) -> bytes:
        args = pack(self._pool_id, *command.payloads)
        return scripts.call("give_back", 4, command.queue.front_keys, 1 + len(command.payloads), args)

    def _move_to_quarantine(self, command: MoveToQuarantine) -> bytes:
        args = pack(self._pool_id, command.payloads[0], command.entry)
        return scripts.call("quarantine", 4, command.queue.ack_keys + self._quarantine, 3, args)

    def _admit_popped(self, command: AdmitPopped) -> bytes:
        keys = command.queue.fetch_keys + self._crashes
        return scripts.call("admit", 7, keys, 2, pack(self._pool_id, command.payloads[0]))

    def _claim_jobs(self, command: ClaimJobs) -> bytes:
        keys = self._registration + command.queue.front_keys
        args = pack(self._pool_id, *command.payloads)
        return scripts.call("claim", 6, keys, 1 + len(command.payloads), args)

    def _clear_reaped(self, _: ClearReaped) -> bytes:
        return b"*3\r\n" + pack(b"HDEL") + self._heartbeat + pack(b"reaped")

    def _free_unique_key(self, command: FreeUniqueKey) -> bytes:
        keys = pack(command.queue.in_progress, *(key.encode() for key in command.keys))
        args = pack(command.payloads[0], command.job_id.encode())
        return scripts.call("free_unique", 1 + len(command.keys), keys, 2, args)

    def _mark_suspect(self, command: MarkSuspect) -> bytes:
        args = pack(command.payloads[0], self._suspect, fingerprint(command.payloads[0]))
        return scripts.call("accuse", 2, pack(command.queue.in_progress) + self._crashes, 3, args)

    def _clear_suspect(self, command: ClearSuspect) -> bytes:
        known_by = fingerprint(command.payloads[0])
        fields = pack(known_by, exemption_field(known_by), self._suspect)
        return b"*5\r\n" + pack(b"HDEL") + self._crashes + fields


_ENCODERS: Mapping[type[Command], Callable[[CommandEncoder, Any], bytes]] = {
    MoveToSet: CommandEncoder._move_to_set,
    RequeueFront: CommandEncoder._requeue_front,
    MoveToQuarantine: CommandEncoder._move_to_quarantine,
    AdmitPopped: CommandEncoder._admit_popped,
    ClaimJobs: CommandEncoder._claim_jobs,
    ClearReaped: CommandEncoder._clear_reaped,
    FreeUniqueKey: CommandEncoder._free_unique_key,
    MarkSuspect: CommandEncoder._mark_suspect,
    ClearSuspect: CommandEncoder._clear_suspect,
}
