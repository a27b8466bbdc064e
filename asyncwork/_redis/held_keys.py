"""The unique keys that deleted jobs held."""

from __future__ import annotations

import re
from collections.abc import Sequence

from ..errors import ArgumentEncodingError, PayloadError
from ..job import Job
from .namespace import Namespace

# Matches the payload of every unique job and few others, so that most payloads need not be decoded.
MAY_BE_UNIQUE = re.compile(rb'"unique"\s*:\s*true')


class HeldKeys:
    """Finds the unique keys of jobs of one namespace."""

    def __init__(self, namespace: Namespace) -> None:
        self._keys = namespace.keys

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
