"""The keys that deleted jobs held: their unique keys, and those that they hold until they have ended."""

from __future__ import annotations

import re
from collections.abc import Sequence

from .._jobs.hold import read_hold
from ..errors import ArgumentEncodingError, PayloadError
from ..job import Job
from .client import run_script
from .namespace import Namespace
from .protocol import encode

# Matches the payload of every unique job and few others, so that most payloads need not be decoded.
MAY_BE_UNIQUE = re.compile(rb'"unique"\s*:\s*true')


class HeldKeys:
    """Frees the keys of deleted jobs.

    Every method that calls Redis raises RedisError or OSError when Redis refuses or cannot be reached.
    """

    def __init__(self, namespace: Namespace) -> None:
        self._redis = namespace.redis
        self._keys = namespace.keys

    async def free(self, payloads: Sequence[bytes], *, dead: bool = False) -> None:
        """Delete the unique keys of deleted jobs, and free the keys that they hold.

        :param dead: whether they were dead. Then some have freed their keys, and one with their id may hold them.
        """
        if owned := self.unique_keys(payloads):
            ids, keys = zip(*owned, strict=True)
            await run_script(self._redis.client(), "free_owned", keys, ids)
        holds = [hold for hold in map(read_hold, payloads) if hold is not None and not (dead and hold.dead_frees)]
        if holds:
            held, args = [self._keys.scheduled], list[bytes]()
            for hold in holds:
                held += (self._keys.hold(hold.name, hold.digest), self._keys.queue(hold.name))
                args += (encode(hold.job_id), b"")
            await run_script(self._redis.client(), "free_holds", held, args)

    def unique_keys(self, payloads: Sequence[bytes]) -> list[tuple[bytes, str]]:
        """Return the ids of unique jobs with their unique keys."""
        owned = map(self.unique_keys_of, payloads)
        return [(job_id, key) for job_id, keys in owned for key in keys]

    def unique_keys_of(self, payload: bytes) -> tuple[bytes, list[str]]:
        """Return a job's id and its unique key in each possible spelling.

        A job that has failed has none, because the key was deleted when the job started.
        """
        if not MAY_BE_UNIQUE.search(payload):
            return b"", []
        try:
            job = Job.decode(payload)
            keys = self._keys.unique_of(job) if job.unique and not job.fails else []
        except (PayloadError, ArgumentEncodingError):
            return b"", []
        return job.id.encode("utf-8", "replace"), keys
