"""What asyncwork tells about jobs and pools: plain frozen values."""

from __future__ import annotations

from collections.abc import Mapping
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
class Tally:
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
class Counts:
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
