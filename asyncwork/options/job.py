"""The options of a job type. They are frozen, and checked when they are made.

``JobOptions`` has more than ten arguments, because each is one option of ``@pool.job``, passed by name.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from .._jobs.names import suggestion
from .._jobs.option_checks import check_chunk_fits, check_extra, check_maximum, check_whole
from .._jobs.printable import shown
from .._jobs.tenants import check_partition, check_tenant_chunk
from .._jobs.times import positive_seconds_of, seconds_of
from ..errors import UsageError
from ..limit import Cost, Limit, check_limits
from ..rate import Rate
from ..unique import Debounce, Throttle, Unique, check_rules

if TYPE_CHECKING:
    from ..job import Job

# Takes the job, whose failure is already counted in `job.fails`. Returns seconds until the next attempt.
Backoff = Callable[["Job"], float]

# The name of the argument that holds a job's tenant, or a function that takes the arguments and returns the tenant.
Partition: TypeAlias = str | Callable[[Mapping[str, Any]], object]

# The treatment of a job with arguments that its handler does not take: it runs without them, or it fails.
Extra = Literal["ignore", "forbid"]

# Seconds for which a chunk waits for more jobs by default.
CHUNK_WAIT = 0.5
# The most jobs that one call may take. Each has a task, made in one step of the event loop.
MOST_IN_CHUNK = 10_000


def check_chunk(chunk: object, wait: object, max_concurrency: int) -> None:
    """Check how many jobs one call takes.

    :raises UsageError: when that is not a whole number from 2 to 10,000, or 0, or other options exclude it.
    """
    check_whole(chunk, "chunk", 0, MOST_IN_CHUNK)
    if chunk == 1:
        raise UsageError("chunk must be 2 or more: a handler of single jobs, which takes a Job, needs no chunk")
    if not chunk and wait is not None:
        raise UsageError("wait is for how long a chunk waits for more jobs: pass chunk=… with it")
    if isinstance(chunk, int):
        check_chunk_fits(chunk, max_concurrency, "max_concurrency")


# Options of other libraries, and what to write instead.
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
            object.__setattr__(self, "expires", positive_seconds_of(self.expires, "expires"))
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
        check_maximum(self.partition_concurrency, "partition_concurrency")
        check_maximum(self.partition_max, "partition_max")
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
        """The rule that keeps its jobs from being enqueued too often; ``None`` if there is none."""
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
