"""The names of the keys in Redis.

They are gocraft/work's; ``quarantine``, ``periodic``, ``periodic_fired``, ``periodic_changes``, ``periodic_runs:``,
``crashes``, ``crashes:``, ``reapers``, ``cancels``, ``digest_key``, ``stats:``, ``deleted:``, ``deletions``,
``deployments``, ``look_ahead_paused``, ``results``, ``finished``, ``queue_options``, ``max_waiting``, ``rates``,
``rate:``, ``job:``, ``stream:``, ``step:``, ``hold:``, ``debounce:``, ``throttle:``, ``fair_queues``, ``tenants:``,
``groups``, ``open_groups``, ``unique_flows``, ``group:``, ``limits``, ``limit:``, ``slots:`` and ``duplicates`` are
asyncwork's own.

One file for all keys, because who adds one has to see that no other key can have its name.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from .._jobs.location import queue_name
from .._json.go import encode as go_json
from ..job import Job
from .fair_keys import FAIR_KINDS, FairKeys

# How programs built with Go 1.22 or later write these characters.
_NEWER_ESCAPES = {r"\u0008": r"\b", r"\u000c": r"\f"}
_ESCAPE = re.compile(r"\\(?:u00..|.)")
# From the first brace to the next closing one, if there is anything between.
_HASH_TAG = re.compile(r"[^{]*\{([^}]+)\}")

# The part that follows a namespace's prefix in the keys of its queues.
_JOBS = re.compile(r"(?:(?<=:)|\A)jobs:")
# The keys of a queue other than the queue's own.
_RELATED = re.compile(r"(.+):(inprogress|paused|lock|lock_info|max_concurrency)", re.DOTALL)

# The types of a queue's keys. Any value pauses a queue; a wrong type of a lock shows as a wrong lock.
_QUEUE_KINDS = {
    "": "list",
    "inprogress": "list",
    "paused": "",
    "lock": "",
    "lock_info": "",
    "max_concurrency": "string",
}
_KINDS = {
    "known_jobs": "set",
    "worker_pools": "set",
    "retry": "zset",
    "scheduled": "zset",
    "dead": "zset",
    "quarantine": "list",
    "periodic": "hash",
    "periodic_fired": "hash",
    "periodic_changes": "hash",
    "crashes": "hash",
    "reapers": "hash",
    "cancels": "hash",
    "digest_key": "string",
    "deletions": "zset",
    "deployments": "zset",
    "results": "hash",
    "look_ahead_paused": "string",
    "finished": "zset",
    "groups": "zset",
    "open_groups": "zset",
    "unique_flows": "hash",
    "fair_queues": "set",
    "queue_options": "hash",
    "max_waiting": "hash",
    "duplicates": "hash",
    "rates": "hash",
    "limits": "hash",
}
# The bitmaps of a batch: its members that have ended, have failed and were cancelled.
_BITMAPS = (":done", ":bad", ":cancelled")
_KINDS_BY_START = (
    ("worker_pools:", "hash"),
    ("worker:", "hash"),
    ("unique:", "string"),
    ("crashes:", "set"),
    ("periodic_runs:", "zset"),
    ("stats:", "string"),
    ("rate:", "string"),
    ("limit:", "string"),
    ("slots:", "zset"),
    ("job:", "hash"),
    ("stream:", "stream"),
    ("step:", "hash"),
    *FAIR_KINDS,
    ("hold:", "hash"),
    ("debounce:", "hash"),
    ("throttle:", "hash"),
)


class QueueKey(NamedTuple):
    """A parsed key of a queue.

    :ivar name: the queue's name.
    :ivar role: ``inprogress``, ``paused``, ``lock``, ``lock_info`` or ``max_concurrency``; empty for the queue itself.
    :ivar pool_id: the pool of an ``inprogress`` list.
    """

    name: str
    role: str = ""
    pool_id: str = ""


def prefix(namespace: str) -> str:
    """Return the prefix of every key of a namespace: the namespace and one colon, or nothing."""
    return namespace if not namespace or namespace.endswith(":") else namespace + ":"


def hash_tag(namespace: str) -> str | None:
    """Return the part in braces by which Redis Cluster puts all keys of a namespace into one slot; ``None`` without."""
    found = _HASH_TAG.match(prefix(namespace))
    return found and found[1]


class Keys:
    """The keys of one namespace."""

    def __init__(self, namespace: str) -> None:
        start = prefix(namespace)
        self.prefix: str = start
        self.known_jobs: str = start + "known_jobs"
        self.retry: str = start + "retry"
        self.scheduled: str = start + "scheduled"
        self.dead: str = start + "dead"
        self.quarantine: str = start + "quarantine"
        self.worker_pools: str = start + "worker_pools"
        # A hash: periodic job -> epoch second of its newest instance ever planned.
        self.periodic: str = start + "periodic"
        # A hash: periodic job -> epoch second of its newest instance ever requeued.
        self.periodic_fired: str = start + "periodic_fired"
        # A hash: periodic job -> JSON that says how it was changed at run time.
        self.periodic_changes: str = start + "periodic_changes"
        # A hash: SHA-1 of a payload -> how many times it was running when its process died.
        self.crashes: str = start + "crashes"
        # Exists for some time after a pool has crashed: the pool's id.
        self.look_ahead_paused: str = start + "look_ahead_paused"
        # A hash: id of a pool whose reaper is active -> since when, for how long, and how soon it finds a dead pool.
        self.reapers: str = start + "reapers"
        # A hash: job name -> seconds for which the results of its jobs are kept.
        self.results: str = start + "results"
        # A sorted set: version label of pools -> when the first pool with it was started, epoch seconds.
        self.deployments: str = start + "deployments"
        # A sorted set: the id of a job that has ended, and whose type has a history -> when, epoch seconds.
        self.finished: str = start + "finished"
        # A hash: job name -> JSON with the options of its queue that have no key of their own, as its pools have them.
        self.queue_options: str = start + "queue_options"
        # A hash: job name -> how many jobs may wait in its queue, as was set at run time; 0 for any number.
        self.max_waiting: str = start + "max_waiting"
        # A hash: "code:" or "set:" and a job name -> the rate of its queue, by the code or as it was set at run time.
        self.rates: str = start + "rates"
        # A hash: "code:" or "set:" and a limit -> its numbers; "job:" and a job name -> its cost and its limits.
        self.limits: str = start + "limits"
        # A hash: id of a job that is to be cancelled -> JSON that says who has cancelled it, why and when.
        self.cancels: str = start + "cancels"
        # Random bytes that key the digests of payloads in job refs.
        self.digest_key: str = start + "digest_key"
        # Sorted sets of all batches and of the open ones: the id of a batch -> when it was created, epoch seconds.
        self.batches: str = start + "groups"
        self.open_batches: str = start + "open_groups"
        # A hash: the text by which a flow is unique -> its id.
        self.unique_flows: str = start + "unique_flows"
        # A set: the names of the queues whose tenants take turns.
        self.fair_queues: str = start + "fair_queues"
        self.tenants: FairKeys = FairKeys(start, self.queue)
        self.jobs: str = start + "jobs:"
        self.unique: str = start + "unique:"
        self.holds: str = start + "hold:"

    def read_queue_key(self, key: str) -> QueueKey | None:
        """Return a key parsed; ``None`` when it does not belong to a queue."""
        if not key.startswith(self.jobs):
            return None
        rest = key.removeprefix(self.jobs)
        related = _RELATED.fullmatch(rest)
        if related is None:
            return QueueKey(rest)
        if related[2] != "inprogress":
            return QueueKey(related[1], related[2])
        name, _, pool_id = related[1].rpartition(":")
        return QueueKey(name, related[2], pool_id)

    def kind(self, key: str) -> str:
        """Return the type of value that a key of this namespace must hold, as Redis's TYPE names it; empty where any is
        valid, or the key is not asyncwork's.
        """
        if (part := self.read_queue_key(key)) is not None:
            return _QUEUE_KINDS[part.role]
        rest = key.removeprefix(self.prefix)
        if rest.startswith("group:"):
            return "string" if rest.endswith(_BITMAPS) else "hash"
        if rest.startswith("deleted:"):
            return "string" if rest.endswith(":place") else "list"
        return _KINDS.get(rest) or next((kind for start, kind in _KINDS_BY_START if rest.startswith(start)), "")

    def other_prefixes(self, key: str) -> list[str]:
        """Return the prefixes of other namespaces to which a queue's key may belong: ``app:jobs:jobs:wat`` is the queue
        ``jobs:wat`` of ``app``, or ``wat`` of ``app:jobs``.
        """
        starts = (match.start() for match in _JOBS.finditer(key))
        return [key[:start] for start in starts if key[:start] != self.prefix]

    def queue(self, name: str) -> str:
        """The list of waiting jobs of one name."""
        return self.jobs + name

    def in_progress(self, name: str, pool_id: str) -> str:
        """The list of the jobs of one name that a pool has fetched and not finished."""
        return f"{self.jobs}{name}:{pool_id}:inprogress"

    def paused(self, name: str) -> str:
        """Exists while the queue is paused."""
        return f"{self.jobs}{name}:paused"

    def lock(self, name: str) -> str:
        """How many jobs of this name run now in all pools."""
        return f"{self.jobs}{name}:lock"

    def lock_info(self, name: str) -> str:
        """The hash of each pool's share of the lock."""
        return f"{self.jobs}{name}:lock_info"

    def max_concurrency(self, name: str) -> str:
        """How many jobs of this name may run at once in all pools; 0 for any number."""
        return f"{self.jobs}{name}:max_concurrency"

    def rate(self, name: str) -> str:
        """How many tokens of the rate of a queue are taken, and when that was."""
        return f"{self.prefix}rate:{name}"

    def limit(self, name: str) -> str:
        """How many tokens of a shared limit are taken, and when that was."""
        return f"{self.prefix}limit:{name}"

    def slots(self, name: str) -> str:
        """The sorted set of the slots of a limit that other code than jobs has: until when, epoch seconds."""
        return f"{self.prefix}slots:{name}"

    def heartbeat(self, pool_id: str) -> str:
        """The hash that a pool writes about itself."""
        return f"{self.worker_pools}:{pool_id}"

    def crashes_of(self, pool_id: str) -> str:
        """The set of the fields, among the crashes, that were counted when a pool was considered dead."""
        return f"{self.crashes}:{pool_id}"

    @staticmethod
    def suspect_field(pool_id: str) -> str:
        """The field, among the crashes, of the job that a pool runs isolated: if the pool dies, that job caused it."""
        return f"{pool_id}:accused"

    @staticmethod
    def recorded_field(pool_id: str) -> str:
        """The field, among the crashes, that says how far a pool's crash has been recorded."""
        return f"{pool_id}:blamed"

    def minutes(self, hour: int, name: str) -> str:
        """The metrics of one name for the minutes of an hour since the epoch; of all names if it is empty."""
        return f"{self.prefix}stats:minute:{hour}:{name}"

    def days(self, month: str, name: str) -> str:
        """The metrics of one name for the days of a month, such as ``2024-02``; of all names if it is empty."""
        return f"{self.prefix}stats:day:{month}:{name}"

    def run_times(self, date: str, name: str) -> str:
        """The histogram of one name's run times on a day, such as ``2024-02-29``."""
        return f"{self.prefix}stats:run:{date}:{name}"

    def periodic_runs(self, key: str) -> str:
        """The sorted set of the last runs of a periodic job, by time."""
        return f"{self.prefix}periodic_runs:{key}"

    def wake_channel(self) -> str:
        """The channel whose messages wake the pools when there are new marks among the cancels, or a new
        request to a pool.
        """
        return f"{self.prefix}wake"

    def observation(self, worker_id: str) -> str:
        """The hash of what a worker is doing now."""
        return f"{self.prefix}worker:{worker_id}"

    def job_record(self, job_id: str) -> str:
        """The hash that says how a job has ended, and who waits for that."""
        return f"{self.prefix}job:{job_id}"

    def stream(self, job_id: str) -> str:
        """The stream of the chunks that a job has emitted, and of its end."""
        return f"{self.prefix}stream:{job_id}"

    def steps(self, job_id: str) -> str:
        """The hash of what is recorded of a job's steps."""
        return f"{self.prefix}step:{job_id}"

    def batch(self, batch_id: str) -> tuple[str, str, str, str, str]:
        """The hash of a batch, the bitmaps of its members that have ended, have failed and were cancelled, and the hash
        of its nodes, which only a flow has.
        """
        key = f"{self.prefix}group:{batch_id}"
        ended, failed, cancelled = _BITMAPS
        return key, key + ended, key + failed, key + cancelled, f"{key}:nodes"

    def ended_channel(self, process: str) -> str:
        """The channel on which a process gets the ids of jobs that have ended."""
        return f"{self.prefix}ended:{process}"

    def location(self, location: str) -> str:
        """The key of a job location: ``retry``, ``scheduled``, ``dead``, ``quarantine`` or ``queue:NAME``."""
        name = queue_name(location)
        return self.queue(name) if name else f"{self.prefix}{location}"

    def deleted(self, token: str) -> str:
        """The jobs of a deletion while it can be undone: a list of payloads, or of scores and payloads."""
        return f"{self.prefix}deleted:{token}"

    def deleted_from(self, token: str) -> str:
        """The location of the jobs of a deletion."""
        return f"{self.prefix}deleted:{token}:place"

    @property
    def duplicates(self) -> str:
        """The hash of how many jobs were not enqueued because of others: ``dropped:`` or ``replaced:`` and the name."""
        return f"{self.prefix}duplicates"

    @property
    def deletions(self) -> str:
        """The sorted set of the last deletions: JSON with the token and the user, by time."""
        return f"{self.prefix}deletions"

    def unique_for(self, name: str, args: object, root: str = "args") -> str:
        """The unique key of a job with these arguments (or with this key map).

        :param root: what the message of an error calls them.
        :raises ArgumentEncodingError: when Go's JSON cannot hold the arguments.
        """
        return f"{self.unique}{name}:{_unique_text(args, root)}"

    def hold(self, name: str, digest: str) -> str:
        """The hash of the job that holds a key until it has ended, and of its successor.

        :param digest: the SHA-256, in hex, of the values that jobs of the name are unique by.
        """
        return f"{self.holds}{name}:{digest}"

    def debounce(self, name: str, digest: str) -> str:
        """The hash of the job that waits until no other of its kind has come for a while."""
        return f"{self.prefix}debounce:{name}:{digest}"

    def throttle(self, name: str, digest: str) -> str:
        """The hash of when a job of a kind has started, or is to start next."""
        return f"{self.prefix}throttle:{name}:{digest}"

    def unique_of(self, job: Job) -> list[str]:
        """The unique key of a job, in each possible spelling: Go's releases differ in two characters.

        :raises ArgumentEncodingError: when the payload does not name it, and Go's JSON cannot hold the arguments.
        """
        if job.unique_key.startswith(self.unique):
            return [job.unique_key]
        text = _unique_text(job.given_args)
        newer = _ESCAPE.sub(lambda match: _NEWER_ESCAPES.get(match[0], match[0]), text)
        return [f"{self.unique}{job.name}:{each}" for each in dict.fromkeys((text, newer))]


def _unique_text(args: object, root: str = "args") -> str:
    return "" if args is None else go_json(args, root).decode() + "\n"
