"""Jobs that are encoded, with the commands that write them to Redis.

An asyncio connection and a blocking one send the same commands.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

from ..models.enqueued_job import EnqueuedJob
from . import enqueue_rules, scripts, unique_value
from .job_record import END_FIELDS
from .keys import Keys
from .limited_push import Write, limited_push
from .placement import Placement
from .protocol import command, command_of_packed, encode, pack, unpack
from .unique_value import UNIQUE_TTL

# Jobs and bytes in one round trip of a bulk enqueue. There is a limit because Redis is blocked meanwhile.
_MOST_JOBS = 1000
_MOST_BYTES = 1_000_000


class EncodedJobs:
    """Jobs that are checked and encoded, in their order.

    These are two lists instead of one list of pairs, because in bulk the garbage collector takes time for each pair.

    :ivar jobs: what the caller gets to know of each job.
    """

    def __init__(self, keys: Keys) -> None:
        self._keys = keys
        self._placements: dict[int, Placement] = {}
        # By name, how many jobs may wait in its queue; names without a limit are left out.
        self._limits: dict[str, int] = {}
        self.jobs: list[EnqueuedJob] = []
        # The payloads of the jobs as they are sent: packing them in the step that makes them saves a copy of each.
        self._packed: list[bytes] = []

    def append(self, job: EnqueuedJob, payload: bytes, placement: Placement | None = None) -> None:
        """Add a job that is checked and encoded.

        :param placement: ``None`` when it is just the next of its queue.
        """
        if placement is not None:
            self._placements[len(self.jobs)] = placement
        self.jobs.append(job)
        self._packed.append(pack(payload))

    def truncate(self, count: int) -> None:
        """Keep only the first jobs."""
        for position in range(count, len(self.jobs)):
            self._placements.pop(position, None)
        del self.jobs[count:], self._packed[count:]

    def size_of(self, position: int) -> int:
        """Return the bytes of a job, as it is sent."""
        return len(self._packed[position])

    def size(self, start: int = 0) -> int:
        """Return the bytes of the jobs from a position on, as they are sent."""
        return sum(map(len, self._packed[start:]))

    def payload(self, position: int) -> bytes:
        """Return the bytes of a job in Redis."""
        return unpack(self._packed[position])

    def names(self, positions: range) -> list[str]:
        """Return the names of some of the jobs."""
        return list({job.name for job in self.jobs[positions.start : positions.stop]})

    def ignore_limits(self) -> None:
        """Have the jobs written however many wait in their queues."""
        self._limits.clear()

    @property
    def has_tenants(self) -> bool:
        """Whether any of the jobs belongs to a tenant of a fair queue."""
        return any(each.tenant is not None for each in self._placements.values())

    def round_trips(self) -> Iterator[range]:
        """Yield the positions of the jobs of each round trip."""
        for start in range(0, len(self._packed), _MOST_JOBS):
            positions = range(start, min(start + _MOST_JOBS, len(self._packed)))
            if sum(map(len, self._packed[start : positions.stop])) <= _MOST_BYTES:
                yield positions
            else:
                yield from self._shorter_round_trips(positions)

    def _shorter_round_trips(self, positions: range) -> Iterator[range]:
        start, size = positions.start, 0
        for position in positions:
            length = len(self._packed[position])
            if position > start and size + length > _MOST_BYTES:
                yield range(start, position)
                start, size = position, 0
            size += length
        yield range(start, positions.stop)

    def writes(self, positions: range) -> list[Write]:
        """Return the commands that write some of the jobs, one for all jobs of a queue that follow each other."""
        queues: defaultdict[str, list[int]] = defaultdict(list)
        jobs = self.jobs[positions.start : positions.stop]
        if not self._placements:
            if len(names := self.names(positions)) == 1:
                return [self._push(names[0], positions)]
            for position, job in zip(positions, jobs, strict=True):
                queues[job.name].append(position)
            return [self._push(name, some) for name, some in queues.items()]
        writes: list[Write] = []
        scheduled: list[int] = []
        of_tenants: defaultdict[str, list[int]] = defaultdict(list)
        for position, job in zip(positions, jobs, strict=True):
            placement = self._placements.get(position)
            if placement is None:
                queues[job.name].append(position)
            elif placement.is_next:
                of_tenants[job.name].append(position)
            elif placement.unique_key or placement.rule or placement.own_id or placement.run_at is None:
                # The order within the queue is that of the calls.
                if some := queues.pop(job.name, None):
                    writes.append(self._push(job.name, some))
                if some := of_tenants.pop(job.name, None):
                    writes.append(self._push_fairly(job.name, some))
                writes.append(self._write_alone(position, placement))
            else:
                scheduled.append(position)
        writes += (self._push(name, some) for name, some in queues.items())
        writes += (self._push_fairly(name, some) for name, some in of_tenants.items())
        if scheduled:
            scores = (pack(b"%d" % self.jobs[each].run_at) for each in scheduled)
            members = [part for each in zip(scores, self._some_packed(scheduled), strict=True) for part in each]
            add = command_of_packed((b"ZADD", encode(self._keys.scheduled)), members)
            writes.append(Write(add, scheduled))
        return writes

    def _push(self, name: str, positions: Sequence[int], verb: bytes = b"LPUSH") -> Write:
        queue = encode(self._keys.queue(name))
        if (limit := self._limits.get(name)) is not None:
            request = limited_push(self._keys, name, self._some_packed(positions), limit, front=verb == b"RPUSH")
            return Write(request, positions, limited=name)
        return Write(command_of_packed((verb, queue), self._some_packed(positions)), positions)

    def _push_fairly(self, name: str, positions: Sequence[int], *, front: bool = False) -> Write:
        args = [part for at in positions for part in (encode(self._placements[at].tenant or ""), self.payload(at))]
        fair = pack(*map(encode, self._keys.tenants.of(name)))
        if (limit := self._limits.get(name)) is None:
            return Write(scripts.call("enqueue_fair", 0, b"", [b"%d" % front, *args], fair=fair), positions)
        key, args = pack(encode(self._keys.max_waiting)), [b"%d" % front, *args, encode(name), b"%d" % limit]
        return Write(scripts.call("enqueue_fair", 1, key, args, fair=fair), positions, limited=name)

    def _some_packed(self, positions: Sequence[int]) -> list[bytes]:
        if isinstance(positions, range):
            return self._packed[positions.start : positions.stop]
        return [self._packed[each] for each in positions]

    def _write_alone(self, position: int, placement: Placement) -> Write:
        job, payload, key = self.jobs[position], self.payload(position), placement.unique_key
        limit = self._limits.get(job.name)
        limited = "" if limit is None else job.name
        if placement.rule is not None:
            kind = placement.rule, placement.digest
            due, front, has_tenant = placement.run_at, placement.front, placement.tenant is not None
            request = enqueue_rules.request(
                self._keys, job, payload, *kind, due, front=front, limit=limit, fair=has_tenant
            )
            return Write(request, [position], unique=True, limited=limited)
        if not key:
            if placement.run_at is None:
                if placement.tenant is not None:
                    return self._push_fairly(job.name, [position], front=placement.front)
                return self._push(job.name, [position], b"RPUSH" if placement.front else b"LPUSH")
            # A job that is equal to the last byte, which its own id makes possible, keeps its time.
            request = command(b"ZADD", encode(self._keys.scheduled), b"NX", b"%d" % placement.run_at, payload)
            return Write(request, [position], unique=True)
        args = [payload, b"%d" % UNIQUE_TTL, *unique_value.parts(payload, job.id, by_key=placement.by_key)]
        if placement.run_at is not None:
            packed_keys = pack(encode(self._keys.scheduled), encode(key), encode(self._keys.duplicates))
            args += (b"%d" % placement.run_at, encode(job.name))
            request = scripts.call("enqueue_unique_at", 3, packed_keys, args)
            return Write(request, [position], unique=True)
        keys = [encode(self._keys.queue(job.name)), encode(key), encode(self._keys.duplicates)]
        args += (b"%d" % placement.front, encode(job.name))
        if limit is not None:
            keys.append(encode(self._keys.max_waiting))
            args.append(b"%d" % limit)
        fair = b"" if placement.tenant is None else pack(*map(encode, self._keys.tenants.of(job.name)))
        request = scripts.call("enqueue_unique", len(keys), pack(*keys), args, fair=fair)
        return Write(request, [position], unique=True, limited=limited)

    def unmark(self, positions: range) -> list[bytes]:
        """Return the commands, to be sent before the jobs, which make sure that a job with an id of the caller is not
        taken for an earlier one with that id, which was cancelled or has ended. Their replies do not matter.
        """
        own = [each for each, placement in self._placements.items() if placement.own_id and each in positions]
        if not own:
            return []
        ids = [self.jobs[each].id for each in own]
        records = (encode(self._keys.job_record(each)) for each in ids)
        unmark = command(b"HDEL", encode(self._keys.cancels), *map(encode, ids))
        return [unmark, *(command(b"HDEL", record, *END_FIELDS) for record in records)]

    def on_reply(self, write: Write, reply: Any) -> None:
        """Note the jobs of a command as duplicates if its reply says so.

        :param reply: not an error, and not that the queue is full.
        :raises UniqueConflictError: when a duplicate is an error.
        """
        if not write.unique or reply == 1:
            return
        (position,) = write.jobs
        job, placement = self.jobs[position], self._placements[position]
        if placement.rule is not None:
            self.jobs[position] = enqueue_rules.read_reply(job, placement.rule, reply)
            return
        waiting = job.id
        if placement.unique_key:
            waiting = unique_value.owner_of(reply) if isinstance(reply, bytes) else ""
        self.jobs[position] = enqueue_rules.duplicate(job, waiting, replaced=placement.by_key)
        if placement.conflicts:
            raise enqueue_rules.conflict(job, waiting)
