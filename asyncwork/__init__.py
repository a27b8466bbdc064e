"""asyncwork: an asyncio-native job runner on Redis, byte-compatible with gocraft/work."""

from typing import TYPE_CHECKING, Any

from .decisions import Discard, HandlerDecision, RateLimited, Retry, Snooze
from .errors import (
    ArgumentEncodingError,
    ArgumentMismatchError,
    AsyncworkError,
    BatchEndedError,
    CrashedError,
    EmbeddedRedisError,
    EnqueueManyError,
    EventTimeout,
    HandlerError,
    JobCancelled,
    JobEndedError,
    JobExpired,
    JobFailed,
    JobTimeoutError,
    NoResultError,
    PayloadError,
    PoolEndedError,
    QueueFull,
    RedisUnavailable,
    ResultLost,
    ResultTimeout,
    ScheduleError,
    StepError,
    StreamLost,
    StreamTimeout,
    Superseded,
    UniqueConflictError,
    UnknownJobError,
    UsageError,
)
from .logging import JobLogFilter

if TYPE_CHECKING:
    from ._admin.flow_handle import FlowHandle
    from ._admin.query import JobQuery, error_kind
    from ._admin.redaction import Redact
    from ._jobs.clock import Clock
    from ._jobs.enqueue_options import EnqueueOptions
    from ._jobs.flow_nodes import Node, Nodes
    from ._jobs.job_call import JobCall
    from ._jobs.job_flow import JobFlow
    from ._jobs.names import Named
    from ._pool.job_decorator import JobDecorator
    from ._pool.settings import OverruledVariable
    from .batch import Batch, SyncBatch
    from .client import Client
    from .enqueuer import Enqueuer
    from .flow import Flow, SyncFlow
    from .job import Job
    from .limit import Cost, Limit
    from .middleware import CallNext
    from .models.actions import ActionResult, CancelResult, Deletion
    from .models.batches import BatchFailures, BatchPage, BatchResult, BatchState, BatchStatus
    from .models.diagnosis import Diagnosis, FlowRepair, LostMembers, Overview, Problem, Repairs, ServerInfo, UniqueKey
    from .models.enqueued_job import EnqueuedJob
    from .models.flows import FlowNode, FlowNodes, FlowStatus, NodeGroup, NodeState, When
    from .models.job_record import ErrorKind, ErrorKinds, JobRecord, Page, SearchResult
    from .models.job_status import FinishedPage, JobAttempt, JobState, JobStatus, Progress, StreamItem
    from .models.job_steps import JobStep
    from .models.limits import LimitInfo
    from .models.periodic import PeriodicRun, PeriodicState
    from .models.pools import (
        Deployment,
        Heartbeat,
        IgnoredArgument,
        Observation,
        PoolCounts,
        PoolHealth,
        PoolRequest,
    )
    from .models.queues import FairQueue, JobCounts, QueueInfo, RunTimes, Sizes, Tenant
    from .models.unique_holder import UniqueHolder
    from .options import Backoff, Extra, JobOptions, Partition, PoolOptions, Tuning
    from .rate import Rate
    from .results import as_completed, gather
    from .task import BoundTask, SyncBoundTask, SyncTask, Task
    from .unique import Conflict, Debounce, Throttle, Unique, Until
    from .worker_pool import NoContext, Resources, WorkerPool
else:
    # Imported on first use: a program that only enqueues, or only prints a help text, starts in a fraction of the time.
    _MODULES = {
        "ActionResult": "models.actions",
        "Backoff": "options",
        "Batch": "batch",
        "BatchFailures": "models.batches",
        "BatchPage": "models.batches",
        "BatchResult": "models.batches",
        "BatchState": "models.batches",
        "BatchStatus": "models.batches",
        "BoundTask": "task",
        "CallNext": "middleware",
        "CancelResult": "models.actions",
        "Client": "client",
        "Clock": "_jobs.clock",
        "Conflict": "unique",
        "Debounce": "unique",
        "Deletion": "models.actions",
        "Diagnosis": "models.diagnosis",
        "EnqueueOptions": "_jobs.enqueue_options",
        "EnqueuedJob": "models.enqueued_job",
        "Enqueuer": "enqueuer",
        "ErrorKind": "models.job_record",
        "ErrorKinds": "models.job_record",
        "Extra": "options",
        "FairQueue": "models.queues",
        "FinishedPage": "models.job_status",
        "Flow": "flow",
        "FlowHandle": "_admin.flow_handle",
        "FlowNode": "models.flows",
        "FlowNodes": "models.flows",
        "FlowRepair": "models.diagnosis",
        "FlowStatus": "models.flows",
        "Deployment": "models.pools",
        "Heartbeat": "models.pools",
        "IgnoredArgument": "models.pools",
        "Job": "job",
        "JobCall": "_jobs.job_call",
        "JobCounts": "models.queues",
        "JobDecorator": "_pool.job_decorator",
        "JobFlow": "_jobs.job_flow",
        "JobOptions": "options",
        "JobQuery": "_admin.query",
        "JobRecord": "models.job_record",
        "JobState": "models.job_status",
        "JobAttempt": "models.job_status",
        "JobStatus": "models.job_status",
        "LostMembers": "models.diagnosis",
        "Named": "_jobs.names",
        "NoContext": "worker_pool",
        "Node": "_jobs.flow_nodes",
        "NodeGroup": "models.flows",
        "NodeState": "models.flows",
        "Nodes": "_jobs.flow_nodes",
        "JobStep": "models.job_steps",
        "Observation": "models.pools",
        "OverruledVariable": "_pool.settings",
        "Overview": "models.diagnosis",
        "Page": "models.job_record",
        "Partition": "options",
        "PeriodicRun": "models.periodic",
        "PeriodicState": "models.periodic",
        "PoolCounts": "models.pools",
        "PoolHealth": "models.pools",
        "PoolOptions": "options",
        "PoolRequest": "models.pools",
        "Problem": "models.diagnosis",
        "Progress": "models.job_status",
        "QueueInfo": "models.queues",
        "Cost": "limit",
        "Limit": "limit",
        "LimitInfo": "models.limits",
        "Rate": "rate",
        "Redact": "_admin.redaction",
        "Repairs": "models.diagnosis",
        "Resources": "worker_pool",
        "RunTimes": "models.queues",
        "SearchResult": "models.job_record",
        "ServerInfo": "models.diagnosis",
        "Sizes": "models.queues",
        "StreamItem": "models.job_status",
        "SyncBatch": "batch",
        "SyncBoundTask": "task",
        "SyncFlow": "flow",
        "SyncTask": "task",
        "Task": "task",
        "Tenant": "models.queues",
        "Throttle": "unique",
        "Tuning": "options",
        "Unique": "unique",
        "UniqueHolder": "models.unique_holder",
        "UniqueKey": "models.diagnosis",
        "Until": "unique",
        "When": "models.flows",
        "WorkerPool": "worker_pool",
        "as_completed": "results",
        "error_kind": "_admin.query",
        "gather": "results",
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
    "ActionResult",
    "ArgumentEncodingError",
    "ArgumentMismatchError",
    "AsyncworkError",
    "Backoff",
    "Batch",
    "BatchEndedError",
    "BatchFailures",
    "BatchPage",
    "BatchResult",
    "BatchState",
    "BatchStatus",
    "BoundTask",
    "CallNext",
    "CancelResult",
    "Client",
    "Clock",
    "Conflict",
    "Cost",
    "CrashedError",
    "Debounce",
    "Deletion",
    "Deployment",
    "Diagnosis",
    "Discard",
    "EmbeddedRedisError",
    "EnqueueManyError",
    "EnqueueOptions",
    "EnqueuedJob",
    "Enqueuer",
    "ErrorKind",
    "ErrorKinds",
    "EventTimeout",
    "Extra",
    "FairQueue",
    "FinishedPage",
    "Flow",
    "FlowHandle",
    "FlowNode",
    "FlowNodes",
    "FlowRepair",
    "FlowStatus",
    "HandlerDecision",
    "HandlerError",
    "Heartbeat",
    "IgnoredArgument",
    "Job",
    "JobAttempt",
    "JobCall",
    "JobCancelled",
    "JobCounts",
    "JobDecorator",
    "JobEndedError",
    "JobExpired",
    "JobFailed",
    "JobFlow",
    "JobLogFilter",
    "JobOptions",
    "JobQuery",
    "JobRecord",
    "JobState",
    "JobStatus",
    "JobStep",
    "JobTimeoutError",
    "Limit",
    "LimitInfo",
    "LostMembers",
    "Named",
    "NoContext",
    "NoResultError",
    "Node",
    "NodeGroup",
    "NodeState",
    "Nodes",
    "Observation",
    "OverruledVariable",
    "Overview",
    "Page",
    "Partition",
    "PayloadError",
    "PeriodicRun",
    "PeriodicState",
    "PoolCounts",
    "PoolEndedError",
    "PoolHealth",
    "PoolOptions",
    "PoolRequest",
    "Problem",
    "Progress",
    "QueueFull",
    "QueueInfo",
    "Rate",
    "RateLimited",
    "Redact",
    "RedisUnavailable",
    "Repairs",
    "Resources",
    "ResultLost",
    "ResultTimeout",
    "Retry",
    "RunTimes",
    "ScheduleError",
    "SearchResult",
    "ServerInfo",
    "Sizes",
    "Snooze",
    "StepError",
    "StreamItem",
    "StreamLost",
    "StreamTimeout",
    "Superseded",
    "SyncBatch",
    "SyncBoundTask",
    "SyncFlow",
    "SyncTask",
    "Task",
    "Tenant",
    "Throttle",
    "Tuning",
    "Unique",
    "UniqueConflictError",
    "UniqueHolder",
    "UniqueKey",
    "UnknownJobError",
    "Until",
    "UsageError",
    "When",
    "WorkerPool",
    "as_completed",
    "error_kind",
    "gather",
]
