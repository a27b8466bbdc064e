"""asyncwork: an asyncio-native job runner on Redis, byte-compatible with gocraft/work."""

from typing import TYPE_CHECKING, Any

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
from .logging import JobLogFilter, guard_loggers

if TYPE_CHECKING:
    from ._admin.query import Criteria
    from .client import Client
    from .enqueuer import Enqueuer
    from .job import Job
    from .middleware import CallNext
    from .models import EnqueuedJob, JobRecord
    from .options import Backoff, JobOptions, Periods, PoolOptions
    from .task import Task
    from .worker_pool import WorkerPool
else:
    # Imported on first use: a program that only enqueues, or only prints a help text, starts in a fraction of the time.
    _MODULES = {
        "Backoff": "options",
        "CallNext": "middleware",
        "Client": "client",
        "Criteria": "_admin.query",
        "EnqueuedJob": "models",
        "Enqueuer": "enqueuer",
        "Job": "job",
        "JobOptions": "options",
        "JobRecord": "models",
        "Periods": "options",
        "PoolOptions": "options",
        "Task": "task",
        "WorkerPool": "worker_pool",
    }

    def __getattr__(name: str) -> Any:
        if name not in _MODULES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from importlib import import_module

        value = globals()[name] = getattr(import_module(f".{_MODULES[name]}", __name__), name)
        return value

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})


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
    "JobLogFilter",
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
