"""asyncwork: an asyncio-native job runner on Redis, byte-compatible with gocraft/work."""

from .enqueuer import Enqueuer
from .errors import (
    ArgumentsError,
    AsyncworkError,
    Discard,
    EmbeddedRedisError,
    EnqueueManyError,
    HandlerError,
    JobArgumentError,
    PayloadError,
    RedisUnusable,
    Retry,
    ScheduleError,
    Snooze,
    UsageError,
)
from .job import Job
from .middleware import CallNext
from .options import Backoff, JobOptions, Periods, PoolOptions
from .records import EnqueuedJob
from .running import JobFilter
from .task import Task
from .worker_pool import WorkerPool

__all__ = [
    "ArgumentsError",
    "AsyncworkError",
    "Backoff",
    "CallNext",
    "Discard",
    "EmbeddedRedisError",
    "EnqueueManyError",
    "EnqueuedJob",
    "Enqueuer",
    "HandlerError",
    "Job",
    "JobArgumentError",
    "JobFilter",
    "JobOptions",
    "PayloadError",
    "Periods",
    "PoolOptions",
    "RedisUnusable",
    "Retry",
    "ScheduleError",
    "Snooze",
    "Task",
    "UsageError",
    "WorkerPool",
]
