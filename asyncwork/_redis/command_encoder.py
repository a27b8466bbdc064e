"""The encoder that makes Redis commands of what a pool writes about its jobs.

Those about steps, and about members of batches, are made by encoders of their own.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any

from .._jobs.location import JobSet
from . import scripts
from .commands import (
    AdmitPopped,
    BeginLookAhead,
    ClaimJobs,
    ClearCancelMark,
    ClearReaped,
    ClearSuspect,
    Command,
    CommandBatch,
    DropCancelled,
    EndHolder,
    EndHolders,
    EndLookAhead,
    Fetch,
    FreeUniqueKey,
    MarkSuspect,
    MoveToQuarantine,
    MoveToSet,
    OpenTenants,
    ReadCancelMark,
    ReadPaused,
    ReadResults,
    RequeueAndRest,
    RequeueFront,
    exemption_field,
    fingerprint,
)
from .end_calls import EndCalls
from .job_end import END_NUMBERS, JobEnd
from .keys import Keys
from .member_commands import EndMember
from .member_encoder import MemberEncoder
from .packed_keys import PackedKeys
from .protocol import command, encode, pack
from .queue import Queue
from .step_commands import DeferJob, FinishSteps, MoveCursor, ReadSteps, RecordStep
from .step_encoder import StepEncoder

# There are few of them: states, and names of jobs.
_pack_once = lru_cache(maxsize=4096)(pack)


class CommandEncoder:
    """Encodes the commands of one pool for Redis."""

    def __init__(self, keys: Keys, pool_id: bytes) -> None:
        self._packed = packed = PackedKeys(keys, pool_id)
        self._ends = EndCalls(packed)
        self._members = MemberEncoder(packed, self._ends)
        self._encoders = self._make_encoders(StepEncoder(packed, self._ends))
        self._pool_id = pool_id
        self._packed_pool_id = pack(pool_id)
        self._fetch_keys = packed.marks + packed.look_ahead_paused
        self._limited_keys = self._fetch_keys + pack(keys.rates.encode())
        self._suspect = keys.suspect_field(pool_id.decode()).encode()
        # How the keys of records begin.
        self._record = encode(keys.job_record(""))
        # By queue that is not fair, what is the same in all acknowledgements, but for the number of their parts.
        self._ack_starts: dict[Queue, bytes] = {}
        self._fair_ack_starts: dict[Queue, bytes] = {}

    def _make_encoders(self, steps: StepEncoder) -> Mapping[type[Command], Callable[[Any], bytes]]:
        return {
            EndMember: self._members.end,
            MoveToSet: self._move_to_set,
            RequeueFront: self._requeue_front,
            OpenTenants: self._open_tenants,
            RequeueAndRest: self._requeue_and_rest,
            MoveToQuarantine: self._move_to_quarantine,
            AdmitPopped: self._admit_popped,
            ClaimJobs: self._claim_jobs,
            ClearReaped: self._clear_reaped,
            FreeUniqueKey: self._free_unique_key,
            MarkSuspect: self._mark_suspect,
            ClearSuspect: self._clear_suspect,
            ReadCancelMark: self._read_cancel_mark,
            DropCancelled: self._drop_cancelled,
            EndHolder: self._end_holder,
            EndHolders: self._end_holders,
            ClearCancelMark: self._clear_cancel_mark,
            ReadPaused: self._read_paused,
            BeginLookAhead: self._begin_look_ahead,
            EndLookAhead: self._end_look_ahead,
            ReadResults: self._members.read_results,
            ReadSteps: steps.read_steps,
            RecordStep: steps.record_step,
            MoveCursor: steps.move_cursor,
            DeferJob: steps.defer,
            FinishSteps: steps.finish_steps,
        }

    def batch(self, batch: CommandBatch) -> list[bytes]:
        """Return the commands of a batch: one per queue with acks, one per queue with ends, one per queue with members
        of batches, then the others, then those of the poll, then the fetch.
        """
        encoded = [self._ack(queue, payloads) for queue, payloads in batch.acks.items()]
        if batch.ends:
            encoded += [self._finish(queue, ends) for queue, ends in batch.ends.items()]
        if batch.members:
            encoded += [self._members.ack(queue, some) for queue, some in batch.members.items()]
        if batch.commands:
            encoded += [self._encoders[type(each)](each) for each in batch.commands]
        if batch.poll is not None:
            encoded += batch.poll.commands()
        if batch.fetch is not None:
            encoded.append(self._fetch_limited(batch.fetch) if batch.fetch.limited else self._fetch(batch.fetch))
        return encoded

    # On the hot path, so what is always the same is packed once.

    def _ack(self, queue: Queue, payloads: Sequence[bytes]) -> bytes:
        start = self._ack_starts.get(queue)
        if start is None:
            if queue.fair:
                return self._ack_fairly(queue, payloads)
            start = scripts.head("ack", 4) + queue.ack_keys + self._packed.cancels + self._packed_pool_id
            self._ack_starts[queue] = start
        return b"*%d\r\n%b%b" % (8 + len(payloads), start, pack(*payloads))

    def _ack_fairly(self, queue: Queue, payloads: Sequence[bytes]) -> bytes:
        start = self._fair_ack_starts.get(queue)
        if start is None:
            keys = queue.ack_keys + self._packed.cancels + queue.fair
            start = scripts.head(scripts.FAIR + "ack", 4 + scripts.FAIR_KEYS) + keys + self._packed_pool_id
            self._fair_ack_starts[queue] = start
        return b"*%d\r\n%b%b$1\r\n1\r\n" % (9 + scripts.FAIR_KEYS + len(payloads), start, pack(*payloads))

    def _fetch(self, fetch: Fetch) -> bytes:
        if fetch.fair and (fair := [queue.fair for queue in fetch.queues if queue.fair]):
            return self._fetch_fairly(fetch, fair)
        keys = 3 + 6 * len(fetch.queues)
        packed_keys = b"".join([queue.fetch_keys for queue in fetch.queues])
        parts = (6 + keys, scripts.head("fetch", keys), self._fetch_keys, packed_keys, self._packed_pool_id)
        limit = b"%d" % fetch.limit
        return b"*%d\r\n%b%b%b%b$%d\r\n%b\r\n$1\r\n%d\r\n" % (*parts, len(limit), limit, fetch.looks_ahead)

    def _fetch_limited(self, fetch: Fetch) -> bytes:
        keys = self._limited_keys + b"".join([queue.limited_keys for queue in fetch.queues])
        names = [encode(queue.name) if queue in fetch.limited else b"" for queue in fetch.queues]
        args = [self._pool_id, b"%d" % fetch.limit, b"%d" % fetch.looks_ahead, b"%d" % fetch.at_once, *names]
        fair = [queue.fair for queue in fetch.queues if queue.fair]
        count, chunks = 4 + 7 * len(fetch.queues), _chunks(fetch)
        return scripts.call("fetch_limited", count, keys, args, fair=b"".join(fair), queues=len(fair), chunks=chunks)

    def _fetch_fairly(self, fetch: Fetch, fair: Sequence[bytes]) -> bytes:
        """Return a fetch from queues that are fair, and maybe others."""
        packed_keys = b"".join([self._fetch_keys, *(queue.fetch_keys for queue in fetch.queues)])
        args = [self._pool_id, b"%d" % fetch.limit, b"%d" % fetch.looks_ahead]
        keys, chunks = 3 + 6 * len(fetch.queues), _chunks(fetch)
        return scripts.call("fetch", keys, packed_keys, args, fair=b"".join(fair), queues=len(fair), chunks=chunks)

    def blocking_pop(self, queue: Queue, seconds: float, *, limited: bool = False) -> tuple[bytes, ...]:
        """Return a blocking pop of a queue, and the script that accounts for the popped job.

        For a fair queue, these are a pop of its bell, a fetch of one job, and a check whether more wait.

        :param limited: whether the queue may have a rate, so that the job takes a token.
        """
        if queue.fair:
            fetch = Fetch([queue], 1, 0.0, limited=frozenset([queue]), at_once=1)
            encoded = self._fetch_limited(fetch) if limited else self._fetch_fairly(fetch, [queue.fair])
            return command(b"BLPOP", queue.bell, b"%g" % seconds), encoded, command(b"EXISTS", queue.ring)
        pop = command(b"BRPOPLPUSH", queue.queue, queue.in_progress, b"%g" % seconds)
        if limited:
            args = [self._pool_id, b"1", b"0", b"1", encode(queue.name)]
            return pop, scripts.call("admit_limited", 11, self._limited_keys + queue.limited_keys, args)
        return pop, scripts.call("admit_popped", 8, queue.fetch_keys + self._packed.marks, [self._pool_id])

    def _finish(self, queue: Queue, ends: Sequence[JobEnd]) -> bytes:
        count, args = 5 + len(ends), 1
        keys, packed = [queue.ack_keys, self._packed.cancels, self._packed.finished], [self._packed_pool_id]
        # On the hot path of jobs that have a record, so all numbers are one argument, and each job is packed at once.
        for payload, job_id, seconds, more, state, name, attempts, enqueued, started, ended, stream, listed in ends:
            raw_id = encode(job_id)
            keys.append(b"$%d\r\n%b%b\r\n" % (len(self._record) + len(raw_id), self._record, raw_id))
            if stream:
                keys.append(self._packed.stream(job_id))
                count += 1
            numbers = END_NUMBERS % (
                *(seconds, stream, listed, len(more)),
                *(attempts, enqueued, started, ended),
            )
            parts = (len(payload), payload, len(raw_id), raw_id, len(numbers), numbers, _pack_once(state, name))
            packed.append(b"$%d\r\n%b\r\n$%d\r\n%b\r\n$%d\r\n%b\r\n%b" % parts)
            packed.append(pack(*more))
            args += 5 + len(more)
        if queue.fair:
            count, args = count + scripts.FAIR_KEYS, args + 1
            keys.append(queue.fair)
            packed.append(pack(b"1"))
        head = scripts.head(scripts.FAIR + "finish", count) if queue.fair else scripts.head("finish", count)
        return b"*%d\r\n%b%b%b" % (3 + count + args, head, b"".join(keys), b"".join(packed))

    def _move_to_set(self, do: MoveToSet) -> bytes:
        return scripts.call("move", *self._ends.move(do), fair=do.queue.fair)

    def _end_holder(self, do: EndHolder) -> bytes:
        return scripts.call("end_holder", *self._ends.end_holder(do), fair=do.queue.fair)

    def _end_holders(self, do: EndHolders) -> bytes:
        packed = self._packed
        holds = b"".join([packed.hold(each.name, each.digest) for each in do.holds])
        keys = do.queue.ack_keys + packed.cancels + packed.sets[JobSet.SCHEDULED] + pack(do.queue.queue) + holds
        ids = (encode(hold.job_id) for hold in do.holds)
        args = [self._pool_id, *(part for job in zip(do.payloads, ids, strict=True) for part in job)]
        return scripts.call("end_holders", 6 + len(do.holds), keys, args, fair=do.queue.fair)

    def _requeue_front(self, do: RequeueFront) -> bytes:
        args = [self._pool_id, *do.payloads]
        return scripts.call("requeue_front", 4, do.queue.front_keys, args, fair=do.queue.fair)

    def _open_tenants(self, do: OpenTenants) -> bytes:
        return scripts.call("open_tenants", 0, b"", [], fair=do.queue.fair)

    def _requeue_and_rest(self, do: RequeueAndRest) -> bytes:
        args = [self._pool_id, do.payloads[0], b"%d" % math.ceil(1000 * do.seconds)]
        count, keys = self._ends.add_end(5, do.queue.rest_keys, args, do.end)
        return scripts.call("rest_queue", count, keys, args, fair=do.queue.fair)

    def _move_to_quarantine(self, do: MoveToQuarantine) -> bytes:
        return scripts.call("quarantine", *self._ends.quarantine(do), fair=do.queue.fair)

    def _admit_popped(self, do: AdmitPopped) -> bytes:
        keys = do.queue.fetch_keys + self._packed.marks
        return scripts.call("admit", 8, keys, [self._pool_id, do.payloads[0]], fair=do.queue.fair)

    def _claim_jobs(self, do: ClaimJobs) -> bytes:
        keys = self._packed.registration + do.queue.front_keys
        args = [self._pool_id, b"%d" % do.heartbeat_at, *do.payloads]
        return scripts.call("claim", 6, keys, args, fair=do.queue.fair)

    def _clear_reaped(self, _: ClearReaped) -> bytes:
        return b"*3\r\n" + pack(b"HDEL") + self._packed.heartbeat + pack(b"reaped")

    def _free_unique_key(self, do: FreeUniqueKey) -> bytes:
        records = [self._packed.record(do.job_id)] if do.seconds else []
        keys = pack(do.queue.in_progress) + self._packed.cancels + pack(*(key.encode() for key in do.keys))
        args = [do.payloads[0], do.job_id.encode(), b"%d" % do.seconds]
        parts = 2 + len(do.keys) + len(records), keys + b"".join(records), args
        if do.member is not None:
            return self._members.free_unique_key(do.member, parts, do.queue.fair)
        return scripts.call("free_unique", *parts, fair=do.queue.fair)

    def _mark_suspect(self, do: MarkSuspect) -> bytes:
        args = [do.payloads[0], self._suspect, fingerprint(do.payloads[0])]
        return scripts.call("mark_suspect", 2, pack(do.queue.in_progress) + self._packed.crashes, args)

    def _clear_suspect(self, do: ClearSuspect) -> bytes:
        known_by = fingerprint(do.payloads[0])
        fields = pack(known_by, exemption_field(known_by), self._suspect)
        return b"*5\r\n" + pack(b"HDEL") + self._packed.crashes + fields

    def _read_cancel_mark(self, do: ReadCancelMark) -> bytes:
        keys = pack(do.queue.in_progress) + self._packed.cancels
        return scripts.call("read_cancel_mark", 2, keys, [do.payloads[0], encode(do.job_id)])

    def _drop_cancelled(self, do: DropCancelled) -> bytes:
        return scripts.call("drop_cancelled", *self._ends.drop_cancelled(do), fair=do.queue.fair)

    def _begin_look_ahead(self, _: BeginLookAhead) -> bytes:
        return scripts.call("begin_look_ahead", 2, self._packed.heartbeat + self._packed.look_ahead_paused, [])

    def _end_look_ahead(self, _: EndLookAhead) -> bytes:
        return b"*3\r\n" + pack(b"HDEL") + self._packed.heartbeat + pack(b"looks_ahead")

    def _read_paused(self, do: ReadPaused) -> bytes:
        return command(b"EXISTS", encode(self._packed.names.paused(do.queue.name)))

    def _clear_cancel_mark(self, do: ClearCancelMark) -> bytes:
        return b"*3\r\n" + pack(b"HDEL") + self._packed.cancels + pack(encode(do.job_id))


def _chunks(fetch: Fetch) -> Sequence[bytes] | None:
    return None if fetch.collecting is None else fetch.collecting.args()
