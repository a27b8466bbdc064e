"""Read what jobs emit, for the client."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from datetime import timedelta
from typing import Any

from .._jobs.printable import shown
from .._jobs.times import seconds_of
from .._json import codec
from .._redis.base_client import BaseClient, unavailable
from .._redis.errors import REDIS_ERRORS
from .._redis.stream_reader import Entry, StreamReader, is_entry_id, read_last_entries
from ..errors import StreamTimeout, UsageError
from ..models.job_status import StreamItem


class StreamClient(BaseClient):
    """Reads the streams of jobs."""

    async def stream(
        self, job_id: str, *, after: str = "", timeout: float | timedelta | None = None
    ) -> AsyncGenerator[Any, None]:
        """Yield each chunk that a job emits, from the first one on, until the job has ended for good.

        It may be called before the job has started, while it runs, and as long as the stream is kept after the end.
        Any number of callers may read one stream, each over a connection of its own, and each gets every chunk. When
        the connection breaks, it is opened again, and no chunk is lost or repeated. A job that is tried again emits
        again; :meth:`stream_items` shows to which attempt a chunk belongs, and how the job has ended.

        :param job_id: the id of a job whose type has a stream, as with ``@pool.job(stream=3600)``. An id that is
            not known is waited for, up to the ``timeout``, because the job may still be enqueued.
        :param after: the :attr:`StreamItem.id` after which to begin; empty for the beginning.
        :param timeout: the longest wait for the next chunk, also for the first, seconds or a ``timedelta``; ``None``
            waits as long as it takes.
        :raises StreamTimeout: when the job has emitted nothing for that long, and has not ended. It may go on.
        :raises StreamLost: when the stream has expired, or Redis has lost it, before the end.
        :raises RedisUnavailable: when Redis refuses, or cannot be reached at first, or for 30 seconds.
        :raises UsageError: when an argument is not valid; or the type of the job has no stream, which is known while
            the job waits, runs or is dead, after half a second without a chunk.
        """
        async with aclosing(self.stream_items(job_id, after=after, timeout=timeout)) as items:
            async for item in items:
                if not item.end:
                    yield item.chunk

    async def stream_items(
        self, job_id: str, *, after: str = "", timeout: float | timedelta | None = None
    ) -> AsyncGenerator[StreamItem, None]:
        """Yield what :meth:`stream` yields with the id and the attempt of each chunk, and the end as the last item.

        Parameters and errors as for :meth:`stream`. The id is good for the ``Last-Event-ID`` of server-sent events.
        """
        if not isinstance(job_id, str) or not job_id or not job_id.isprintable():
            raise UsageError(f"job_id must be the id of a job, a text, not {shown(job_id)}")
        if not isinstance(after, str) or (after and not is_entry_id(after)):
            raise UsageError(f"after must be the id of an item, such as 1700000000000-0, or empty, not {shown(after)}")
        seconds = None if timeout is None else seconds_of(timeout, "timeout")
        reader = StreamReader(self._in_redis, job_id, after, seconds, self._waits.get())
        try:
            async with aclosing(reader.entries()) as entries:
                async for each in entries:
                    yield _item(each)
        except StreamTimeout:  # which is an OSError as well
            raise
        except REDIS_ERRORS as error:
            raise unavailable(error, self.masked_url) from error

    async def _last_items(self, job_id: str, count: int) -> list[StreamItem]:
        """Return the last items of a stream, the oldest of them first; none if there is no stream.

        :raises RedisUnavailable: when Redis refuses or cannot be reached.
        """
        with self._redis_errors():
            return [_item(each) for each in await read_last_entries(self._in_redis, job_id, count)]


def _item(entry: Entry) -> StreamItem:
    return StreamItem(entry.id, None if entry.end else codec.decode(entry.chunk), entry.attempt, entry.end)
