"""A subscription to one channel of Redis."""

from __future__ import annotations

import time
from contextlib import suppress
from typing import Any, Self

from .errors import REDIS_ERRORS, ConnectionBroken


class Subscription:
    """A connection that waits for messages on a channel.

    A message that is sent while the connection is away is lost, so a message may only say that it is time to look.

    :param connection: a connection that redis-py has established, for this purpose alone.
    :param timeout: how long a reply may take, seconds.
    :ivar closed: whether it was closed.
    """

    def __init__(self, connection: Any, timeout: float) -> None:
        self._connection = connection
        self._timeout = timeout
        self.closed = False
        # When the PING was sent that has no reply yet.
        self._pinged_at: float | None = None

    @classmethod
    async def begin(cls, connection: Any, channel: str, timeout: float) -> Self:
        """Subscribe to a channel.

        :param timeout: how long the reply may take, seconds.
        :raises ErrorReply: when the user may not subscribe to it.
        :raises RedisError, OSError: when Redis refuses otherwise or cannot be reached.
        """
        await connection.send_command("SUBSCRIBE", channel)
        if await connection.read_response(timeout=timeout) is None:
            raise ConnectionBroken("Redis did not reply to SUBSCRIBE in time")
        return cls(connection, timeout)

    async def wait(self, seconds: float) -> list[bytes]:
        """Wait until there are messages; return those that there were before the time was over.

        :raises RedisError, OSError: when the connection broke, or is silent.
        """
        if self._pinged_at is None:
            self._pinged_at = time.monotonic()
            await self._connection.send_command("PING")
        found = await self._read(seconds)
        if self._pinged_at is not None and time.monotonic() - self._pinged_at > self._timeout:
            # The event loop may have been blocked for all that time.
            found += await self._read(0.0)
            if self._pinged_at is not None:
                raise ConnectionBroken("Redis did not reply to PING in time")
        return found

    async def _read(self, seconds: float) -> list[bytes]:
        """Read until there is a message and all that came with it, or the time is over after the last reply to a PING;
        return the messages.
        """
        found: list[bytes] = []
        while (reply := await self._connection.read_response(timeout=0.0 if found else seconds)) is not None:
            if reply[0] == b"pong":
                self._pinged_at = None
            else:
                found.append(reply[2])
        return found

    async def close(self) -> None:
        """Close the connection."""
        self.closed = True
        with suppress(*REDIS_ERRORS):
            await self._connection.disconnect()
