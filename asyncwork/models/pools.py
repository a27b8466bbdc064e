"""Worker pools: their heartbeats, the jobs that they run and plan, their counts and their health.

``Heartbeat`` has more than ten fields, because it shows what a pool writes to Redis, field by field.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from .job_status import Progress
from .periodic import PeriodicState


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """The heartbeat of a worker pool, which the pool writes every few seconds.

    Times are epoch seconds. ``job_names`` and ``worker_ids`` are sorted.

    :ivar runner: the library and version of the pool, such as ``asyncwork 0.1.0``; empty for gocraft/work.
    :ivar state: ``running``, ``quiet`` (fetches no new jobs) or ``stopping``; empty for gocraft/work.
    :ivar periodic: the periodic jobs that the pool enqueues, as its code says. Changes that were made at run time are
        in :meth:`Client.periodic_jobs`.
    :ivar ignored: the arguments that jobs have but their handlers do not take.
    :ivar streams: the names of the jobs that have streams, sorted; ``None`` if that is unknown.
    :ivar version_label: the version of the application that the pool was given; empty for none.
    :ivar looks_ahead: whether the pool may hold more jobs than it runs, because they are short.
    :ivar takes_requests: whether the pool can be asked to be quiet, to stop, or to run more or fewer jobs at once;
        false for gocraft/work.
    :ivar followed: when the requests were made that the pool has followed last, epoch seconds.
    :ivar requests: the requests that the pool has not followed yet, or that it ignores because they cannot be read.
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
    followed: tuple[float, ...] = ()
    requests: tuple[PoolRequest, ...] = ()
    version_label: str = ""
    looks_ahead: bool = False


@dataclass(frozen=True, slots=True)
class PoolRequest:
    """A request that a pool be in another state, or run another number of jobs at once.

    :ivar state: ``running``, ``quiet`` or ``stopping``; empty if the request is for a concurrency.
    :ivar concurrency: how many jobs the pool is to run at once; 0 if the request is for a state.
    :ivar who: the user who has made it; empty if that was not given.
    :ivar at: when it was made, epoch seconds by the clock of that user's machine; 0 if that is unknown.
    :ivar heartbeats: how many heartbeats the pool has written since.
    :ivar unreadable: what is written in Redis, if that is no request; the pool ignores it. Empty otherwise.
    """

    state: str = ""
    concurrency: int = 0
    who: str = ""
    at: float = 0.0
    heartbeats: int = 0
    unreadable: str = ""


@dataclass(frozen=True, slots=True)
class Deployment:
    """A version of the application, as the version labels of pools name it.

    :ivar version_label: the label.
    :ivar started_at: when the first pool with it was started, epoch seconds by Redis's clock.
    """

    version_label: str
    started_at: float


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
