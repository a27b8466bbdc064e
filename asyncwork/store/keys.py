"""The names of the keys in Redis. They are gocraft/work's; ``quarantine`` and ``periodic`` are asyncwork's own."""

from __future__ import annotations

from dataclasses import dataclass

from .gojson import encode as go_json


def prefix(namespace: str) -> str:
    """Return what every key of a namespace begins with: the namespace and one colon, or nothing."""
    return namespace if not namespace or namespace.endswith(":") else namespace + ":"


class Keys:
    """The keys of one namespace."""

    def __init__(self, namespace: str) -> None:
        self.prefix = start = prefix(namespace)
        self.known_jobs = start + "known_jobs"
        self.retry = start + "retry"
        self.scheduled = start + "scheduled"
        self.dead = start + "dead"
        # A list of JSON records, the newest first: payloads that are no jobs, where they were found, and why.
        self.quarantine = start + "quarantine"
        self.worker_pools = start + "worker_pools"
        self.last_periodic_enqueue = start + "last_periodic_enqueue"
        # A hash: periodic job -> epoch second of its newest instance that was ever planned.
        self.periodic = start + "periodic"
        self.jobs = start + "jobs:"
        self.unique = start + "unique:"

    def queue(self, name: str) -> str:
        """The list of waiting jobs of one name."""
        return self.jobs + name

    def in_progress(self, name: str, pool_id: str) -> str:
        """The list of the jobs of one name that a pool is running."""
        return f"{self.jobs}{name}:{pool_id}:inprogress"

    def paused(self, name: str) -> str:
        """Exists while the queue is paused."""
        return f"{self.jobs}{name}:paused"

    def lock(self, name: str) -> str:
        """How many jobs of this name run now, over all pools."""
        return f"{self.jobs}{name}:lock"

    def lock_info(self, name: str) -> str:
        """The hash of each pool's share of the lock."""
        return f"{self.jobs}{name}:lock_info"

    def max_concurrency(self, name: str) -> str:
        """How many jobs of this name may run at once, over all pools; 0 for any number."""
        return f"{self.jobs}{name}:max_concurrency"

    def heartbeat(self, pool_id: str) -> str:
        """The hash that a pool writes about itself."""
        return f"{self.worker_pools}:{pool_id}"

    def observation(self, worker_id: str) -> str:
        """The hash that tells what a worker does now."""
        return f"{self.prefix}worker:{worker_id}"

    def unique_for(self, name: str, args: object) -> str:
        """The key that keeps a job unique by its arguments (or by a key map).

        :raises ArgumentsError: when Go's JSON cannot hold the arguments.
        """
        text = "" if args is None else go_json(args).decode() + "\n"
        return f"{self.unique}{name}:{text}"


def pack(*parts: bytes) -> bytes:
    """Return the parts as bulk strings of Redis's protocol: `$length CRLF bytes CRLF` each."""
    return b"".join([b"$%d\r\n%b\r\n" % (len(part), part) for part in parts])


@dataclass(frozen=True, slots=True, eq=False)
class Queue:
    """One queue as one pool sees it: its keys, packed once for the commands that need them on every turn.

    Compared by identity: a pool has one of each.
    """

    name: str
    priority: int
    queue: bytes
    in_progress: bytes
    fetch_keys: bytes
    ack_keys: bytes
    front_keys: bytes

    @classmethod
    def of(cls, keys: Keys, name: str, pool_id: str, priority: int = 1) -> Queue:
        """Make the queue of one job name."""
        queue, in_progress = keys.queue(name).encode(), keys.in_progress(name, pool_id).encode()
        paused, cap = keys.paused(name).encode(), keys.max_concurrency(name).encode()
        lock, info = keys.lock(name).encode(), keys.lock_info(name).encode()
        return cls(
            name=name,
            priority=priority,
            queue=queue,
            in_progress=in_progress,
            fetch_keys=pack(queue, in_progress, paused, lock, info, cap),
            ack_keys=pack(in_progress, lock, info),
            front_keys=pack(in_progress, lock, info, queue),
        )
