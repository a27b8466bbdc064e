"""A subscription to one channel of Redis."""

from __future__ import annotations

from contextlib import suppress
from typing import Any, Self

from .errors import REDIS_ERRORS, ConnectionBroken


class Subscription:
    """A connection that waits for messages on a channel.

    A message that is sent while the connection is away is lost, so a message may only say that it is time to look.

    :param connection: a connection that redis-py has established, for this purpose alone.
    """

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self._is_pinged = False

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
        return cls(connection)

    async def wait(self, seconds: float) -> list[bytes]:
        """Wait until there are messages; return those that there were before the time was over.

        :raises RedisError, OSError: when the connection broke, or is silent.
        """
        if not self._is_pinged:
            await self._connection.send_command("PING")
            self._is_pinged = True
        if found := await self._read(seconds):
            return found
        # The event loop may have been blocked for all that time.
        found = await self._read(0.0) if self._is_pinged else []
        if self._is_pinged and not found:
            raise ConnectionBroken("Redis did not reply to PING in time")
        return found

    async def _read(self, seconds: float) -> list[bytes]:
        """Read until there is a message and all that came with it, or the time is over after the last reply to a PING;
        return the messages.
        """
        found: list[bytes] = []
        while (reply := await self._connection.read_response(timeout=0.0 if found else seconds)) is not None:
            if reply[0] == b"pong":
                self._is_pinged = False
            else:
                found.append(reply[2])
        return found

    async def close(self) -> None:
        """Close the connection."""
        with suppress(*REDIS_ERRORS):
            await self._connection.disconnect()
