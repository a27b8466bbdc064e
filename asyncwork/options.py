"""Options of a job type and of a pool. They are frozen, and checked when they are made.

``Tuning`` has more than ten arguments, because each is one number with a default, passed by name.

One file for the options of job types and of pools, because all of them are checked in the same way.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from ._environment import number
from ._jobs.names import suggestion
from ._jobs.option_checks import check_extra, check_type, check_whole
from ._jobs.printable import shown
from ._jobs.tenants import check_partition, check_tenant_chunk
from ._jobs.times import seconds_of
from .errors import UsageError
from .limit import Cost, Limit, check_limits
from .rate import Rate
from .unique import Debounce, Throttle, Unique, check_rules

if TYPE_CHECKING:
    from .job import Job

# Takes the job, whose failure is already counted in `job.fails`. Returns seconds until the next attempt.
Backoff = Callable[["Job"], float]

# The name of the argument that holds a job's tenant, or a function that takes the arguments and returns the tenant.
Partition: TypeAlias = str | Callable[[Mapping[str, Any]], object]

# How arguments are treated that a handler does not take: the job runs without them, or it fails.
Extra = Literal["ignore", "forbid"]

# Seconds for which a chunk waits for more jobs by default.
CHUNK_WAIT = 0.5
# The most jobs that one call may take. Each has a task, made in one step of the event loop.
MOST_IN_CHUNK = 10_000
# The most jobs that a pool can be resized to run at once. Each takes a worker, made in one step of the event loop.
MOST_WORKERS = 10_000


def check_workers(concurrency: object) -> None:
    """Check how many jobs a pool is to run at once that runs already.

    :raises UsageError: when that is not a whole number from 1 to 10,000.
    """
    check_whole(concurrency, "concurrency", 1, MOST_WORKERS)


def read_concurrency(text: str) -> int:
    """Return how many jobs run at once, from the text of a command line or the environment.

    :raises UsageError: when the text is not such a number.
    """
    return PoolOptions(concurrency=number(text, int, "a whole number")).concurrency


def read_grace(text: str) -> float:
    """Return the grace period in seconds, from the text of a command line or the environment.

    :raises UsageError: when the text is not such a number.
    """
    return seconds_of(number(text, float, "a number of seconds"), "it")


def check_version_label(value: object) -> str:
    """Return a version label.

    :raises UsageError: when it is not text of 1 to 64 printable characters, or it begins or ends with a space.
    """
    if not isinstance(value, str) or not 1 <= len(value) <= 64 or not value.isprintable() or value != value.strip():
        raise UsageError(
            "a version label must be text of 1 to 64 printable characters, without a space at either end, such as "
            f"'v1.4.2', not {shown(value)}"
        )
    return value


def check_chunk(chunk: object, wait: object, max_concurrency: int) -> None:
    """Check how many jobs one call takes.

    :raises UsageError: when that is not a whole number from 2 to 10,000, or 0, or other options exclude it.
    """
    check_whole(chunk, "chunk", 0, MOST_IN_CHUNK)
    if chunk == 1:
        raise UsageError("chunk must be 2 or more: a handler of single jobs, which takes a Job, needs no chunk")
    if not chunk and wait is not None:
        raise UsageError("wait is for how long a chunk waits for more jobs: pass chunk=… with it")
    if isinstance(chunk, int) and 0 < max_concurrency < chunk:
        raise UsageError(
            f"max_concurrency ({max_concurrency}) counts jobs, not calls, so no chunk of {chunk} could ever be full: "
            f"pass {chunk} or more, or a smaller chunk"
        )


# Options of other libraries, and what has their place.
_ELSEWHERE = {
    "name": 'the name comes first, as in @pool.job("name")',
    **dict.fromkeys(("max_retries", "retries"), "pass max_fails, which counts the first attempt too"),
    **dict.fromkeys(("max_tries", "max_attempts", "attempts"), "pass max_fails"),
}


def job_options_of(given: Mapping[str, Any]) -> JobOptions:
    """Return the options that ``pool.job`` was given.

    :raises UsageError: when there is no such option, or a value is out of its range.
    """
    names = [each.name for each in fields(JobOptions)]
    for name in given:
        if name not in names:
            hint = f". Instead, {_ELSEWHERE[name]}" if name in _ELSEWHERE else suggestion(name, names)
            raise UsageError(f"pool.job has no option {shown(name)}; it has {', '.join(names)}{hint}")
    return JobOptions(**given)


@dataclass(frozen=True, slots=True)
class JobOptions:
    """How the jobs of one name are treated.

    :param priority: from 1 to 100000; the weight of the queue in the random order in which queues are read.
    :param max_fails: how many attempts there are in all; 1 for no retry.
    :param skip_dead: drop a job that has no attempts left instead of keeping it among the dead jobs.
    :param max_concurrency: how many may run at once over all processes; 0 for no limit.
    :param max_crashes: how many times a job's process may die while the job runs. Then the job is considered the cause,
        and is dead. 0 for no limit.
    :param timeout: how long an attempt may take, in seconds or as a ``timedelta``; ``None`` or 0 for no limit. After
        that, a coroutine is cancelled where it waits, and the attempt has failed. A plain function runs on in its
        thread, and finds ``job.cancelled`` set.
    :param backoff: takes the failed job, returns seconds until the next attempt; by default as gocraft/work does,
        fails^4 + 15 + rand(0..29) x (fails + 1).
    :param extra: ``"ignore"`` or ``"forbid"`` arguments that the handler does not take; the pool's setting by default.
        A job with a forbidden argument is dead at once.
    :param result: for how long it is kept how a job ended and what its handler returned, seconds, rounded up to whole
        ones, or a ``timedelta``; by default it is not kept.
    :param expires: seconds, or a ``timedelta``, for which a job may start after it was enqueued, or after the time that
        it was scheduled for. Later it is dropped, also instead of a retry.
    :param stream: for how long what its jobs emit can be read after the last chunk and after their end, seconds,
        rounded up to whole ones, or a ``timedelta``; by default they cannot emit anything.
    :param history: keep each attempt, with its start, end, host and error, and list finished jobs: for as long as
        results are kept, or for a day.
    :param unique: ``True``, or a :class:`Unique`, keeps a job out while another one of the name holds its key.
    :param debounce: a :class:`Debounce` runs a job once things are quiet, with the newest arguments.
    :param throttle: a :class:`Throttle` lets a job start once in a period.
    :param rate: how many of its jobs may start within a time, over all processes, such as ``Rate(100, per=60)``;
        ``None`` for any number, unless another pool has announced a rate or one was set at run time.
    :param limits: up to three limits that it shares with other job types and other code: see :meth:`WorkerPool.limit`.
    :param cost: how many tokens of each of its limits a job takes: a number, or a function that takes the arguments as
        they are stored, and returns one.
    :param max_waiting: how many jobs may wait in the queue: an enqueue that would exceed it raises :class:`QueueFull`.
        0 for no limit.
    :param chunk: how many jobs one call of the handler takes at most; it takes a list of them, ``(jobs: list[Job])``,
        after the context if it takes that. 0 for one job a call.
    :param wait: seconds, or a ``timedelta``, after the first job of a chunk was taken until its call begins, however
        few jobs there are; half a second by default.
    :param partition: the argument by whose value the jobs belong to tenants, which take turns; or a function that takes
        the arguments as they are stored, and returns the tenant.
    :param partition_concurrency: how many jobs of each tenant may run at once over all processes; 0 for no limit.
    :param partition_max: how many jobs of each tenant may wait; 0 for no limit. With more, an enqueue raises
        :class:`QueueFull`.
    :param partition_rate: how many jobs of each tenant may start within a time over all processes, such as
        ``Rate(10, per=1)``; ``None`` for any number.
    :param ordered: run the jobs of each tenant one after the other, in the order in which they were enqueued. One that
        fails keeps those behind it waiting until its retry has run, or it is dead.
    :raises UsageError: when a value is out of its range, two options exclude each other, or an option of tenants is
        given without ``partition``.
    """

    priority: int = 1
    max_fails: int = 4
    skip_dead: bool = False
    max_concurrency: int = 0
    max_crashes: int = 3
    timeout: float | timedelta | None = None
    backoff: Backoff | None = None
    extra: Extra | None = None
    result: float | timedelta | None = None
    expires: float | timedelta | None = None
    stream: float | timedelta | None = None
    history: bool = False
    unique: bool | Unique = False
    debounce: Debounce | None = None
    throttle: Throttle | None = None
    rate: Rate | None = None
    limits: Sequence[Limit] = ()
    cost: Cost = 1
    max_waiting: int = 0
    chunk: int = 0
    wait: float | timedelta | None = None
    partition: Partition | None = None
    partition_concurrency: int = 0
    partition_max: int = 0
    partition_rate: Rate | None = None
    ordered: bool = False

    def __post_init__(self) -> None:
        if self.result is not None:
            object.__setattr__(self, "result", _kept_for(self.result, "result", "results are"))
        if self.stream is not None:
            object.__setattr__(self, "stream", _kept_for(self.stream, "stream", "streams are"))
        check_whole(self.priority, "priority", 1, 100_000)
        check_whole(self.max_fails, "max_fails", 1)
        check_whole(self.max_concurrency, "max_concurrency", 0)
        check_whole(self.max_crashes, "max_crashes", 0)
        if self.timeout is not None:
            object.__setattr__(self, "timeout", seconds_of(self.timeout, "timeout"))
        for name in ("skip_dead", "history", "ordered"):
            if not isinstance(getattr(self, name), bool):
                raise UsageError(f"{name} must be True or False, not {shown(getattr(self, name))}")
        if self.backoff is not None and not callable(self.backoff):
            raise UsageError(
                f"backoff must be callable, taking the job and returning seconds, not {shown(self.backoff)}"
            )
        if self.extra is not None:
            check_extra(self.extra)
        if self.rate is not None and not isinstance(self.rate, Rate):
            raise UsageError(f"rate must be a Rate, such as Rate(100, per=60), not {shown(self.rate)}")
        object.__setattr__(self, "limits", check_limits(self.limits, self.cost))
        if self.expires is not None:
            object.__setattr__(self, "expires", _period(self.expires, "expires"))
        self._check_partition()
        if not isinstance(self.unique, (bool, Unique)):
            raise UsageError(f"unique must be True, or a Unique(…), not {shown(self.unique)}")
        check_rules(self.unique, self.debounce, self.throttle)
        check_whole(self.max_waiting, "max_waiting", 0)
        if self.wait is not None:
            object.__setattr__(self, "wait", seconds_of(self.wait, "wait"))
        check_chunk(self.chunk, self.wait, self.max_concurrency)
        check_tenant_chunk(self.chunk, self.partition_concurrency, ordered=self.ordered)

    def _check_partition(self) -> None:
        check_whole(self.partition_concurrency, "partition_concurrency", 0, 2**31)
        check_whole(self.partition_max, "partition_max", 0, 2**31)
        if self.partition_rate is not None and not isinstance(self.partition_rate, Rate):
            raise UsageError(
                f"partition_rate must be a Rate, such as Rate(10, per=1), not {shown(self.partition_rate)}"
            )
        check_partition(
            self.partition,
            self.partition_concurrency,
            self.partition_max,
            ordered=self.ordered,
            rated=self.partition_rate is not None,
        )

    @property
    def rule(self) -> Unique | Debounce | Throttle | None:
        """What keeps its jobs from being enqueued too often; ``None`` for nothing."""
        unique = Unique() if self.unique is True else self.unique or None
        return unique or self.debounce or self.throttle

    @property
    def chunk_wait(self) -> float:
        """Seconds for which a chunk waits for more jobs."""
        return CHUNK_WAIT if self.wait is None else seconds_of(self.wait, "wait")


def _kept_for(value: float | timedelta, option: str, kept: str) -> int:
    seconds = math.ceil(seconds_of(value, option))
    if not seconds:
        raise UsageError(f"{option} must be one second or more: for how long {kept} kept; leave it out to keep none")
    return seconds


@dataclass(frozen=True, slots=True)
class Tuning:
    """Details of a pool that rarely need another value: times of its background services in seconds, and limits of
    its connections.

    :param max_blocking_connections: how many connections may block in Redis at once, one for each idle queue.
    :param pipelines: how many batches may be under way to Redis at once, from 1 to 16.
    :param reap: between checks of the other pools' heartbeats. Three pools of a namespace read them, those that find a
        dead pool soonest; the others check that these do.
    :param orphans: between searches for in-progress lists whose pool is not registered.
    :param observe: between writes of what the workers are doing.
    :param poll: the longest time between polls of queues that no connection blocks on. Usually they are polled every
        40 ms; paused queues and those at their concurrency limit less and less often, up to this time.
    :param requeue: the longest time between checks of the retry and scheduled jobs.
    :param periodic: between runs that schedule the coming instances of periodic jobs.
    :param horizon: how far ahead the instances of periodic jobs are scheduled.
    :param reconcile: between comparisons of the pool's in-progress lists with its running jobs.
    :param revive: between checks of newly dead jobs that a Go pool killed because it had no handler for their name.
    :param count: between writes of metrics: jobs processed, failed and so on, by queue.
    :param trim: between checks for dead jobs that are too many or too old, which are deleted.
    :param dead_max: how many dead jobs are kept; 0 for any number. The pool with the lowest number decides.
    :param dead_for: how long dead jobs are kept; 0 for ever. The pool with the shortest time decides.
    :param reply_timeout: how long a reply of Redis may take until its connection is closed.
    :param stall: how long the event loop may be blocked until a warning shows where.
    :param blocked: how long the event loop may be blocked until the pool's health says that it is not live.
    :param overdue: how long a job may go on after its timeout, or after it was cancelled, until a warning shows where.
    :raises UsageError: when a limit is out of its range, a time is not above zero, or two times contradict each other.
    """

    max_blocking_connections: int = 32
    pipelines: int = 2
    reap: float = 1.0
    orphans: float = 60.0
    observe: float = 1.0
    poll: float = 1.0
    requeue: float = 1.0
    periodic: float = 120.0
    horizon: float = 240.0
    reconcile: float = 30.0
    revive: float = 5.0
    count: float = 2.0
    trim: float = 60.0
    dead_max: int = 10_000
    dead_for: float = 180 * 86_400.0
    reply_timeout: float = 10.0
    stall: float = 5.0
    blocked: float = 60.0
    overdue: float = 5.0

    def __post_init__(self) -> None:
        check_whole(self.max_blocking_connections, "Tuning.max_blocking_connections", 0)
        check_whole(self.pipelines, "Tuning.pipelines", 1, 16)
        check_whole(self.dead_max, "Tuning.dead_max", 0)
        object.__setattr__(self, "dead_for", seconds_of(self.dead_for, "Tuning.dead_for"))
        for each in fields(self):
            if each.name not in ("max_blocking_connections", "pipelines", "dead_max", "dead_for"):
                object.__setattr__(self, each.name, _period(getattr(self, each.name), f"Tuning.{each.name}"))
        if self.horizon <= self.periodic:
            raise UsageError(
                f"Tuning.horizon ({self.horizon} s) must be longer than Tuning.periodic ({self.periodic} s), "
                "or periodic jobs are missed between two of these"
            )


def _period(value: float | timedelta, what: str) -> float:
    """Return a duration that is not zero, in seconds.

    :param what: what the message calls it.
    :raises UsageError: when it is not a duration, or is zero.
    """
    seconds = seconds_of(value, what)
    if seconds == 0:
        raise UsageError(f"{what} must be more than 0 seconds")
    return seconds


@dataclass(frozen=True, slots=True)
class PoolOptions:
    """The options of a pool. Times are in seconds.

    :param url: the URL of its Redis, with the password; ``None`` for the environment's, or the default.
    :param namespace: the prefix of every key in Redis; shared with gocraft/work programs of the same namespace.
    :param concurrency: how many jobs the pool runs at once.
    :param grace: how long running jobs have to finish after a request to stop.
    :param heartbeat: between heartbeats. gocraft/work considers a pool dead after 10 s without one.
    :param dead_after: how long another pool's heartbeat must be unchanged until its jobs are requeued.
    :param extra: what to do with arguments that a handler does not take, ``"ignore"`` or ``"forbid"``.
    :param tuning: details that rarely need another value.
    :param version_label: the version of the application; empty for none.
    :param ahead: whether to take more jobs than there are free workers, if they are short.
    :raises UsageError: when a value is out of its range, or ``dead_after`` is too short for ``heartbeat``.
    """

    url: str | None = field(default=None, repr=False)
    namespace: str = "work"
    concurrency: int = 10
    grace: float = 25.0
    heartbeat: float = 2.0
    dead_after: float = 10.0
    extra: Extra = "ignore"
    tuning: Tuning = field(default_factory=Tuning)
    version_label: str = ""
    ahead: bool = True

    def __post_init__(self) -> None:
        if not isinstance(self.namespace, str):
            raise UsageError(f"namespace must be text, not {shown(self.namespace)}")
        check_whole(self.concurrency, "concurrency", 1)
        object.__setattr__(self, "grace", seconds_of(self.grace, "grace"))
        object.__setattr__(self, "heartbeat", _period(self.heartbeat, "heartbeat"))
        object.__setattr__(self, "dead_after", _period(self.dead_after, "dead_after"))
        if self.dead_after < 2 * self.heartbeat:
            raise UsageError(
                f"dead_after ({self.dead_after} s) must be at least twice heartbeat ({self.heartbeat} s), "
                "or another pool may consider it dead after one late heartbeat"
            )
        check_extra(self.extra)
        if not isinstance(self.tuning, Tuning):
            raise UsageError(f"tuning must be a Tuning(…), not {shown(self.tuning)}")
        if self.version_label != "":
            check_version_label(self.version_label)
        check_type(self.ahead, "ahead", bool, "True or False")
