"""The options of a pool. They are frozen, and checked when they are made.

``Tuning`` has more than ten arguments, because each is one number with a default, passed by name.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields

from .._environment import number
from .._jobs.option_checks import check_extra, check_type, check_whole
from .._jobs.printable import shown
from .._jobs.times import positive_seconds_of, seconds_of
from ..errors import UsageError
from .job import Extra

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
                object.__setattr__(
                    self, each.name, positive_seconds_of(getattr(self, each.name), f"Tuning.{each.name}")
                )
        if self.horizon <= self.periodic:
            raise UsageError(
                f"Tuning.horizon ({self.horizon} s) must be longer than Tuning.periodic ({self.periodic} s), "
                "or periodic jobs are missed between two of these"
            )


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
        object.__setattr__(self, "heartbeat", positive_seconds_of(self.heartbeat, "heartbeat"))
        object.__setattr__(self, "dead_after", positive_seconds_of(self.dead_after, "dead_after"))
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
