"""Writes chunks to the streams of jobs, over one connection that is opened when first needed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from . import scripts
from .errors import ScriptMissing
from .multiplexer import Multiplexer
from .namespace import Namespace
from .protocol import encode, pack, value_of
from .queue import Queue

# Entries that a stream keeps at least. Redis removes the oldest of more than these, some at a time.
KEPT_ENTRIES = 10_000


class StreamWriter:
    """Writes to the streams of a namespace, in one event loop."""

    def __init__(self, namespace: Namespace) -> None:
        self._keys = namespace.keys
        self._redis = namespace.redis
        self._connection: Multiplexer | None = None

    async def write(
        self,
        queue: Queue,
        payload: bytes,
        job_id: str,
        chunks: Sequence[bytes],
        *,
        attempt: int,
        lowest: int,
        seconds: int,
    ) -> int:
        """Add chunks to the stream of a job that is in progress; return the number of its attempt, or 0 if it is not.

        :param attempt: that number; 0 with the first chunks of an attempt.
        :param lowest: the lowest number that it may have.
        :param seconds: for how long the stream is kept.
        :raises RedisError, OSError: when Redis refuses or cannot be reached. They may have been written.
        """
        keys = pack(queue.in_progress, encode(self._keys.stream(job_id)))
        numbers = (b"%d" % each for each in (attempt, lowest, KEPT_ENTRIES, seconds))
        args = [payload, *numbers, *chunks]
        reply = await self._send(scripts.call("emit", 2, keys, args))
        if isinstance(reply, ScriptMissing):
            reply = await self._send(scripts.call("emit", 2, keys, args, with_source=True))
        return int(value_of(reply))

    async def _send(self, command: bytes) -> Any:
        if self._connection is None:
            self._connection = Multiplexer(self._redis)
        (reply,) = await self._connection.send([command])
        return reply

    async def close(self) -> None:
        """Close the connection."""
        if self._connection is not None:
            await self._connection.close()
