"""Reads batches, and acts on their members."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence

from .._jobs.location import JobSet, queue_location
from .._jobs.membership import Callback, Member, is_flow, member_id, member_in, member_of
from .._json import codec
from .._redis.batch_store import BatchFields, BatchStore
from .._redis.cancels import CancelMark, Cancels
from .._redis.deletions import Deletions
from .._redis.inspector import Inspector
from .._redis.job_record import Record, read_record, status_of
from .._redis.job_scan import JobScan
from .._redis.located_payload import LocatedPayload
from .._redis.namespace import Namespace
from .._redis.protocol import decode, read_count
from .._redis.wake_channel import wake_pools
from ..errors import PayloadError
from ..job import Job
from ..models.batches import BatchFailures, BatchPage, BatchResult, BatchStatus
from ..models.job_status import JobState, JobStatus
from .actions import JobActions
from .finished import redact_status
from .job_records import JobReaders
from .lookup import pages_of, start_of

# Seconds for which the members on one page are searched for among the dead jobs.
_SEARCH_SECONDS = 5.0
# Open batches that are read to find the members of a batch that is cancelled.
_MOST_OPEN = 10_000
_WAITING_SETS = (JobSet.SCHEDULED, JobSet.RETRY)


class BatchReader:
    """Reads batches.

    Every method raises RedisError or OSError when Redis refuses or cannot be reached.
    """

    def __init__(self, namespace: Namespace, inspector: Inspector, readers: JobReaders) -> None:
        self._redis = namespace.redis
        self._keys = namespace.keys
        self._store = BatchStore(namespace)
        self._inspector = inspector
        self._readers = readers

    async def read(self, batch_id: str) -> BatchStatus | None:
        """Return a batch; ``None`` if it is gone, or never was."""
        (fields,) = await self._store.read([batch_id])
        return read_batch(batch_id, fields) if fields else None

    async def page(self, page: int, per_page: int) -> BatchPage:
        """Return a page of batches, the newest first.

        :raises UsageError: when a number is out of range.
        """
        start = start_of(page, per_page)
        while True:
            ids = await self._store.ids(start, per_page)
            found = dict(zip(ids, await self._store.read(ids), strict=True))
            gone = [batch_id for batch_id, fields in found.items() if not fields]
            if not gone:
                break
            # They have expired.
            await self._store.forget(gone)
        total = await self._store.count()
        shown = tuple(read_batch(batch_id, fields) for batch_id, fields in found.items())
        return BatchPage(shown, total, page, pages_of(total, per_page))

    async def count(self) -> int:
        """Return how many batches are listed; some that are not kept any more may be among them."""
        return await self._store.count()

    async def open_count(self) -> int:
        """Return how many batches have not ended."""
        return await self._store.count(open_only=True)

    async def failures(self, batch_id: str, page: int, per_page: int) -> BatchFailures:
        """Return a page of the members of a batch that have failed.

        :raises UsageError: when a number is out of range.
        """
        start = start_of(page, per_page)
        numbers = list(numbers_of((await self._store.bits(batch_id)).failed))
        ids = [member_id(batch_id, number) for number in numbers[start : start + per_page]]
        records = await self._records(ids)
        found = {job_id: status_of(job_id, record) for job_id, record in records.items() if b"state" in record}
        found |= await self._dead([job_id for job_id in ids if job_id not in found])
        jobs = [found.get(job_id) or JobStatus(job_id, JobState.UNKNOWN) for job_id in ids]
        shown = [await redact_status(each, self._readers) for each in jobs]
        return BatchFailures(tuple(shown), len(numbers), page, pages_of(len(numbers), per_page))

    async def results(self, batch_id: str, page: int, per_page: int) -> list[BatchResult]:
        """Return what is kept of the results of a page of the members.

        :raises UsageError: when a number is out of range.
        """
        start = start_of(page, per_page)
        (fields,) = await self._store.read([batch_id])
        numbers = range(start, min(start + per_page, read_count(fields.get(b"next")) or 0))
        ended = set(numbers_of((await self._store.bits(batch_id)).ended))
        ids = [member_id(batch_id, number) for number in numbers if number in ended]
        records = await self._records(ids)
        return [_result(number, batch_id, records) for number in numbers if number in ended]

    async def _records(self, ids: Sequence[str]) -> dict[str, Record]:
        async with self._redis.client().pipeline(transaction=False) as pipe:
            for job_id in ids:
                pipe.execute_command("HGETALL", self._keys.job_record(job_id))
            replies = await pipe.execute(raise_on_error=False)
        found: dict[str, Record] = {}
        for job_id, reply in zip(ids, replies, strict=True):
            if isinstance(reply, dict):
                found[job_id] = reply
            elif isinstance(reply, list):
                found[job_id] = read_record(reply)
        return found

    async def _dead(self, ids: Sequence[str]) -> dict[str, JobStatus]:
        """Return those of the jobs that are dead."""
        found: dict[str, JobStatus] = {}
        if not ids:
            return found
        wanted, reader = set(ids), await self._readers.reader(JobSet.DEAD)
        deadline = time.monotonic() + _SEARCH_SECONDS
        scan = JobScan(self._inspector, JobSet.DEAD)
        while wanted and (members := await scan.step()):
            for each in members:
                if (member := member_in(each.raw)) is not None and member.job_id in wanted:
                    record = reader.record(each.raw, each.at)
                    wanted.discard(member.job_id)
                    found[member.job_id] = JobStatus(
                        member.job_id,
                        JobState.DEAD,
                        name=record.name,
                        enqueued_at=record.enqueued_at,
                        ended_at=record.at or 0.0,
                        attempts=record.fails,
                        error=record.err,
                        traceback=record.traceback,
                        location=JobSet.DEAD.value,
                        args=record.args.decode(errors="replace"),
                    )
            scan.mark_seen(members)
            if scan.ended or time.monotonic() >= deadline:
                break
        return found


class BatchActions:
    """Acts on the members of batches.

    Every method raises RedisError or OSError when Redis refuses or cannot be reached.
    """

    def __init__(self, namespace: Namespace, inspector: Inspector, reader: BatchReader, actions: JobActions) -> None:
        self._namespace = namespace
        self._redis = namespace.redis
        self._keys = namespace.keys
        self._store = BatchStore(namespace)
        self._inspector = inspector
        self._reader = reader
        self._actions = actions
        self._deletions = Deletions(namespace)
        self._cancels = Cancels(namespace)

    async def cancel(self, batch_id: str, mark: CancelMark, seconds: float) -> BatchStatus | None:
        """Cancel the members of a batch that have not ended; return the batch, or ``None`` if it is gone.

        :param seconds: for how long waiting members are searched for. Those that are not found in that time are dropped
            when a pool meets them.
        """
        status = await self._reader.read(batch_id)
        if status is None or status.ended:
            return status
        deadline = time.monotonic() + seconds
        if not await self._cancels.mark_batch(batch_id, mark):
            # It has ended meanwhile.
            return await self._reader.read(batch_id)
        await wake_pools(self._namespace)
        for child in await self._children(batch_id):
            await self.cancel(child, mark, max(0.0, deadline - time.monotonic()))
        for location in (*_WAITING_SETS, *map(queue_location, await self._inspector.names())):
            if time.monotonic() >= deadline or not await self._delete(location, batch_id, mark, deadline):
                break
        if status.open and not (await self._reader.read(batch_id) or status).left:
            await self._store.close(batch_id)
        return await self._reader.read(batch_id)

    async def _children(self, batch_id: str) -> list[str]:
        """Return the ids of the open batches that are members of a batch."""
        ids = await self._store.ids(0, _MOST_OPEN, open_only=True)
        found = zip(ids, await self._store.read(ids), strict=True)
        return [each for each, fields in found if fields and read_batch(each, fields).parent == batch_id]

    async def _delete(self, location: str, batch_id: str, mark: CancelMark, deadline: float) -> bool:
        """Delete the members of a batch from a location; return whether all of it was read."""
        # Ascending, because what arrives meanwhile, such as another attempt, has a higher score.
        scan = JobScan(self._inspector, location, newest_first=False)
        while members := await scan.step():
            chosen = [each for _, each in _of_batch(members, batch_id)]
            gone: Sequence[LocatedPayload] = ()
            if chosen:
                await self._deletions.delete(location, chosen, state=JobState.CANCELLED, reason=str(mark))
                gone = await self._inspector.gone(location, chosen)
            scan.mark_seen(members, gone)
            if scan.ended:
                break
            if time.monotonic() >= deadline:
                return False
        return True

    async def retry_failed(self, batch_id: str) -> int:
        """Put the dead members of a batch on their queues; return how many."""
        # The newest first, so that members that fail again meanwhile are not met again.
        retried, scan, met = 0, JobScan(self._inspector, JobSet.DEAD), set[int]()
        while members := await scan.step():
            # Nor are members chosen twice that fail again in the second in which they had failed.
            found = [each for each in _of_batch(members, batch_id) if each[0] not in met]
            met.update(number for number, _ in found)
            chosen = [each for _, each in found]
            gone: Sequence[LocatedPayload] = ()
            if chosen:
                flow_id = batch_id if is_flow(batch_id) else ""
                retried += await self._actions.requeue_members(JobSet.DEAD, chosen, flow_id)
                gone = await self._inspector.gone(JobSet.DEAD, chosen)
            scan.mark_seen(members, gone)
            if scan.ended:
                break
        return retried


def _of_batch(members: Sequence[LocatedPayload], batch_id: str) -> Iterator[tuple[int, LocatedPayload]]:
    """Yield those that are members of a batch, each with its number."""
    prefix = batch_id.encode()
    for each in members:
        if prefix in each.raw and (member := member_in(each.raw)) is not None and member.batch_id == batch_id:
            yield member.number, each


def read_batch(batch_id: str, fields: BatchFields) -> BatchStatus:
    """Return what the fields of a batch in Redis say, without the values that another program has written there."""

    def number(name: bytes) -> int:
        return read_count(fields.get(name)) or 0

    mark, parent = fields.get(b"cancel"), parent_of(fields)
    return BatchStatus(
        batch_id,
        decode(fields.get(b"name", b"")).encode(errors="replace").decode(errors="replace"),
        tags=_tags(fields.get(b"tags", b"[]")),
        total=number(b"total"),
        left=number(b"left"),
        failed=number(b"failed"),
        cancelled=number(b"cancelled"),
        created_at=number(b"created_at"),
        ended_at=number(b"ended_at") if b"ended_at" in fields else None,
        open=b"open" in fields,
        waiting=tuple(each.value for each in Callback if f"on_{each.value}".encode() in fields),
        cancellation="" if mark is None else str(CancelMark.decode(mark)),
        parent="" if parent is None else parent.batch_id,
        incomplete=b"incomplete" in fields,
        added_at=number(b"added_at") or number(b"created_at"),
    )


def _tags(raw: bytes) -> tuple[str, ...]:
    try:
        tags = codec.decode(raw)
    except PayloadError:
        return ()
    return tuple(each for each in tags if isinstance(each, str)) if isinstance(tags, list) else ()


def parent_of(fields: BatchFields) -> Member | None:
    """Return the member of another batch that a batch is; ``None`` if it is none."""
    try:
        return member_of(Job.decode(fields[b"parent"]).id) if b"parent" in fields else None
    except PayloadError:
        return None


def numbers_of(bits: bytes) -> Iterator[int]:
    """Yield the numbers of the bits of a bitmap that are set."""
    for at, byte in enumerate(bits):
        if byte:
            for bit in range(8):
                if byte & (0x80 >> bit):
                    yield 8 * at + bit


def _result(number: int, batch_id: str, records: dict[str, Record]) -> BatchResult:
    job_id = member_id(batch_id, number)
    record = records.get(job_id, {})
    status = status_of(job_id, record) if b"state" in record else JobStatus(job_id, JobState.UNKNOWN)
    value = None
    if (raw := record.get(b"result")) is not None:
        try:
            value = codec.decode(raw)
        except PayloadError:
            value = None
    return BatchResult(number, job_id, status.state, value)
