"""Reads the stream of a job as it grows, over a connection of its own."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncGenerator
from typing import Any, NamedTuple

from ..errors import StreamLost, StreamTimeout
from .connection import Connection
from .errors import REDIS_ERRORS, ErrorReply, is_wrong_type
from .job_waits import JobWaits
from .namespace import Namespace
from .protocol import command, encode, value_of
from .stream_watch import StreamWatch

# Seconds after which a wait in Redis is begun anew, which shows that its connection is alive.
_BLOCK = 5.0
# Seconds without an entry after which the job is watched, too.
_SILENT = 0.5
# Seconds beyond the wait within which a reply must arrive.
_REPLY_TIMEOUT = 5.0
# Entries in one reply.
_SLICE = 500
# Seconds for which a reader tries to reach a Redis that has gone, and between two tries at first and at most.
_RECONNECT_FOR, _SHORTEST_DELAY, _LONGEST_DELAY = 30.0, 0.05, 1.0

_ENTRY_ID = re.compile(r"([0-9]{1,20})(?:-([0-9]{1,20}))?")


def is_entry_id(text: str) -> bool:
    """Return whether a text is the id of an entry of a stream: two numbers of 64 bits."""
    match = _ENTRY_ID.fullmatch(text)
    return match is not None and all(int(each or 0) < 2**64 for each in match.groups())


class Entry(NamedTuple):
    """An entry of a stream.

    :ivar chunk: the chunk as JSON; empty at the end.
    :ivar attempt: the number of the attempt that has emitted it; 0 at the end.
    :ivar end: how the job has ended; empty for a chunk.
    """

    id: str
    chunk: bytes
    attempt: int
    end: str


async def read_last_entries(namespace: Namespace, job_id: str, count: int) -> list[Entry]:
    """Return the last entries of a stream, the oldest of them first; none if there is no stream.

    :raises RedisError, OSError: when Redis refuses or cannot be reached.
    """
    try:
        found = await namespace.redis.client().xrevrange(namespace.keys.stream(job_id), count=count)
    except ErrorReply as error:
        if not is_wrong_type(error):
            raise
        return []
    return [_parse(raw_id, [each for pair in fields.items() for each in pair]) for raw_id, fields in reversed(found)]


class StreamReader:
    """Reads one stream from an entry on, and reconnects when the connection breaks.

    :param after: the id of the entry after which to begin; empty for the beginning.
    :param timeout: the longest wait for an entry, seconds; ``None`` for any.
    :param waits: those of this event loop.
    """

    def __init__(self, namespace: Namespace, job_id: str, after: str, timeout: float | None, waits: JobWaits) -> None:
        self._redis = namespace.redis
        self._job_id = job_id
        self._key = encode(namespace.keys.stream(job_id))
        self._record = encode(namespace.keys.job_record(job_id))
        self._last = after or "0"
        self._seen = bool(after)
        self._timeout = timeout
        self._watch = StreamWatch(namespace, waits, job_id, self._read_soon)
        self._is_watched = False
        # Whether to read without waiting for entries, and whether the connection was dropped for that.
        self._reads_at_once = self._was_dropped = False
        self._connection: Connection | None = None
        self._unreachable_since: float | None = None
        self._was_connected = False
        self._delay = _SHORTEST_DELAY

    async def entries(self) -> AsyncGenerator[Entry, None]:
        """Yield each entry; the one that says how the job has ended is the last.

        :raises StreamTimeout: when no entry came in time.
        :raises StreamLost: when the stream has gone before its end.
        :raises UsageError: when the job's type has no streams.
        :raises RedisError, OSError: when Redis refuses, or has not been reached for 30 s.
        """
        deadline = self._deadline()
        try:
            while True:
                for raw_id, fields in await self._next(deadline):
                    entry = _parse(raw_id, fields)
                    self._last, self._seen = entry.id, True
                    yield entry
                    if entry.end:
                        return
                    # From here, because the caller may have taken any time for the last one.
                    deadline = self._deadline()
        finally:
            await self._watch.stop()
            await self._disconnect()

    def _read_soon(self) -> None:
        """End a wait for entries, and read once more."""
        self._reads_at_once = True
        if self._connection is not None:
            self._was_dropped = True
            self._connection.drop()

    def _deadline(self) -> float | None:
        return None if self._timeout is None else time.monotonic() + self._timeout

    async def _next(self, deadline: float | None) -> list[Any]:
        """Return the next entries, as Redis has them."""
        gone, ended, tried = False, "", False
        while True:
            left = None if deadline is None else deadline - time.monotonic()
            if left is not None and left <= 0 and tried and not ended:
                raise StreamTimeout(f"job {self._job_id} has emitted nothing, and has not ended, for {self._timeout} s")
            tried = True
            if self._watch.error is not None:
                raise self._watch.error
            block = self._block(left, is_last=bool(ended))
            try:
                found, exists, state = await self._read(block)
            except REDIS_ERRORS as error:
                if self._was_dropped:
                    self._was_dropped = False
                    await self._disconnect()
                    continue
                # A connection that an error reply has closed has led to a Redis that must not be used any more.
                if isinstance(error, ErrorReply) and self._connection is not None and not self._connection.closed:
                    raise
                await self._wait_for_redis(error)
                continue
            self._reads_at_once = False
            if found:
                return found
            if ended:
                # Read once more since the record said so, because the end of the stream is written with the record.
                return [(self._last.encode(), [b"end", ended.encode()])]
            if ended := state:
                continue
            if block >= min(_SILENT, _BLOCK) and not self._is_watched:
                self._is_watched = True
                self._watch.start(check=not exists and not self._seen)
            if self._seen and not exists:
                # Redis may have been restarted without its data, while the job goes on and emits more.
                if gone:
                    raise StreamLost(
                        f"the stream of job {self._job_id} has expired, or Redis has lost it, before the job had ended"
                    )
                gone = True
            else:
                gone = False

    def _block(self, left: float | None, *, is_last: bool) -> float:
        """Return for how long to wait for entries, seconds.

        :param left: the seconds that are left; ``None`` for any.
        :param is_last: whether the job has ended.
        """
        if is_last or self._reads_at_once:
            # Redis waits forever for 0.
            return 0.001
        longest = _BLOCK if self._is_watched else min(_SILENT, _BLOCK)
        return longest if left is None else min(longest, max(left, 0.001))

    async def _read(self, block: float) -> tuple[list[Any], bool, str]:
        """Return the next entries, after waiting for them; whether there is a stream; and how the job has ended by its
        record, which a job has that was deleted or cancelled before it could emit anything.
        """
        if self._connection is None:
            self._connection = await self._redis.open(_REPLY_TIMEOUT, with_scripts=False)
        read = command(
            *(b"XREAD", b"COUNT", b"%d" % _SLICE, b"BLOCK", b"%d" % max(1, round(block * 1000))),
            *(b"STREAMS", self._key, self._last.encode()),
        )
        exists = command(b"EXISTS", self._key)
        state = command(b"HGET", self._record, b"state")
        *replies, ended = await self._connection.request([read, exists, state], 3, block + _REPLY_TIMEOUT)
        self._was_connected, self._unreachable_since, self._delay = True, None, _SHORTEST_DELAY
        found, there = map(value_of, replies)
        return (found[0][1] if found else []), bool(there), ended.decode() if isinstance(ended, bytes) else ""

    async def _wait_for_redis(self, error: Exception) -> None:
        """Wait before the next try to reach Redis.

        :raises RedisError, OSError: the error, when Redis has not been reached for too long, or never.
        """
        await self._disconnect()
        now = time.monotonic()
        if self._unreachable_since is None:
            self._unreachable_since = now
        if now - self._unreachable_since > _RECONNECT_FOR or not self._was_connected:
            raise error
        await asyncio.sleep(self._delay)
        self._delay = min(2 * self._delay, _LONGEST_DELAY)

    async def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.close()


def _parse(raw_id: bytes, fields: list[bytes]) -> Entry:
    """Return an entry; anything that another program has added is an empty chunk."""
    values = dict(zip(fields[::2], fields[1::2], strict=False))
    attempt = values.get(b"attempt", b"")
    return Entry(
        raw_id.decode(),
        values.get(b"chunk", b"null"),
        int(attempt) if attempt.isdigit() and len(attempt) < 10 else 0,
        values.get(b"end", b"").decode("utf-8", "replace"),
    )
