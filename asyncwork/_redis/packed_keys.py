"""The keys that commands of one pool share, packed once."""

from __future__ import annotations

from .._jobs.location import JobSet
from .keys import Keys
from .protocol import encode, pack


class PackedKeys:
    """The keys that commands of one pool share, packed once, and how to pack those of one job or batch."""

    def __init__(self, keys: Keys, pool_id: bytes) -> None:
        self.names = keys
        self.pool_id = pool_id
        self.sets = {each: pack(getattr(keys, each.value).encode()) for each in JobSet}
        self.quarantine = pack(keys.quarantine.encode())
        self.crashes = pack(keys.crashes.encode())
        self.cancels = pack(keys.cancels.encode())
        self.finished = pack(keys.finished.encode())
        self.marks = self.crashes + self.cancels
        self.look_ahead_paused = pack(keys.look_ahead_paused.encode())
        self.heartbeat = pack(keys.heartbeat(pool_id.decode()).encode())
        self.registration = pack(keys.worker_pools.encode()) + self.heartbeat

    def record(self, job_id: str) -> bytes:
        """Return the key of a job's record."""
        return pack(encode(self.names.job_record(job_id)))

    def stream(self, job_id: str) -> bytes:
        """Return the key of a job's stream."""
        return pack(encode(self.names.stream(job_id)))

    def steps(self, job_id: str) -> bytes:
        """Return the key of a job's steps."""
        return pack(encode(self.names.steps(job_id)))

    def hold(self, name: str, digest: str) -> bytes:
        """Return the key that a job holds until it has ended."""
        return pack(encode(self.names.hold(name, digest)))
