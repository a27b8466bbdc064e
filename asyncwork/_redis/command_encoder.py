"""The one encoder that makes Redis commands of what a pool writes about its jobs.

One file for all commands of a pool, because they share the keys that are packed once.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any, TypeAlias

from .._jobs.hold import Hold
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
    FinishJob,
    FreeUniqueKey,
    MarkSuspect,
    MemberAck,
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
    how_ended,
)
from .job_end import JobEnd
from .keys import Keys
from .member_calls import BatchKeys, shared_keys
from .member_commands import EndMember
from .protocol import command, encode, pack
from .queue import Queue
from .step_commands import DeferJob, FinishSteps, MoveCursor, ReadSteps, RecordStep

# There are few of them: states, and names of jobs.
_pack_once = lru_cache(maxsize=4096)(pack)

# Of a call of a script: the number of its keys, the keys, packed, and the arguments.
Parts: TypeAlias = tuple[int, bytes, list[bytes]]


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
        self._limited_keys = self._fetch_keys + pack(keys.rates.encode())
        self._suspect = keys.suspect_field(pool_id.decode()).encode()
        self._heartbeat = pack(keys.heartbeat(pool_id.decode()).encode())
        self._registration = pack(keys.worker_pools.encode()) + self._heartbeat
        self._packed_pool_id = pack(pool_id)
        self._shared = pack(*map(encode, shared_keys(keys)))
        self._members = pack(*map(encode, (keys.cancels, keys.scheduled, keys.open_batches, keys.unique_flows)))
        # How the keys of records begin.
        self._record = encode(keys.job_record(""))
        # By queue that is not fair, what is the same in all acknowledgements, but for the number of their parts.
        self._ack_starts: dict[Queue, bytes] = {}

    def batch(self, batch: CommandBatch) -> list[bytes]:
        """Return the commands of a batch: one per queue with acks, one per queue with ends, one per queue with members
        of batches, then the others, then those of the poll, then the fetch.
        """
        encoded = [self._ack(queue, payloads) for queue, payloads in batch.acks.items()]
        if batch.ends:
            encoded += [self._finish(queue, ends) for queue, ends in batch.ends.items()]
        if batch.members:
            encoded += [self._ack_members(queue, some) for queue, some in batch.members.items()]
        if batch.commands:
            encoded += [_ENCODERS[type(each)](self, each) for each in batch.commands]
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
                keys, args = queue.ack_keys + self._cancels, [self._pool_id, *payloads]
                return scripts.call("ack", 4, keys, args, fair=queue.fair)
            start = scripts.head("ack", 4) + queue.ack_keys + self._cancels + self._packed_pool_id
            self._ack_starts[queue] = start
        return b"*%d\r\n%b%b" % (8 + len(payloads), start, pack(*payloads))

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

        Of a fair queue, these are a pop of its bell, a fetch of one job, and whether more wait.

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
        if queue.fair:
            count, args = count + scripts.FAIR_KEYS, args + 1
            keys.append(queue.fair)
            packed.append(pack(b"1"))
        head = scripts.head(scripts.FAIR + "finish", count) if queue.fair else scripts.head("finish", count)
        return b"*%d\r\n%b%b%b" % (3 + count + args, head, b"".join(keys), b"".join(packed))

    def _end_args(self, end: JobEnd) -> tuple[bytes, ...]:
        return encode(end.job_id), b"%d" % end.seconds, b"%d" % end.stream_seconds, b"%d" % end.listed

    def _end_keys(self, end: JobEnd) -> bytes:
        return pack(encode(self._keys.job_record(end.job_id)), encode(self._keys.stream(end.job_id)))

    def _ack_members(self, queue: Queue, members: Sequence[MemberAck]) -> bytes:
        batches, args = BatchKeys(self._keys, 7), [self._pool_id]
        for payload, (batch_id, index), state, result in members:
            first, how = batches.first(batch_id), how_ended(state, result) if result else state.encode()
            job_id = b"%b-%d" % (batch_id.encode(), index)
            args += (payload, job_id, b"%d" % first, b"%d" % index, how)
        keys = queue.ack_keys + self._members + pack(*map(encode, batches.names))
        return scripts.call("ack_members", 7 + 5 * len(batches), keys, args, fair=queue.fair)

    def _end_member(self, do: EndMember) -> bytes:
        fair = do.queue.fair
        match do.by:
            case MoveToSet():
                return scripts.call("move_members", *self._for_member(do, self._move_parts(do.by)), fair=fair)
            case MoveToQuarantine():
                parts = self._quarantine_parts(do.by)
                return scripts.call("quarantine_members", *self._for_member(do, parts), fair=fair)
            case DropCancelled():
                return scripts.call("drop_cancelled_members", *self._for_member(do, self._drop_parts(do.by)), fair=fair)
            case EndHolder():
                return scripts.call("end_holder_members", *self._for_member(do, self._holder_parts(do.by)), fair=fair)
            case FinishSteps():
                parts = self._finish_steps_parts(do.by)
                return scripts.call("finish_steps_members", *self._for_member(do, parts), fair=fair)
            case FinishJob():
                parts = self._finish_parts(do.by.queue, do.by.end)
                return scripts.call("finish_members", *self._for_member(do, parts), fair=fair)

    def _for_member(self, do: EndMember, parts: Parts) -> Parts:
        """Return the parts of a call of the script that ends a member as another script does with these parts."""
        count, keys, args = parts
        batches = BatchKeys(self._keys, 4)
        first, index = batches.first(do.member.batch_id), do.member.number
        numbers = (b"1", b"%d" % first, b"%d" % index, how_ended(do.state, do.result), b"%d" % count, b"%d" % len(args))
        return 9 + count, self._shared + pack(*map(encode, batches.names)) + keys, [*numbers, *args]

    def _finish_parts(self, queue: Queue, end: JobEnd) -> Parts:
        keys = queue.ack_keys + self._cancels + self._finished + pack(encode(self._keys.job_record(end.job_id)))
        count = 6
        if end.stream_seconds:
            count, keys = 7, keys + pack(encode(self._keys.stream(end.job_id)))
        numbers = b"%d %d %d %d %d %d %.6f %.6f" % (
            *(end.seconds, end.stream_seconds, end.listed, len(end.more)),
            *(end.attempts, end.enqueued_at, end.started_at, end.ended_at),
        )
        args = [self._pool_id, end.payload, encode(end.job_id), numbers, end.state, end.name, *end.more]
        return count, keys, args

    def _move_to_set(self, do: MoveToSet) -> bytes:
        return scripts.call("move", *self._move_parts(do), fair=do.queue.fair)

    def _move_parts(self, do: MoveToSet) -> Parts:
        keys = do.queue.ack_keys + self._sets[do.job_set]
        args = [self._pool_id, do.payloads[0], b"%d" % do.score, do.payload, _holder(do.frees)]
        return (*self._add_hold(*self._add_end(4, keys, args, do.end), do.queue, do.frees), args)

    def _add_end(self, count: int, keys: bytes, args: list[bytes], end: JobEnd | None) -> tuple[int, bytes]:
        """Add the end of a job, if it has a record, to the keys and arguments of a script; return the keys."""
        if end is None:
            return count, keys
        args += (*self._end_args(end), *end.fields())
        return count + 3, keys + self._end_keys(end) + self._finished

    def _add_hold(self, count: int, keys: bytes, queue: Queue, frees: Hold | None) -> tuple[int, bytes]:
        """Add the key that a job frees, if there is one, to the keys of a script; return them."""
        if frees is None:
            return count, keys
        hold = self._keys.hold(frees.name, frees.digest)
        return count + 3, keys + pack(encode(hold)) + self._sets[JobSet.SCHEDULED] + pack(queue.queue)

    def _end_holder(self, do: EndHolder) -> bytes:
        return scripts.call("end_holder", *self._holder_parts(do), fair=do.queue.fair)

    def _holder_parts(self, do: EndHolder) -> Parts:
        args = [self._pool_id, do.payloads[0], encode(do.hold.job_id)]
        count, keys = self._add_hold(4, do.queue.ack_keys + self._cancels, do.queue, do.hold)
        return (*self._add_end(count, keys, args, do.end), args)

    def _end_holders(self, do: EndHolders) -> bytes:
        holds = [encode(self._keys.hold(hold.name, hold.digest)) for hold in do.holds]
        keys = do.queue.ack_keys + self._cancels + self._sets[JobSet.SCHEDULED] + pack(do.queue.queue, *holds)
        ids = (encode(hold.job_id) for hold in do.holds)
        args = [self._pool_id, *(part for job in zip(do.payloads, ids, strict=True) for part in job)]
        return scripts.call("end_holders", 6 + len(holds), keys, args, fair=do.queue.fair)

    def _requeue_front(self, do: RequeueFront) -> bytes:
        args = [self._pool_id, *do.payloads]
        return scripts.call("requeue_front", 4, do.queue.front_keys, args, fair=do.queue.fair)

    def _open_tenants(self, do: OpenTenants) -> bytes:
        return scripts.call("open_tenants", 0, b"", [], fair=do.queue.fair)

    def _requeue_and_rest(self, do: RequeueAndRest) -> bytes:
        args = [self._pool_id, do.payloads[0], b"%d" % math.ceil(1000 * do.seconds)]
        count, keys = self._add_end(5, do.queue.rest_keys, args, do.end)
        return scripts.call("rest", count, keys, args, fair=do.queue.fair)

    def _move_to_quarantine(self, do: MoveToQuarantine) -> bytes:
        return scripts.call("quarantine", *self._quarantine_parts(do), fair=do.queue.fair)

    def _quarantine_parts(self, do: MoveToQuarantine) -> Parts:
        args = [self._pool_id, do.payloads[0], do.entry, _holder(do.frees)]
        count, keys = self._add_end(4, do.queue.ack_keys + self._quarantine, args, do.end)
        return (*self._add_hold(count, keys, do.queue, do.frees), args)

    def _admit_popped(self, do: AdmitPopped) -> bytes:
        keys = do.queue.fetch_keys + self._marks
        return scripts.call("admit", 8, keys, [self._pool_id, do.payloads[0]], fair=do.queue.fair)

    def _claim_jobs(self, do: ClaimJobs) -> bytes:
        keys = self._registration + do.queue.front_keys
        args = [self._pool_id, b"%d" % do.heartbeat_at, *do.payloads]
        return scripts.call("claim", 6, keys, args, fair=do.queue.fair)

    def _clear_reaped(self, _: ClearReaped) -> bytes:
        return b"*3\r\n" + pack(b"HDEL") + self._heartbeat + pack(b"reaped")

    def _free_unique_key(self, do: FreeUniqueKey) -> bytes:
        records = [encode(self._keys.job_record(do.job_id))] if do.seconds else []
        keys = [*(key.encode() for key in do.keys), *records]
        args = [do.payloads[0], do.job_id.encode(), b"%d" % do.seconds]
        packed = pack(do.queue.in_progress) + self._cancels + pack(*keys)
        if do.member is None:
            return scripts.call("free_unique", 2 + len(keys), packed, args, fair=do.queue.fair)
        packed = self._shared + pack(*map(encode, self._keys.batch(do.member.batch_id))) + packed
        args = [b"%d" % do.member.number, *args]
        return scripts.call("free_unique_member", 11 + len(keys), packed, args, fair=do.queue.fair)

    def _mark_suspect(self, do: MarkSuspect) -> bytes:
        args = [do.payloads[0], self._suspect, fingerprint(do.payloads[0])]
        return scripts.call("mark_suspect", 2, pack(do.queue.in_progress) + self._crashes, args)

    def _clear_suspect(self, do: ClearSuspect) -> bytes:
        known_by = fingerprint(do.payloads[0])
        fields = pack(known_by, exemption_field(known_by), self._suspect)
        return b"*5\r\n" + pack(b"HDEL") + self._crashes + fields

    def _read_cancel_mark(self, do: ReadCancelMark) -> bytes:
        keys = pack(do.queue.in_progress) + self._cancels
        return scripts.call("read_cancel_mark", 2, keys, [do.payloads[0], encode(do.job_id)])

    def _read_results(self, do: ReadResults) -> bytes:
        keys = pack(do.queue.in_progress) + pack(encode(self._keys.batch(do.flow_id)[4]))
        return scripts.call("read_results", 2, keys, [do.payloads[0], *(b"%d" % each for each in do.numbers)])

    def _drop_cancelled(self, do: DropCancelled) -> bytes:
        return scripts.call("drop_cancelled", *self._drop_parts(do), fair=do.queue.fair)

    def _drop_parts(self, do: DropCancelled) -> Parts:
        args = [self._pool_id, do.payloads[0], encode(do.job_id)]
        keys = do.queue.ack_keys + self._cancels + self._steps(do.job_id)
        return (*self._add_end(5, keys, args, do.end), args)

    def _steps(self, job_id: str) -> bytes:
        return pack(encode(self._keys.steps(job_id)))

    def _read_steps(self, do: ReadSteps) -> bytes:
        keys = pack(do.queue.in_progress) + self._steps(do.job_id)
        return scripts.call("read_steps", 2, keys, [do.payloads[0]])

    def _record_step(self, do: RecordStep) -> bytes:
        keys = pack(do.queue.in_progress) + self._steps(do.job_id)
        return scripts.call("record_step", 2, keys, [do.payloads[0], do.field, do.value, b"%d" % do.seconds])

    def _move_cursor(self, do: MoveCursor) -> bytes:
        keys = pack(do.queue.in_progress) + self._steps(do.job_id)
        return scripts.call("move_cursor", 2, keys, [do.payloads[0], do.field, do.value, b"%d" % do.seconds])

    def _defer(self, do: DeferJob) -> bytes:
        keys = do.queue.ack_keys + self._sets[JobSet.SCHEDULED] + pack(do.queue.queue) + self._steps(do.job_id)
        numbers = b"%d" % do.seconds, b"%d" % len(do.events)
        args = [self._pool_id, do.payloads[0], b"%d" % do.score, do.token, *numbers, do.renewed, *do.events]
        count, keys = self._add_end(6, keys, args, do.end)
        return scripts.call("defer", count, keys, args, fair=do.queue.fair)

    def _finish_steps(self, do: FinishSteps) -> bytes:
        return scripts.call("finish_steps", *self._finish_steps_parts(do), fair=do.queue.fair)

    def _finish_steps_parts(self, do: FinishSteps) -> Parts:
        args = [self._pool_id, do.payloads[0], encode(do.job_id), _holder(do.hold)]
        keys = do.queue.ack_keys + self._cancels + self._steps(do.job_id)
        return (*self._add_hold(*self._add_end(5, keys, args, do.end), do.queue, do.hold), args)

    def _begin_look_ahead(self, _: BeginLookAhead) -> bytes:
        return scripts.call("begin_look_ahead", 2, self._heartbeat + self._look_ahead_paused, [])

    def _end_look_ahead(self, _: EndLookAhead) -> bytes:
        return b"*3\r\n" + pack(b"HDEL") + self._heartbeat + pack(b"looks_ahead")

    def _read_paused(self, do: ReadPaused) -> bytes:
        return command(b"EXISTS", encode(self._keys.paused(do.queue.name)))

    def _clear_cancel_mark(self, do: ClearCancelMark) -> bytes:
        return b"*3\r\n" + pack(b"HDEL") + self._cancels + pack(encode(do.job_id))


def _chunks(fetch: Fetch) -> Sequence[bytes] | None:
    return None if fetch.collecting is None else fetch.collecting.args()


def _holder(frees: Hold | None) -> bytes:
    return b"" if frees is None else encode(frees.job_id)


_ENCODERS: Mapping[type[Command], Callable[[CommandEncoder, Any], bytes]] = {
    EndMember: CommandEncoder._end_member,
    MoveToSet: CommandEncoder._move_to_set,
    RequeueFront: CommandEncoder._requeue_front,
    OpenTenants: CommandEncoder._open_tenants,
    RequeueAndRest: CommandEncoder._requeue_and_rest,
    MoveToQuarantine: CommandEncoder._move_to_quarantine,
    AdmitPopped: CommandEncoder._admit_popped,
    ClaimJobs: CommandEncoder._claim_jobs,
    ClearReaped: CommandEncoder._clear_reaped,
    FreeUniqueKey: CommandEncoder._free_unique_key,
    MarkSuspect: CommandEncoder._mark_suspect,
    ClearSuspect: CommandEncoder._clear_suspect,
    ReadCancelMark: CommandEncoder._read_cancel_mark,
    DropCancelled: CommandEncoder._drop_cancelled,
    EndHolder: CommandEncoder._end_holder,
    EndHolders: CommandEncoder._end_holders,
    ClearCancelMark: CommandEncoder._clear_cancel_mark,
    ReadPaused: CommandEncoder._read_paused,
    BeginLookAhead: CommandEncoder._begin_look_ahead,
    EndLookAhead: CommandEncoder._end_look_ahead,
    ReadResults: CommandEncoder._read_results,
    ReadSteps: CommandEncoder._read_steps,
    RecordStep: CommandEncoder._record_step,
    MoveCursor: CommandEncoder._move_cursor,
    DeferJob: CommandEncoder._defer,
    FinishSteps: CommandEncoder._finish_steps,
}
