"""The key of the digests that are shown of payloads, one for all who look at a namespace."""

from __future__ import annotations

import secrets
import time

from .errors import ErrorReply
from .namespace import Namespace

# Bytes. What is shorter was not written by asyncwork, and could be guessed; BLAKE2 takes up to 64.
_LENGTH = 32
_LONGEST = 64
# Seconds for which it is not read again; by then everybody knows that another one was set.
_KEPT_FOR = 5.0


class DigestKey:
    """The random bytes that key the digests in handles, so that nobody can try out what a redacted payload holds.

    They are kept in Redis: every process that shows the namespace makes the same handles, also after a restart.
    Where the key is deleted, or Redis has lost it, a new one is made, and handles made before find nothing.
    """

    def __init__(self, namespace: Namespace) -> None:
        self._redis = namespace.redis
        self._keys = namespace.keys
        # For a Redis that cannot keep one: it is full, is read-only, or its user may not write.
        self._own = secrets.token_bytes(_LENGTH)
        self._known = b""
        self._read_at = 0.0

    async def read(self) -> bytes:
        """Return the key.

        :raises RedisError, OSError: when Redis cannot be reached.
        """
        now = time.monotonic()
        if not self._known or now - self._read_at > _KEPT_FOR:
            self._known = await self._ask()
            self._read_at = now
        return self._known

    async def _ask(self) -> bytes:
        client = self._redis.client()
        try:
            found = await client.get(self._keys.digest_key)
            if found is None:
                await client.set(self._keys.digest_key, secrets.token_bytes(_LENGTH), nx=True)
                found = await client.get(self._keys.digest_key)
        except ErrorReply:
            return self._own
        return found if found is not None and _LENGTH <= len(found) <= _LONGEST else self._own
