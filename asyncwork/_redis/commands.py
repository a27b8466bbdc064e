"""What a pool writes to Redis about its jobs: frozen values, and the one encoder that makes Redis commands of them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from .._jobs.location import JobSet
from . import scripts
from .job_end import JobEnd
from .keys import Keys, Queue
from .protocol import command, encode, pack


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
    """

    job_set: JobSet
    score: int
    payload: bytes
    end: JobEnd | None = None


@dataclass(frozen=True, slots=True, eq=False)
class RequeueFront(Command):
    """Move jobs to the front of their queue; the last of the payloads will be the first to run."""


@dataclass(frozen=True, slots=True, eq=False)
class MoveToQuarantine(Command):
    """Move a payload to the quarantine.

    :ivar entry: JSON that holds the payload and the reason.
    :ivar end: for its record, if it has one.
    """

    entry: bytes
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
    """

    keys: Sequence[str]
    job_id: str
    seconds: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class MarkSuspect(Command):
    """Record that this job alone is to blame if the pool dies now. Replies 0 when another pool has the job."""


@dataclass(frozen=True, slots=True, eq=False)
class ClearSuspect(Command):
    """Forget that a job was running when its pool died, because it has ended now."""


@dataclass(frozen=True, slots=True, eq=False)
class ReadMark(Command):
    """Read whether a job that is about to start is to be cancelled.

    Replies ``[held, mark]``: 0 when another pool has the job, and the mark, empty if there is none.
    """

    job_id: str


@dataclass(frozen=True, slots=True, eq=False)
class DropCancelled(Command):
    """Remove a cancelled job, and its mark.

    :ivar end: for its record, if it has one.
    """

    job_id: str
    end: JobEnd | None = None


@dataclass(frozen=True, slots=True, eq=False)
class ClearMark(Command):
    """Forget that a job was to be cancelled, because it has ended in another way."""

    job_id: str


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


@dataclass(slots=True, eq=False)
class Fetch:
    """A request for jobs.

    :ivar queues: the queues in the order in which Redis reads them.
    :ivar limit: the most jobs to return.
    :ivar requested_at: by the event loop's clock, seconds.
    :ivar looks_ahead: whether the pool may hold jobs that have not begun.
    """

    queues: Sequence[Queue]
    limit: int
    requested_at: float
    looks_ahead: bool = False


@dataclass(slots=True, eq=False)
class Batch:
    """The commands of one round trip.

    :ivar acks: the payloads of jobs that succeeded, by queue.
    :ivar ends: the ends of jobs that have a record, by queue.
    :ivar claims: whether the commands claim the pool's jobs; such a batch holds nothing else.
    """

    acks: Mapping[Queue, Sequence[bytes]] = field(default_factory=dict)
    ends: Mapping[Queue, Sequence[JobEnd]] = field(default_factory=dict)
    commands: Sequence[Command] = ()
    fetch: Fetch | None = None
    claims: bool = False


# There are few of them: states, and names of jobs.
_pack_once = lru_cache(maxsize=4096)(pack)


def fingerprint(payload: bytes) -> bytes:
    """Return the SHA-1 of a payload in hex: its field in the hash that counts crashes."""
    return hashlib.sha1(payload, usedforsecurity=False).hexdigest().encode()


def exemption_field(payload_fingerprint: bytes) -> bytes:
    """Return the field, in the hash that counts crashes, which records that a job was exempted once."""
    return payload_fingerprint + b":doubt"


class CommandEncoder:
    """Encodes the commands of one pool for Redis."""

    def __init__(self, keys: Keys, pool_id: bytes) -> None:
        self._keys = keys
        self._pool_id = pool_id
        self._sets = {each: pack(getattr(keys, each.value).encode()) for each in JobSet}
        self._quarantine = pack(keys.quarantine.encode())
        self._crashes = pack(keys.crashes.encode())
        self._cancels = pack(keys.cancels.encode())
        self._finished = pack(keys.finished.encode())
        self._marks = self._crashes + self._cancels
        self._look_ahead_paused = pack(keys.look_ahead_paused.encode())
        self._fetch_keys = self._marks + self._look_ahead_paused
        self._suspect = keys.suspect_field(pool_id.decode()).encode()
        self._heartbeat = pack(keys.heartbeat(pool_id.decode()).encode())
        self._registration = pack(keys.worker_pools.encode()) + self._heartbeat
        self._packed_pool_id = pack(pool_id)
        # How the keys of records begin.
        self._record = encode(keys.job_record(""))
        # By queue, what is the same in all acknowledgements, but for the number of their parts.
        self._ack_starts: dict[Queue, bytes] = {}

    def batch(self, batch: Batch) -> list[bytes]:
        """Return the commands of a batch: one per queue with acks, one per queue with ends, then the others, then the
        fetch.
        """
        encoded = [self._ack(queue, payloads) for queue, payloads in batch.acks.items()]
        if batch.ends:
            encoded += [self._finish(queue, ends) for queue, ends in batch.ends.items()]
        if batch.commands:
            encoded += [_ENCODERS[type(each)](self, each) for each in batch.commands]
        if batch.fetch is not None:
            encoded.append(self._fetch(batch.fetch))
        return encoded

    # On the hot path, so what is always the same is packed once.

    def _ack(self, queue: Queue, payloads: Sequence[bytes]) -> bytes:
        start = self._ack_starts.get(queue)
        if start is None:
            start = scripts.head("ack", 4) + queue.ack_keys + self._cancels + self._packed_pool_id
            self._ack_starts[queue] = start
        return b"*%d\r\n%b%b" % (8 + len(payloads), start, pack(*payloads))

    def _fetch(self, fetch: Fetch) -> bytes:
        keys = 3 + 6 * len(fetch.queues)
        packed_keys = b"".join([queue.fetch_keys for queue in fetch.queues])
        parts = (6 + keys, scripts.head("fetch", keys), self._fetch_keys, packed_keys, self._packed_pool_id)
        limit = b"%d" % fetch.limit
        return b"*%d\r\n%b%b%b%b$%d\r\n%b\r\n$1\r\n%d\r\n" % (*parts, len(limit), limit, fetch.looks_ahead)

    def blocking_pop(self, queue: Queue, seconds: float) -> tuple[bytes, bytes]:
        """Return a blocking pop of a queue, and the script that accounts for the popped job."""
        pop = command(b"BRPOPLPUSH", queue.queue, queue.in_progress, b"%g" % seconds)
        return pop, scripts.call("admit_popped", 8, queue.fetch_keys + self._marks, [self._pool_id])

    def _finish(self, queue: Queue, ends: Sequence[JobEnd]) -> bytes:
        count, args = 5 + len(ends), 1
        keys, packed = [queue.ack_keys, self._cancels, self._finished], [self._packed_pool_id]
        # On the hot path of jobs that have a record, so all numbers are one argument, and each job is packed at once.
        for payload, job_id, seconds, more, state, name, attempts, enqueued, started, ended, stream, listed in ends:
            raw_id = encode(job_id)
            keys.append(b"$%d\r\n%b%b\r\n" % (len(self._record) + len(raw_id), self._record, raw_id))
            if stream:
                keys.append(pack(encode(self._keys.stream(job_id))))
                count += 1
            numbers = b"%d %d %d %d %d %d %.6f %.6f" % (
                *(seconds, stream, listed, len(more)),
                *(attempts, enqueued, started, ended),
            )
            parts = (len(payload), payload, len(raw_id), raw_id, len(numbers), numbers, _pack_once(state, name))
            packed.append(b"$%d\r\n%b\r\n$%d\r\n%b\r\n$%d\r\n%b\r\n%b" % parts)
            packed.append(pack(*more))
            args += 5 + len(more)
        head = scripts.head("finish", count)
        return b"*%d\r\n%b%b%b" % (3 + count + args, head, b"".join(keys), b"".join(packed))

    def _end_args(self, end: JobEnd) -> tuple[bytes, ...]:
        return encode(end.job_id), b"%d" % end.seconds, b"%d" % end.stream_seconds, b"%d" % end.listed

    def _end_keys(self, end: JobEnd) -> bytes:
        return pack(encode(self._keys.job_record(end.job_id)), encode(self._keys.stream(end.job_id)))

    def _move_to_set(self, do: MoveToSet) -> bytes:
        keys = do.queue.ack_keys + self._sets[do.job_set]
        args = [self._pool_id, do.payloads[0], b"%d" % do.score, do.payload]
        count, keys = self._add_end(4, keys, args, do.end)
        return scripts.call("move", count, keys, args)

    def _add_end(self, count: int, keys: bytes, args: list[bytes], end: JobEnd | None) -> tuple[int, bytes]:
        """Add the end of a job, if it has a record, to the keys and arguments of a script; return the keys."""
        if end is None:
            return count, keys
        args += (*self._end_args(end), *end.fields())
        return count + 3, keys + self._end_keys(end) + self._finished

    def _requeue_front(self, do: RequeueFront) -> bytes:
        args = [self._pool_id, *do.payloads]
        return scripts.call("requeue_front", 4, do.queue.front_keys, args)

    def _move_to_quarantine(self, do: MoveToQuarantine) -> bytes:
        args = [self._pool_id, do.payloads[0], do.entry]
        count, keys = self._add_end(4, do.queue.ack_keys + self._quarantine, args, do.end)
        return scripts.call("quarantine", count, keys, args)

    def _admit_popped(self, do: AdmitPopped) -> bytes:
        keys = do.queue.fetch_keys + self._marks
        return scripts.call("admit", 8, keys, [self._pool_id, do.payloads[0]])

    def _claim_jobs(self, do: ClaimJobs) -> bytes:
        keys = self._registration + do.queue.front_keys
        args = [self._pool_id, b"%d" % do.heartbeat_at, *do.payloads]
        return scripts.call("claim", 6, keys, args)

    def _clear_reaped(self, _: ClearReaped) -> bytes:
        return b"*3\r\n" + pack(b"HDEL") + self._heartbeat + pack(b"reaped")

    def _free_unique_key(self, do: FreeUniqueKey) -> bytes:
        records = [encode(self._keys.job_record(do.job_id))] if do.seconds else []
        keys = [*(key.encode() for key in do.keys), *records]
        args = [do.payloads[0], do.job_id.encode(), b"%d" % do.seconds]
        packed = pack(do.queue.in_progress) + self._cancels + pack(*keys)
        return scripts.call("free_unique", 2 + len(keys), packed, args)

    def _mark_suspect(self, do: MarkSuspect) -> bytes:
        args = [do.payloads[0], self._suspect, fingerprint(do.payloads[0])]
        return scripts.call("mark_suspect", 2, pack(do.queue.in_progress) + self._crashes, args)

    def _clear_suspect(self, do: ClearSuspect) -> bytes:
        known_by = fingerprint(do.payloads[0])
        fields = pack(known_by, exemption_field(known_by), self._suspect)
        return b"*5\r\n" + pack(b"HDEL") + self._crashes + fields

    def _read_mark(self, do: ReadMark) -> bytes:
        keys = pack(do.queue.in_progress) + self._cancels
        return scripts.call("read_mark", 2, keys, [do.payloads[0], encode(do.job_id)])

    def _drop_cancelled(self, do: DropCancelled) -> bytes:
        args = [self._pool_id, do.payloads[0], encode(do.job_id)]
        count, keys = self._add_end(4, do.queue.ack_keys + self._cancels, args, do.end)
        return scripts.call("drop_cancelled", count, keys, args)

    def _begin_look_ahead(self, _: BeginLookAhead) -> bytes:
        return scripts.call("begin_look_ahead", 2, self._heartbeat + self._look_ahead_paused, [])

    def _end_look_ahead(self, _: EndLookAhead) -> bytes:
        return b"*3\r\n" + pack(b"HDEL") + self._heartbeat + pack(b"looks_ahead")

    def _clear_mark(self, do: ClearMark) -> bytes:
        return b"*3\r\n" + pack(b"HDEL") + self._cancels + pack(encode(do.job_id))


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
    ReadMark: CommandEncoder._read_mark,
    DropCancelled: CommandEncoder._drop_cancelled,
    ClearMark: CommandEncoder._clear_mark,
    BeginLookAhead: CommandEncoder._begin_look_ahead,
    EndLookAhead: CommandEncoder._end_look_ahead,
}
