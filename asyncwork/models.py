"""The values that the public API returns: frozen, and without behaviour.

One file has them all, because readers of the API look up each field here. Some values have more than ten fields,
because they show what Redis holds, field by field.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, Protocol, TypeVar, overload

from .errors import UsageError

if TYPE_CHECKING:
    # So that `EnqueuedJob` alone is a type, too. At run time, only Python 3.13 and later has defaults.
    from typing_extensions import TypeVar as TypeVarWithDefault

    R_co = TypeVarWithDefault("R_co", covariant=True, default=Any)
else:
    R_co = TypeVar("R_co", covariant=True)

V = TypeVar("V")


class ResultSource(Protocol):
    """Waits for the results of jobs that it has enqueued."""

    async def _wait_for_result(self, job: EnqueuedJob[Any], timeout: float | timedelta | None) -> Any: ...


class KnownEnd(NamedTuple):
    """How a job has ended, which its handle remembers once it was waited for.

    :ivar source: what has waited for it; ``None`` if that was a blocking call.
    :ivar record: the fields of the job's record.
    """

    source: ResultSource | None
    record: Mapping[bytes, bytes]


class _WithSource:
    """Has what waits for the result of a job. It is no field, so it is neither compared nor shown nor pickled."""

    __slots__ = ("_source",)

    # In one slot, so that only the handles of jobs that were waited for take more memory.
    _source: ResultSource | KnownEnd


@dataclass(frozen=True, slots=True, init=False)
class EnqueuedJob(_WithSource, Generic[R_co]):
    """A job that was enqueued, or a duplicate of a unique job that waits already.

    Of a duplicate only ``id`` is about the job that waits. The other fields are those of the job that was not enqueued:
    ``run_at`` does not say when the one that waits is due.

    :ivar name: the job's name.
    :ivar id: its id, 24 hex digits unless an id was passed. For a duplicate, the id of the job that waits; empty if
        another program has enqueued that one.
    :ivar args: its arguments, or ``None`` when it has none.
    :ivar enqueued_at: when it was enqueued, epoch seconds.
    :ivar run_at: when it is due, epoch seconds; equal to ``enqueued_at`` when it may run at once.
    :ivar unique: whether it is unique: then it holds a key until a worker starts it.
    """

    name: str
    id: str
    args: Mapping[str, Any] | None = field(repr=False)
    enqueued_at: int
    run_at: int
    unique: bool = False

    # One is created for each enqueued job, and the `__init__` of a frozen dataclass takes twice as long.
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

    # Not a field, because setting one costs each of a million jobs that are enqueued in bulk.
    @property
    def duplicate(self) -> bool:
        """Whether nothing was enqueued, because a job with the same unique key, or an equal one, waits."""
        return False

    @overload
    async def result(self: EnqueuedJob[Coroutine[Any, Any, V]], timeout: float | timedelta | None = None) -> V: ...
    @overload
    async def result(self: EnqueuedJob[V], timeout: float | timedelta | None = None) -> V: ...
    async def result(self, timeout: float | timedelta | None = None) -> Any:
        """Wait until the job has ended; return what its handler returned, of the type that it is annotated with.

        It does not poll. While Redis is away it goes on waiting. For a job that was enqueued by name alone, the result
        is as JSON has it. A second call returns or raises the same, also when the result is not kept any more; but a
        job that was dead or deleted, and was then retried or restored, is waited for again.

        :param timeout: seconds, or a ``timedelta``; ``None`` waits as long as it takes. The job itself goes on.
        :raises JobFailed, JobCancelled, JobExpired: when the job has ended without a result.
        :raises ResultLost: when its result was not kept, because it is no JSON or has more than 1 MiB.
        :raises ResultTimeout: when it has not ended in time. It is a ``TimeoutError`` too.
        :raises RedisUnavailable: when Redis refuses the user or the password.
        :raises UsageError: when the results of its type are not kept; the message says how to keep them.
        """
        source: ResultSource | KnownEnd | None = getattr(self, "_source", None)
        if isinstance(source, KnownEnd):
            source = source.source
        if source is None:
            raise UsageError(
                f"this {self.name!r} job has no connection, such as after it was pickled: pass its id to "
                "Client.result(id)"
            )
        return await source._wait_for_result(self, timeout)


_set_name, _set_id, _set_args, _set_enqueued_at, _set_run_at, _set_unique = (
    getattr(EnqueuedJob, each.name).__set__ for each in fields(EnqueuedJob)
)


set_source: Callable[[EnqueuedJob[Any], ResultSource | KnownEnd], None] = vars(_WithSource)["_source"].__set__


class DuplicateJob(EnqueuedJob[R_co]):
    """A job that was not enqueued, because it would be a duplicate. Its id is that of the job that waits."""

    __slots__ = ()

    def __repr__(self) -> str:
        # Of the class that users can import.
        shown = "".join(f"{each.name}={getattr(self, each.name)!r}, " for each in fields(self) if each.repr)
        return f"{EnqueuedJob.__name__}({shown}duplicate=True)"

    @property
    def duplicate(self) -> bool:
        """Whether nothing was enqueued, because a job with the same unique key, or an equal one, waits."""
        return True


class JobState(StrEnum):
    """Where a job is, or how it has ended.

    ``LOST``: it was waited for, but was nowhere, so the doctor has ended the wait. ``UNKNOWN``: it is nowhere. There
    was none with that id, or it has ended and nothing is kept of that, or not any more.
    """

    QUEUED = "queued"
    SCHEDULED = "scheduled"
    RETRY = "retry"
    RUNNING = "running"
    DONE = "done"
    DEAD = "dead"
    DISCARDED = "discarded"
    CANCELLED = "cancelled"
    EXPIRED = "expired"
    DELETED = "deleted"
    QUARANTINED = "quarantined"
    LOST = "lost"
    UNKNOWN = "unknown"

    @property
    def ended(self) -> bool:
        """Whether a job in this state will not run, unless it is requeued."""
        return self in _ENDED


_ENDED = frozenset(
    {
        JobState.DONE,
        JobState.DEAD,
        JobState.DISCARDED,
        JobState.CANCELLED,
        JobState.EXPIRED,
        JobState.DELETED,
        JobState.QUARANTINED,
        JobState.LOST,
    }
)


@dataclass(frozen=True, slots=True)
class JobAttempt:
    """One attempt at a job whose type is registered with ``history=True``.

    :ivar started_at: when it started, epoch seconds.
    :ivar ended_at: when it ended, epoch seconds.
    :ivar outcome: how it ended, such as ``"done"``, ``"failed"`` or ``"snoozed"``.
    :ivar host: the machine that ran it.
    :ivar pid: the process that ran it.
    :ivar error: its error; empty if there was none.
    """

    started_at: float
    ended_at: float
    outcome: str
    host: str = ""
    pid: int = 0
    error: str = ""


@dataclass(frozen=True, slots=True)
class JobStatus:
    """What is known of one job.

    :ivar id: its id.
    :ivar state: where it is, or how it has ended.
    :ivar name: its name; empty when it is unknown.
    :ivar enqueued_at: when it was enqueued, epoch seconds, or 0.
    :ivar run_at: when it is due, epoch seconds, if it is scheduled or to be retried, otherwise 0.
    :ivar started_at: when its last attempt started, epoch seconds, or 0.
    :ivar ended_at: when it ended, epoch seconds, or 0.
    :ivar attempts: how many attempts there were, the one that runs included.
    :ivar error: the error of the last failed attempt; empty if there was none.
    :ivar traceback: the end of its traceback; empty if there is none.
    :ivar worker_id: the worker that runs it; empty if none does.
    :ivar checkin: the text of its last check-in while it runs; empty if there is none.
    :ivar problem: why its result could not be kept; empty if it could.
    :ivar location: where it waits: ``"queue:NAME"``, ``"retry"``, ``"scheduled"`` or ``"dead"``; empty otherwise.
    :ivar progress: what it has reported while it runs; ``None`` if it has not.
    :ivar args: its arguments as JSON; empty when they are not known any more.
    :ivar history: its attempts, the oldest first, if its type is registered with ``history=True``.
    :ivar timeout: the timeout with which it was enqueued, seconds; 0 for none, ``None`` for the timeout of its type.
    :ivar expires: the time after which it does not start, epoch seconds, or 0.
    :ivar cancellation: who has cancelled it and why, such as ``"cancelled by ada: too slow"``, if it has not ended yet;
        empty if it was not cancelled.
    :ivar overdue: whether it goes on although its time is over, or it was cancelled, some seconds ago.
    """

    id: str
    state: JobState
    name: str = ""
    enqueued_at: int = 0
    run_at: int = 0
    started_at: float = 0.0
    ended_at: float = 0.0
    attempts: int = 0
    error: str = ""
    traceback: str = field(default="", repr=False)
    worker_id: str = ""
    checkin: str = ""
    problem: str = ""
    location: str = ""
    progress: Progress | None = None
    args: str = ""
    history: tuple[JobAttempt, ...] = ()
    timeout: float | None = None
    expires: float = 0.0
    cancellation: str = ""
    overdue: bool = False


@dataclass(frozen=True, slots=True)
class PoolCounts:
    """The counts of a pool since it was started.

    :ivar done: jobs that succeeded.
    :ivar failed: attempts that failed, whether their jobs are retried or dead.
    :ivar ignored: arguments that were ignored, because the handler of their job does not take them.
    :ivar expired: jobs that were dropped, because they had not started in time.
    :ivar cancelled: jobs that were cancelled while the pool had them.
    """

    done: int = 0
    failed: int = 0
    ignored: int = 0
    expired: int = 0
    cancelled: int = 0


@dataclass(frozen=True, slots=True)
class PoolHealth:
    """The health of a pool, which orchestrators ask for.

    :ivar live: whether the event loop turns. It does not count as blocked before ``Tuning.blocked`` seconds. That Redis
        is away changes nothing, because a restart would not help.
    :ivar ready: whether the pool fetches jobs, Redis answers, and the event loop turns.
    :ivar state: ``starting``, ``running``, ``quiet`` (fetches no new jobs), ``stopping`` or ``stopped``.
    :ivar reason: why it is not live, or else not ready; empty if it is both.
    :ivar since: since when that has been so, epoch seconds; ``None`` if it is both.
    """

    live: bool
    ready: bool
    state: str
    reason: str = ""
    since: float | None = None


@dataclass(frozen=True, slots=True)
class PeriodicState:
    """A periodic job, which a schedule enqueues.

    :ivar spec: the schedule as it was written.
    :ivar key: identifies it among the periodic jobs of the namespace.
    :ivar args: its arguments as JSON.
    :ivar next: when it fires next, epoch seconds; ``None`` when no running pool plans it.
    :ivar last: when it last fired, epoch seconds; ``None`` when no firing is recorded.
    """

    name: str
    spec: str
    key: str
    args: bytes = field(default=b"null", repr=False)
    next: int | None = None
    last: int | None = None


@dataclass(frozen=True, slots=True)
class IgnoredArgument:
    """An argument that jobs have but their handler does not take.

    :ivar job_name: the name of those jobs.
    :ivar count: the number of such jobs since the pool was started.
    """

    job_name: str
    argument: str
    count: int


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """The heartbeat of a worker pool, which the pool writes every few seconds.

    Times are epoch seconds. ``job_names`` and ``worker_ids`` are sorted.

    :ivar runner: the library and version of the pool, such as ``asyncwork 0.1.0``; empty for gocraft/work.
    :ivar state: ``running``, ``quiet`` (fetches no new jobs) or ``stopping``; empty for gocraft/work.
    :ivar periodic: the periodic jobs that the pool enqueues.
    :ivar ignored: the arguments that jobs have but their handlers do not take.
    :ivar streams: the names of the jobs that have streams, sorted; ``None`` if that is unknown.
    :ivar takes_requests: whether the pool can be asked to be quiet or to stop; false for gocraft/work.
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
    streams: tuple[str, ...] | None = None
    takes_requests: bool = False


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a job is. As text it is ``45/100 resizing``.

    :ivar done: how much is done, in any unit; zero or more.
    :ivar total: how much there is to do; ``None`` when that is unknown. It may be less than ``done``.
    :ivar text: what the job says about it, or empty.
    """

    done: float
    total: float | None = None
    text: str = ""

    @property
    def fraction(self) -> float | None:
        """How much of all is done, from 0 to 1; ``None`` when that is unknown."""
        if self.total is None:
            return None
        return min(1.0, self.done / self.total) if self.total else 1.0

    @property
    def numbers(self) -> str:
        """The numbers as text, ``45/100`` or ``45``."""
        return _number(self.done) if self.total is None else f"{_number(self.done)}/{_number(self.total)}"

    def __str__(self) -> str:
        return f"{self.numbers} {self.text}" if self.text else self.numbers


def _number(value: float) -> str:
    return str(int(value)) if isinstance(value, int) else f"{value:.6g}"


@dataclass(frozen=True, slots=True)
class StreamItem:
    """What a job has emitted, or its end, as :meth:`Client.stream_items` yields it.

    :ivar id: its id in the stream; pass it as ``after`` to go on behind it.
    :ivar chunk: what was emitted; ``None`` at the end.
    :ivar attempt: the number of the attempt that has emitted it, from 1. A job that was cut off and
        starts again has a new number, too. 0 at the end.
    :ivar end: in the last item, how the job has ended, such as ``done`` or ``dead``; otherwise empty.
    """

    id: str
    chunk: Any = field(repr=False)
    attempt: int
    end: str = ""


@dataclass(frozen=True, slots=True)
class Observation:
    """The job that a worker runs now.

    :ivar started_at: when the worker started it, epoch seconds.
    :ivar args: its arguments as JSON text; empty when it has none.
    :ivar checkin: the last text that the handler passed to :meth:`Job.checkin`, or empty.
    :ivar checkin_at: when the handler called it, epoch seconds, or 0.
    :ivar pool_id: the pool of the worker; empty when it is unknown.
    :ivar overdue: whether the job goes on although its time is over, or it was cancelled, some seconds ago.
    :ivar progress: the numbers of the last check-in, if the handler passed them to :meth:`Job.progress`.
    """

    worker_id: str
    job_name: str
    job_id: str
    started_at: int
    args: bytes = field(repr=False)
    checkin: str = ""
    checkin_at: int = 0
    pool_id: str = ""
    overdue: bool = False
    progress: Progress | None = None


@dataclass(frozen=True, slots=True)
class QueueInfo:
    """A queue.

    :ivar count: the number of jobs that wait in it.
    :ivar latency: how long ago the next job to run was enqueued, seconds; 0 when no job waits.
    :ivar running: the number of its jobs that run now, over all pools.
    :ivar max_concurrency: how many of its jobs may run at once, over all pools; 0 for any number.
    :ivar paused: whether pools fetch no jobs from it.
    :ivar pools: the number of live pools that serve it.
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
    """The number of jobs in each location, over all queues.

    :ivar queued: jobs that wait in queues.
    :ivar busy: jobs that run now, according to the locks.
    """

    queued: int = 0
    busy: int = 0
    retry: int = 0
    scheduled: int = 0
    dead: int = 0
    quarantine: int = 0


@dataclass(frozen=True, slots=True)
class JobCounts:
    """The counts of a minute or a day. Only pools of asyncwork count.

    :ivar at: the start of the minute or day, epoch seconds.
    :ivar processed: attempts that ended, whether they succeeded or failed, and jobs that had expired.
    :ivar failed: attempts that failed.
    :ivar retried: failed attempts whose job is retried.
    :ivar dead: failed attempts whose job is dead.
    :ivar run_ms: the total running time of the attempts, milliseconds.
    :ivar wait_ms: the total time that their jobs waited in queues, milliseconds; each is measured in whole seconds.
    :ivar expired: jobs that were dropped, because they had not started in time.
    :ivar cancelled: jobs that were cancelled while a pool had them. One that is cancelled where it waits is deleted at
        once, and not counted.
    """

    at: int = 0
    processed: int = 0
    failed: int = 0
    retried: int = 0
    dead: int = 0
    run_ms: int = 0
    wait_ms: int = 0
    expired: int = 0
    cancelled: int = 0


class UniqueKey(NamedTuple):
    """A unique key, at the time when it was read.

    :ivar end: when it expires, epoch milliseconds of Redis's clock; 0 for never.
    :ivar owner: the id of the job that holds it; empty when the key has no owner, as with gocraft/work.
    """

    end: int
    owner: str


@dataclass(frozen=True, slots=True)
class JobRecord:
    """A job in a location, or a payload there that is not a job.

    :ivar location: its location: ``retry``, ``scheduled``, ``dead``, ``quarantine``, ``busy`` (running now) or
        ``queue:NAME``; ``periodic`` when ``redact`` is called with a periodic job.
    :ivar ref: the job ref, which finds it there again, whatever its id is; empty for a running job.
    :ivar name: its name; for a payload that is not a job, the queue or sorted set where it was found.
    :ivar id: its id; 24 hex digits unless another program chose it.
    :ivar args: its arguments as exact JSON text; ``null`` when it has none.
    :ivar at: when it is due (``retry``, ``scheduled``), died, was quarantined, or was started (``busy``), epoch
        seconds; ``None`` in a queue.
    :ivar enqueued_at: when it was put on its queue, epoch seconds.
    :ivar fails: the number of failed attempts.
    :ivar err: the text of the last failure.
    :ivar failed_at: the time of the last failure, epoch seconds, or 0.
    :ivar traceback: the end of its traceback, or empty; Go pools write none.
    :ivar checkin: the last check-in of a running job.
    :ivar unique: whether it holds a unique key until it starts.
    :ivar unique_key: that key, where the payload has it.
    :ivar size: the size of the payload, bytes.
    :ivar reason: why the payload is not a job; empty for a job.
    :ivar text: the payload as text; empty for a job.
    :ivar progress: the progress of a running job; ``None`` if its last check-in has no numbers.
    :ivar timeout: the timeout with which it was enqueued, seconds; 0 for none, ``None`` for the timeout of its type.
    :ivar expires: the time after which it does not start, epoch seconds, or 0.
    """

    location: str
    ref: str
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
    reason: str = ""
    text: str = field(default="", repr=False)
    progress: Progress | None = None
    timeout: float | None = None
    expires: float = 0.0


@dataclass(frozen=True, slots=True)
class Problem:
    """A problem of a namespace, or one that is about to occur.

    :ivar kind: ``eviction``, ``replica``, ``memory``, ``clients``, ``persistence``, ``orphans``, ``no_heartbeat``,
        ``stale_pool``, ``clock_skew``, ``no_workers``, ``lock_drift`` or ``quarantine``; the doctor reports more kinds.
    :ivar subject: the queue, pool or key that has the problem; empty for the server or the namespace.
    :ivar text: the problem in words.
    :ivar remedy: what to do.
    :ivar command: a command line for it, or empty.
    """

    kind: str
    subject: str
    text: str
    remedy: str
    command: str = ""


@dataclass(frozen=True, slots=True)
class Page:
    """A page of the jobs in a location.

    :ivar jobs: up to ``per_page`` jobs.
    :ivar total: the number of jobs in the location.
    :ivar page: the number of the page, from 1.
    """

    jobs: list[JobRecord]
    total: int
    page: int
    per_page: int


@dataclass(frozen=True, slots=True)
class FinishedPage:
    """A page of the jobs that have ended, the last one first.

    :ivar jobs: up to ``per_page`` jobs, without their tracebacks; fewer if some can no longer be read.
    :ivar total: the number of jobs that are listed.
    :ivar page: the number of the page, from 1.
    :ivar pages: the number of pages; 1 if no job is listed.
    """

    jobs: tuple[JobStatus, ...]
    total: int
    page: int
    pages: int


@dataclass(frozen=True, slots=True)
class SearchResult:
    """The result of one call of a search.

    :ivar jobs: the jobs that match, in the order of the search.
    :ivar cursor: continues the search; empty when all jobs have been read.
    :ivar looked: how many jobs this call has read.
    :ivar total: the number of jobs in the locations that were searched.
    """

    jobs: list[JobRecord]
    cursor: str
    looked: int
    total: int


@dataclass(frozen=True, slots=True)
class ErrorKind:
    """Jobs whose errors differ only in their values.

    :ivar kind: what the errors have in common; empty for jobs without an error.
    :ivar count: the number of jobs.
    :ivar names: the number of jobs of each name.
    :ivar newest: the latest :attr:`JobRecord.at` of the jobs, epoch seconds; 0 when they have none.
    :ivar example: the whole text of one of the errors.
    :ivar oldest: the earliest :attr:`JobRecord.at` of the jobs, epoch seconds; 0 when they have none.
    """

    kind: str
    count: int
    names: dict[str, int]
    newest: float
    example: str
    oldest: float = 0.0


@dataclass(frozen=True, slots=True)
class ErrorKinds:
    """The errors in a location by kind, the most frequent first; other fields are those of :class:`SearchResult`."""

    kinds: list[ErrorKind]
    cursor: str
    looked: int
    total: int


@dataclass(frozen=True, slots=True)
class ActionResult:
    """The result of an action on jobs.

    :ivar done: how many jobs were moved, deleted, cancelled or counted; jobs that were gone meanwhile are not included.
    :ivar looked: how many jobs were read.
    :ivar cursor: continues the action; empty when it is complete.
    :ivar undo: the token for :meth:`Client.restore`, for ten minutes; empty when it cannot be undone.
    """

    done: int
    looked: int
    cursor: str = ""
    undo: str = ""


class CancelResult(StrEnum):
    """What :meth:`Client.cancel` has done.

    :cvar NOW: the job was waiting, and is gone now.
    :cvar ASKED: the job runs, and its pool was asked to end it; or it was not found in time, and will not start.
    :cvar GONE: there is no such job, or it has ended.
    """

    NOW = "now"
    ASKED = "asked"
    GONE = "gone"


@dataclass(frozen=True, slots=True)
class Deletion:
    """A deletion that can be undone.

    :ivar undo: the token for :meth:`Client.restore`.
    :ivar location: the location of the jobs.
    :ivar who: the user who deleted them; empty when that is unknown.
    :ivar at: when they were deleted, epoch seconds.
    :ivar until: until when it can be undone, epoch seconds.
    :ivar count: the number of jobs.
    :ivar first: one of the jobs.
    """

    undo: str
    location: str
    who: str
    at: float
    until: float
    count: int
    first: JobRecord


@dataclass(frozen=True, slots=True)
class ServerInfo:
    """The Redis server.

    :ivar version: such as ``7.0.15``.
    :ivar memory: the memory that it uses, bytes.
    :ivar memory_limit: its ``maxmemory``, bytes; 0 for no limit.
    :ivar policy: its ``maxmemory-policy``; any but ``noeviction`` loses jobs.
    :ivar clients: the number of its connections.
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
    """The status of a namespace at one time.

    :ivar heartbeats: the heartbeat of each pool, also of dead pools that no reaper has removed yet.
    :ivar queues: every queue, sorted by name.
    :ivar problems: the problems that one reading shows, the worst first.
    """

    heartbeats: list[Heartbeat]
    queues: list[QueueInfo]
    sizes: Sizes
    problems: list[Problem]
    server: ServerInfo


@dataclass(frozen=True, slots=True)
class Repairs:
    """The repairs that a diagnosis suggests. Each is made only if the namespace is still as it was diagnosed.

    :ivar gone: by id of a dead pool, its ``heartbeat_at`` (empty for none), and the queues where it has jobs in
        progress or a share of the lock.
    :ivar locks: by queue whose lock is wrong, the pools that may have jobs of it in progress.
    :ivar unknown: queues whose names are to be registered.
    :ivar unclaimed: unique keys that are held for no job.
    :ivar cancels: ids of jobs that are marked to be cancelled and do not exist, with the time of the mark.
    :ivar awaited: ids of jobs that are waited for and do not exist.
    :ivar unexpiring: keys of records and streams of jobs that have no expiry.
    """

    gone: Mapping[str, tuple[bytes, Sequence[str]]] = field(default_factory=dict)
    locks: Mapping[str, Sequence[str]] = field(default_factory=dict)
    unknown: Sequence[str] = ()
    unclaimed: Mapping[str, UniqueKey] = field(default_factory=dict)
    cancels: Mapping[str, int] = field(default_factory=dict)
    awaited: Sequence[str] = ()
    unexpiring: Sequence[str] = ()

    def __bool__(self) -> bool:
        found = (self.gone, self.locks, self.unknown, self.unclaimed, self.cancels, self.awaited, self.unexpiring)
        return any(map(bool, found))


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """The diagnosis of a namespace, from repeated readings.

    :ivar problems: the problems, the worst first.
    :ivar notes: what is worth knowing but is not a problem.
    :ivar version: the version of Redis.
    :ivar persistence: how Redis persists its data, in words.
    :ivar pools: the number of live pools.
    :ivar queues: the number of queues.
    :ivar jobs: the number of jobs that have not ended.
    :ivar repairs: the repairs that :meth:`Client.repair` can make.
    """

    problems: list[Problem]
    notes: list[Problem]
    version: str
    persistence: str
    pools: int
    queues: int
    jobs: int
    repairs: Repairs = field(repr=False)
