"""asyncwork: an asyncio-native job runner on Redis, byte-compatible with gocraft/work."""

from ._admin.query import Criteria
from .client import Client
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
    PoolEndedError,
    RedisUnusable,
    Retry,
    ScheduleError,
    Snooze,
    UsageError,
)
from .guarded_logging import guard_loggers
from .job import Job
from .middleware import CallNext
from .models import EnqueuedJob, JobRecord
from .options import Backoff, JobOptions, Periods, PoolOptions
from .running import JobFilter
from .task import Task
from .worker_pool import WorkerPool

__all__ = [
    "ArgumentsError",
    "AsyncworkError",
    "Backoff",
    "CallNext",
    "Client",
    "Criteria",
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
    "JobRecord",
    "PayloadError",
    "Periods",
    "PoolEndedError",
    "PoolOptions",
    "RedisUnusable",
    "Retry",
    "ScheduleError",
    "Snooze",
    "Task",
    "UsageError",
    "WorkerPool",
]

guard_loggers()
