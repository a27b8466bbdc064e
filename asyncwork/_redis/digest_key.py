"""The key of the payload digests in job refs, one for each namespace."""

from __future__ import annotations

import secrets
import time

from .errors import ErrorReply
from .namespace import Namespace

# Bytes. A shorter key was not written by asyncwork and could be guessed; BLAKE2 takes up to 64.
_LENGTH = 32
_MAX_LENGTH = 64
# Seconds after which the key is read again, because another one may have been set.
_MAX_AGE = 5.0


class DigestKey:
    """Random bytes that key the digests in job refs, so that a redacted payload cannot be guessed from its digest.

    The key is kept in Redis, so that every process that shows the namespace makes the same refs, even after a restart.
    If it is deleted, or Redis has lost it, a new one is made, and earlier refs find nothing.
    """

    def __init__(self, namespace: Namespace) -> None:
        self._redis = namespace.redis
        self._keys = namespace.keys
        # Used if Redis cannot keep a key because it is full or read-only, or its user may not write.
        self._own = secrets.token_bytes(_LENGTH)
        self._key = b""
        self._read_at = 0.0

    async def read(self) -> bytes:
        """Return the key.

        :raises RedisError, OSError: when Redis cannot be reached.
        """
        now = time.monotonic()
        if not self._key or now - self._read_at > _MAX_AGE:
            self._key = await self._read()
            self._read_at = now
        return self._key

    async def _read(self) -> bytes:
        client = self._redis.client()
        try:
            found = await client.get(self._keys.digest_key)
            if found is None:
                await client.set(self._keys.digest_key, secrets.token_bytes(_LENGTH), nx=True)
                found = await client.get(self._keys.digest_key)
        except ErrorReply:
            return self._own
        return found if found is not None and _LENGTH <= len(found) <= _MAX_LENGTH else self._own
