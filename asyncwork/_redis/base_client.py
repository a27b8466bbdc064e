"""The connection handling that the public classes share."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import timedelta
from types import TracebackType
from typing import Self

from .._environment import namespace_of
from .._jobs.membership import is_flow
from .._jobs.times import seconds_of
from ..errors import RedisUnavailable, ResultLost, ResultTimeout
from ..models.enqueued_job import EnqueuedJob
from .client import RedisClient
from .errors import REDIS_ERRORS, is_lasting, is_wrong_type
from .job_record import Record, checked_id, is_final, known_end, not_ended, remember_end
from .job_waits import JobWaits
from .namespace import Namespace
from .per_loop import PerLoop

# Seconds.
_SHORT = 1.0


class BaseClient:
    """Owns the connections to Redis, and is an async context manager that closes them.

    :param url: ``None`` for the environment's ``ASYNCWORK_REDIS``, or ``redis://localhost:6379/0``.
    :param namespace: ``None`` for the environment's ``ASYNCWORK_NAMESPACE``, or ``work``.
    :raises UsageError: when the URL has another form, or a cluster would scatter the keys of the namespace.
    """

    def __init__(self, url: str | None, namespace: str | None) -> None:
        self.namespace: str = namespace_of(namespace)
        self._redis = RedisClient(url, namespace=self.namespace)
        self._in_redis = Namespace.of(self._redis)
        self._waits = PerLoop(lambda: JobWaits(self._in_redis), JobWaits.abandon)

    @property
    def masked_url(self) -> str:
        """The URL of Redis, without its password."""
        return self._redis.masked_url

    async def close(self) -> None:
        """Close the connections of this event loop. New ones are opened when they are needed."""
        if (waits := self._waits.pop()) is not None:
            await waits.close()
        await self._redis.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    async def _end_of(self, job: EnqueuedJob, name: str, timeout: float | timedelta | None) -> Record:
        """Wait until a job has ended, unless its handle remembers its end; return its record.

        :param name: as for :meth:`_wait_for_end`.
        :raises ResultTimeout, RedisUnavailable, UsageError: as there.
        """
        known = known_end(job)
        if known is None:
            record = await self._wait_for_end(job.id, name, timeout)
        else:
            # Checked in any case.
            seconds = None if timeout is None else seconds_of(timeout, "timeout")
            if is_final(known):
                return known
            try:
                record = await self._wait_for_end(job.id, "", seconds, search=True)
            except (ResultLost, RedisUnavailable):
                return known
        remember_end(job, record)
        return record

    async def _wait_for_end(
        self, job_id: str, name: str, timeout: float | timedelta | None, *, search: bool = False
    ) -> Record:
        """Wait until a job has ended; return its record.

        :param name: its name, to check that its results are kept; empty if that is known.
        :param search: whether there may be no such job.
        :raises ResultTimeout: when it has not ended in time.
        :raises ResultLost: when there is no such job, if it is searched for.
        :raises RedisUnavailable: when Redis refuses the user or the password; or, if it is searched for, cannot be
            reached at first.
        :raises UsageError: when no results of that name are kept, or the timeout is not valid.
        """
        seconds = None if timeout is None else seconds_of(timeout, "timeout")
        job_id = checked_id(job_id)
        limit = asyncio.timeout(seconds)
        try:
            async with limit:
                return await self._waits.get().wait(job_id, name, search=search)
        except REDIS_ERRORS as error:
            # It is a TimeoutError, too, when Redis has not replied in time.
            if not limit.expired():
                raise unavailable(error, self.masked_url) from error
        if seconds is not None and seconds < _SHORT and (record := await self._read_quickly(job_id)) is not None:
            return record
        raise not_ended(job_id, name, seconds)

    async def _wait_for_batch(self, batch_id: str, seconds: float | None) -> None:
        """Wait until a batch or flow has ended, or is not kept any more.

        :raises ResultTimeout: when it has not ended in time.
        :raises RedisUnavailable: when Redis refuses the user or the password.
        """
        limit = asyncio.timeout(seconds)
        try:
            async with limit:
                return await self._waits.get().wait_for_batch(batch_id)
        except REDIS_ERRORS as error:
            if not limit.expired():
                raise unavailable(error, self.masked_url) from error
        kind = "flow" if is_flow(batch_id) else "batch"
        raise ResultTimeout(f"{kind} {batch_id} has not ended within {seconds:g} s")

    async def _read_quickly(self, job_id: str) -> Record | None:
        """Return the record of a job that has ended, for a wait that may have been too short to read anything.

        :raises RedisUnavailable: when Redis refuses the user or the password.
        """
        try:
            async with asyncio.timeout(_SHORT):
                record: Record = await self._redis.client().hgetall(self._in_redis.keys.job_record(job_id))
        except REDIS_ERRORS as error:
            if is_lasting(error) and not is_wrong_type(error):
                raise unavailable(error, self.masked_url) from error
            return None
        return record if b"state" in record else None

    def _redis_errors(self, job: EnqueuedJob | None = None) -> AbstractContextManager[None]:
        """Raise errors of Redis as RedisUnavailable; see :func:`translated_errors`."""
        return translated_errors(self.masked_url, job)


@contextmanager
def translated_errors(masked_url: str, job: EnqueuedJob | None = None) -> Iterator[None]:
    """Raise errors of Redis as RedisUnavailable.

    :param job: the job that is being enqueued, for the text of the error.
    """
    try:
        yield
    except REDIS_ERRORS as error:
        raise unavailable(error, masked_url, job) from error


def unavailable(error: BaseException, masked_url: str, job: EnqueuedJob | None = None) -> RedisUnavailable:
    """Return the public error for an error of Redis."""
    failure = f"job {job.name} {job.id} could not be enqueued: " if job else ""
    return RedisUnavailable(f"{failure}Redis at {masked_url}: {str(error) or type(error).__name__}")
