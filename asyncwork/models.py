"""The values that the public API returns: frozen, and without behaviour.

One file for all of them, although it is long, because a reader of the API looks a field up here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, NamedTuple


@dataclass(frozen=True, slots=True, init=False)
class EnqueuedJob:
    """A job that was put into Redis.

    :ivar name: the job's name.
    :ivar id: its id, 24 hex digits.
    :ivar args: its arguments, or ``None`` when it was enqueued without.
    :ivar enqueued_at: when it was enqueued, epoch seconds.
    :ivar run_at: when it is due, epoch seconds; the same as ``enqueued_at`` when it may run at once.
    :ivar unique: whether it holds a unique key until a worker starts it.
    """

    name: str
    id: str
    args: Mapping[str, Any] | None = field(repr=False)
    enqueued_at: int
    run_at: int
    unique: bool = False

    # One is made for each job that is enqueued, and what a frozen dataclass makes of itself takes twice as long.
    def __init__(
        self,
        name: str,
        id: str,  # noqa: A002
        args: Mapping[str, Any] | None,
        enqueued_at: int,
        run_at: int,
        unique: bool = False,
    ) -> None:
        _set_name(self, name)
        _set_id(self, id)
        _set_args(self, args)
        _set_enqueued_at(self, enqueued_at)
        _set_run_at(self, run_at)
        _set_unique(self, unique)


_set_name, _set_id, _set_args, _set_enqueued_at, _set_run_at, _set_unique = (
    getattr(EnqueuedJob, each.name).__set__ for each in fields(EnqueuedJob)
)


@dataclass(frozen=True, slots=True)
class PoolCounts:
    """What a pool has done since it was started.

    :ivar done: how many jobs ended well.
    :ivar failed: how many attempts failed, of jobs that are tried again or are dead now.
    :ivar ignored: how many arguments were ignored that the handler of their job does not take.
    """

    done: int = 0
    failed: int = 0
    ignored: int = 0


@dataclass(frozen=True, slots=True)
class PeriodicState:
    """A job that is enqueued by a schedule.

    :ivar spec: the schedule as it was written.
    :ivar key: what tells it from the other periodic jobs of the namespace.
    :ivar args: its arguments as JSON.
    :ivar next: when it fires next, epoch seconds; ``None`` when no running pool plans it.
    :ivar last: when it last fired, epoch seconds; ``None`` when it never did, as far as is known.
    """

    name: str
    spec: str
    key: str
    args: bytes = field(default=b"null", repr=False)
    next: int | None = None
    last: int | None = None


@dataclass(frozen=True, slots=True)
class IgnoredArgument:
    """An argument that a handler does not take, and that jobs brought all the same.

    :ivar job_name: the name of those jobs.
    :ivar count: how many they were since the pool was started.
    """

    job_name: str
    argument: str
    count: int


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """What a worker pool writes about itself.

    Times are epoch seconds. ``job_names`` and ``worker_ids`` are sorted.

    :ivar runner: the program and version that the pool is of, such as ``asyncwork 0.1.0``; empty for gocraft/work.
    :ivar state: ``running``, ``quiet`` (takes nothing new) or ``stopping``; empty for gocraft/work.
    :ivar periodic: the jobs that the pool enqueues by a schedule.
    :ivar ignored: the arguments that jobs brought and that their handlers do not take.
    """

    pool_id: str
    heartbeat_at: int
    started_at: int
    job_names: tuple[str, ...]
    concurrency: int
    worker_ids: tuple[str, ...]
    host: str
    pid: int
    runner: str = ""
    state: str = ""
    periodic: tuple[PeriodicState, ...] = ()
    ignored: tuple[IgnoredArgument, ...] = ()


@dataclass(frozen=True, slots=True)
class Observation:
    """What one worker is doing now.

    :ivar started_at: when the job began here, epoch seconds.
    :ivar args: the job's arguments as JSON text, empty without any.
    :ivar checkin: the newest text that the handler gave to :meth:`Job.checkin`, or empty.
    :ivar checkin_at: when it did, epoch seconds, or 0.
    :ivar pool_id: the pool that the worker is of, where it is known.
    """

    worker_id: str
    job_name: str
    job_id: str
    started_at: int
    args: bytes = field(repr=False)
    checkin: str = ""
    checkin_at: int = 0
    pool_id: str = ""


@dataclass(frozen=True, slots=True)
class QueueInfo:
    """A queue.

    :ivar count: how many jobs wait in it.
    :ivar latency: how long ago the next of them to run was enqueued, seconds; 0 when none waits.
    :ivar running: how many of its jobs run now, over all pools.
    :ivar max_concurrency: how many may run at once, over all pools; 0 for any number.
    :ivar paused: whether nothing is taken from it.
    :ivar pools: how many live pools serve it.
    """

    name: str
    count: int
    latency: int
    running: int = 0
    max_concurrency: int = 0
    paused: bool = False
    pools: int = 0


@dataclass(frozen=True, slots=True)
class Sizes:
    """How many jobs lie where, over all queues.

    :ivar queued: jobs that wait in queues.
    :ivar busy: jobs that run now, by the locks.
    """

    queued: int = 0
    busy: int = 0
    retry: int = 0
    scheduled: int = 0
    dead: int = 0
    quarantine: int = 0


@dataclass(frozen=True, slots=True)
class JobCounts:
    """What was counted in a span of time. Only asyncwork pools count.

    :ivar at: when the span began, epoch seconds.
    :ivar processed: attempts that ended, well or not.
    :ivar failed: those of them that failed.
    :ivar retried: those of the failed that are tried again.
    :ivar dead: those of the failed whose job is dead.
    :ivar run_ms: how long all attempts ran in all, milliseconds.
    :ivar wait_ms: how long their jobs had been on their queues when they began, in all, milliseconds; known to whole
        seconds for each.
    """

    at: int = 0
    processed: int = 0
    failed: int = 0
    retried: int = 0
    dead: int = 0
    run_ms: int = 0
    wait_ms: int = 0


class UniqueKey(NamedTuple):
    """A unique key as it was looked at.

    :ivar end: when it ends, epoch milliseconds of Redis's clock, 0 for never.
    :ivar owner: the id of the job whose it is; empty where it does not tell, as gocraft/work's.
    """

    end: int
    owner: str


@dataclass(frozen=True, slots=True)
class JobRecord:
    """A job, or bytes that are none, in the place where it was found.

    :ivar place: ``retry``, ``scheduled``, ``dead``, ``quarantine``, ``busy`` (running now), or ``queue:NAME``; where
        a ``redact`` is asked about a job that a schedule enqueues, ``periodic``.
    :ivar handle: finds it there again, whatever its id is; empty for one that is running.
    :ivar name: its name; of bytes that are no job, the queue or set that they were found in.
    :ivar id: its id; 24 hex digits unless another program chose otherwise.
    :ivar args: its arguments as exact JSON text, ``null`` without any.
    :ivar at: epoch seconds: when it is due (``retry``, ``scheduled``), died, was set aside, or started (``busy``);
        ``None`` in a queue.
    :ivar enqueued_at: when it was put on its queue, epoch seconds.
    :ivar fails: how many attempts have failed.
    :ivar err: the text of the newest failure.
    :ivar failed_at: when that was, epoch seconds, or 0.
    :ivar traceback: the end of its traceback, or empty; Go pools keep none.
    :ivar checkin: of one that is running, the newest text that its handler told.
    :ivar unique: whether it holds a unique key until it starts.
    :ivar unique_key: that key, where the payload tells it.
    :ivar size: of the payload, bytes.
    :ivar fault: why the bytes are no job; empty for a job.
    :ivar text: those bytes as text; empty for a job.
    """

    place: str
    handle: str
    name: str = ""
    id: str = ""
    args: bytes = field(default=b"null", repr=False)
    at: float | None = None
    enqueued_at: int = 0
    fails: int = 0
    err: str = field(default="", repr=False)
    failed_at: int = 0
    traceback: str = field(default="", repr=False)
    checkin: str = field(default="", repr=False)
    unique: bool = False
    unique_key: str = field(default="", repr=False)
    size: int = 0
    fault: str = ""
    text: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that is wrong, or about to be.

    :ivar kind: ``no_workers``, ``eviction``, ``replica``, ``memory``, ``clients``, ``persistence``, ``stale_pool``,
        ``no_heartbeat``, ``clock_skew``, ``stuck_lock`` or ``quarantine``; the doctor has more.
    :ivar subject: the queue or pool that it is about; empty for the server or the namespace.
    :ivar text: what is wrong.
    :ivar remedy: what to do.
    :ivar command: a command line that does it or leads to it, where there is one.
    """

    kind: str
    subject: str
    text: str
    remedy: str
    command: str = ""


@dataclass(frozen=True, slots=True)
class Page:
    """Some of the jobs in a place.

    :ivar jobs: at most ``per_page`` of them.
    :ivar total: how many there are in all.
    :ivar page: which page this is, from 1.
    """

    jobs: list[JobRecord]
    total: int
    page: int
    per_page: int


@dataclass(frozen=True, slots=True)
class Found:
    """What a search has found so far.

    :ivar jobs: those that match, in the order of the search.
    :ivar cursor: where to go on; empty when everything has been looked at.
    :ivar looked: how many jobs were looked at in this call.
    :ivar total: how many there are in all where was searched.
    """

    jobs: list[JobRecord]
    cursor: str
    looked: int
    total: int


@dataclass(frozen=True, slots=True)
class ErrorKind:
    """Jobs whose errors differ in their values only.

    :ivar kind: what the errors have in common; empty for jobs without an error.
    :ivar count: how many jobs.
    :ivar names: how many of each job name.
    :ivar newest: the largest time of these jobs in their place, epoch seconds; 0 where they have none.
    :ivar example: one of the errors, whole.
    :ivar oldest: the smallest time, epoch seconds; 0 where they have none.
    """

    kind: str
    count: int
    names: dict[str, int]
    newest: float
    example: str
    oldest: float = 0.0


@dataclass(frozen=True, slots=True)
class ErrorKinds:
    """The errors of a place, by kind, the most frequent first; the other fields are as in :class:`Found`."""

    kinds: list[ErrorKind]
    cursor: str
    looked: int
    total: int


@dataclass(frozen=True, slots=True)
class Outcome:
    """What an act on jobs has done.

    :ivar done: how many jobs were moved or deleted; one that was gone meanwhile does not count.
    :ivar looked: how many were looked at.
    :ivar cursor: where to go on; empty when nothing is left to do.
    :ivar undo: for :meth:`Client.restore`, for ten minutes; empty when it cannot be undone.
    """

    done: int
    looked: int
    cursor: str = ""
    undo: str = ""


@dataclass(frozen=True, slots=True)
class Deletion:
    """What was deleted at once, and can be brought back.

    :ivar undo: for :meth:`Client.restore`.
    :ivar place: where the jobs were.
    :ivar who: deleted them, as far as is known; empty when it is not.
    :ivar at: when, epoch seconds.
    :ivar until: how long it can be undone, epoch seconds.
    :ivar count: how many jobs.
    :ivar first: one of them.
    """

    undo: str
    place: str
    who: str
    at: float
    until: float
    count: int
    first: JobRecord


@dataclass(frozen=True, slots=True)
class ServerInfo:
    """Redis itself.

    :ivar version: such as ``7.0.15``.
    :ivar memory: bytes that its data take.
    :ivar memory_limit: bytes that they may take; 0 for no limit.
    :ivar policy: what it does when they would take more; anything but ``noeviction`` loses jobs.
    :ivar clients: how many connections it has.
    :ivar uptime: seconds since it was started.
    """

    version: str
    memory: int
    memory_limit: int
    policy: str
    clients: int
    uptime: int


@dataclass(frozen=True, slots=True)
class Overview:
    """A namespace at a glance, all of one moment.

    :ivar heartbeats: what each pool last wrote about itself, also those that are gone but were not reaped yet.
    :ivar queues: every queue, sorted by name.
    :ivar threats: what threatens the namespace, the worst first.
    """

    heartbeats: list[Heartbeat]
    queues: list[QueueInfo]
    sizes: Sizes
    threats: list[Problem]
    server: ServerInfo


@dataclass(frozen=True, slots=True)
class Repairs:
    """What a repair may do, as of the diagnosis; it makes sure that it still holds.

    :ivar gone: pools that are gone: by id, what its heartbeat was (empty for none) and the queues where it holds
        something.
    :ivar locks: by queue whose lock is wrong, the pools that may hold some of it.
    :ivar unknown: queues to be made known.
    :ivar unclaimed: unique keys that are held for no job, as they were when they were looked at.
    """

    gone: Mapping[str, tuple[bytes, Sequence[str]]] = field(default_factory=dict)
    locks: Mapping[str, Sequence[str]] = field(default_factory=dict)
    unknown: Sequence[str] = ()
    unclaimed: Mapping[str, UniqueKey] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.gone or self.locks or self.unknown or self.unclaimed)


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """How a namespace is, having been watched for a while.

    :ivar faults: what is wrong, the worst first.
    :ivar notes: what is worth knowing and no fault.
    :ivar version: of Redis.
    :ivar persistence: how Redis keeps its data, in words.
    :ivar pools: how many pools live.
    :ivar queues: how many queues there are.
    :ivar jobs: how many jobs have not ended.
    :ivar cures: what of it :meth:`Client.repair` can mend.
    """

    faults: list[Problem]
    notes: list[Problem]
    version: str
    persistence: str
    pools: int
    queues: int
    jobs: int
    cures: Repairs = field(repr=False)
