"""One queue of one pool.

``Queue`` has more than ten arguments, because each holds keys that are packed once for some commands.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .keys import Keys
from .protocol import pack


@dataclass(slots=True, eq=False)
class Queue:
    """One queue of one pool: its keys, packed once for the commands that need them in every round trip.

    Compared by identity, because a pool has one object for each queue.

    :ivar tenant_keys: the keys that it has if it is fair.
    :ivar fair: these keys, packed, if it is fair; empty if not. Set before the pool takes its first job.
    """

    name: str
    priority: int
    queue: bytes
    in_progress: bytes
    fetch_keys: bytes
    ack_keys: bytes
    front_keys: bytes
    limited_keys: bytes
    rest_keys: bytes
    tenant_keys: Sequence[bytes]
    fair: bytes = b""

    @property
    def ring(self) -> bytes:
        """The key of the tenants' turns."""
        return self.tenant_keys[2]

    @property
    def opens(self) -> bytes:
        """The key of the tenants that wait for a token, or rest."""
        return self.tenant_keys[8]

    @property
    def bell(self) -> bytes:
        """The key on which idle pools block."""
        return self.tenant_keys[7]

    @classmethod
    def of(cls, keys: Keys, name: str, pool_id: str, priority: int = 1) -> Queue:
        """Return the queue of one job name."""
        queue, in_progress = keys.queue(name).encode(), keys.in_progress(name, pool_id).encode()
        paused, limit = keys.paused(name).encode(), keys.max_concurrency(name).encode()
        lock, info = keys.lock(name).encode(), keys.lock_info(name).encode()
        return cls(
            name=name,
            priority=priority,
            queue=queue,
            in_progress=in_progress,
            fetch_keys=pack(queue, in_progress, paused, lock, info, limit),
            ack_keys=pack(in_progress, lock, info),
            front_keys=pack(in_progress, lock, info, queue),
            tenant_keys=[each.encode() for each in keys.tenants.of(name)],
            limited_keys=pack(queue, in_progress, paused, lock, info, limit, keys.rate(name).encode()),
            rest_keys=pack(in_progress, lock, info, queue, paused),
        )
