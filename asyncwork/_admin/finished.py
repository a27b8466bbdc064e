"""Lists the jobs that have ended, of the types that have ``history=True``."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace

from .._redis.errors import ErrorReply, is_wrong_type
from .._redis.job_record import Record, status_of
from .._redis.namespace import Namespace
from ..models.job_record import JobRecord
from ..models.job_status import FinishedPage, JobStatus
from .job_records import JobReaders
from .lookup import pages_of, start_of

# The location of the records that `redact` gets for jobs that have ended.
FINISHED = "finished"

# Records that are read in one round trip.
_CHUNK = 200
# Fields of records that a list does not show. They may be long.
_LEFT_OUT = (b"result", b"traceback")


class FinishedJobs:
    """Lists the jobs that have ended.

    Every method raises RedisError or OSError when Redis refuses or cannot be reached.
    """

    def __init__(self, namespace: Namespace, readers: JobReaders) -> None:
        self._redis = namespace.redis
        self._keys = namespace.keys
        self._readers = readers

    async def page(self, page: int, per_page: int, name: str | None) -> FinishedPage:
        """Return a page of the jobs that have ended, the last one first.

        :param name: of the jobs; ``None`` for all.
        :raises UsageError: when a number is out of range.
        """
        start = start_of(page, per_page)
        if name is None:
            jobs, total = await self._range(start, per_page)
        else:
            named = await self._named(name)
            jobs, total = named[start : start + per_page], len(named)
        shown = [await redact_status(each, self._readers) for each in jobs]
        return FinishedPage(tuple(shown), total, page, pages_of(total, per_page))

    async def _range(self, start: int, count: int) -> tuple[list[JobStatus], int]:
        """Return jobs from a rank on, and how many there are."""
        while True:
            ids = await self._ids(start, count)
            jobs, expired = await self._read(ids)
            if not (expired and await self._remove(expired)):
                return jobs, await self.total()

    async def _named(self, name: str) -> list[JobStatus]:
        found: list[JobStatus] = []
        start = 0
        while ids := await self._ids(start, _CHUNK):
            jobs, _ = await self._read(ids)
            found += [each for each in jobs if each.name == name]
            start += _CHUNK
        # A job that ends meanwhile moves the others, so that one may be read twice.
        return list({each.id: each for each in found}.values())

    async def _ids(self, start: int, count: int) -> list[bytes]:
        try:
            return await self._redis.client().zrevrange(self._keys.finished, start, start + count - 1)  # type: ignore[no-any-return]
        except ErrorReply as error:
            if not is_wrong_type(error):
                raise
            return []

    async def total(self) -> int:
        """Return the number of jobs that are listed; those whose records have expired may be among them."""
        try:
            return int(await self._redis.client().zcard(self._keys.finished))
        except ErrorReply as error:
            if not is_wrong_type(error):
                raise
            return 0

    async def _read(self, ids: Sequence[bytes]) -> tuple[list[JobStatus], list[bytes]]:
        """Return the jobs whose records say how they have ended, and the ids whose records have expired."""
        texts = [each.decode(errors="replace") for each in ids]
        fields = await self._of_each([("HKEYS", self._keys.job_record(each)) for each in texts])
        wanted = [[name for name in names if name not in _LEFT_OUT] for names in fields]
        values = await self._of_each(
            [("HMGET", self._keys.job_record(each), *names) for each, names in zip(texts, wanted, strict=True) if names]
        )
        left = iter(values)
        jobs: list[JobStatus] = []
        for job_id, names in zip(texts, wanted, strict=True):
            if not names:
                continue
            pairs = zip(names, next(left), strict=False)
            record: Record = {name: value for name, value in pairs if value is not None}
            if b"state" in record:
                jobs.append(status_of(job_id, record))
        return jobs, [job_id for job_id, names in zip(ids, fields, strict=True) if not names]

    async def _of_each(self, commands: Sequence[tuple[str | bytes, ...]]) -> list[list[bytes]]:
        """Return the reply to each command; nothing for a key of another type."""
        async with self._redis.client().pipeline(transaction=False) as pipe:
            for each in commands:
                pipe.execute_command(*each)
            replies = await pipe.execute(raise_on_error=False)
        for reply in replies:
            if isinstance(reply, Exception) and not is_wrong_type(reply):
                raise reply
        return [[] if isinstance(reply, Exception) else list(reply) for reply in replies]

    async def _remove(self, expired: Sequence[bytes]) -> bool:
        """Remove ids whose records have expired; return whether that was possible."""
        # A user who may only read gets a page that has fewer jobs.
        with suppress(ErrorReply):
            return bool(await self._redis.client().zrem(self._keys.finished, *expired))
        return False


async def redact_status(status: JobStatus, readers: JobReaders) -> JobStatus:
    """Return what may be shown of a job that has ended.

    :raises RedisError, OSError: when Redis refuses or cannot be reached.
    """
    if not readers.redaction:
        return status
    args = status.args
    if args:
        reader = await readers.reader(FINISHED, shows=False)
        record = JobRecord(FINISHED, "", name=status.name, id=status.id, args=args.encode(), at=status.ended_at)
        args = reader.redact(record).args.decode(errors="replace")
    # An error may quote what `redact` would hide.
    history = tuple(replace(each, error="") for each in status.history)
    return replace(status, error="", traceback="", args=args, history=history)
