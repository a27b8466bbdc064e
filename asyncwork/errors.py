"""The errors that asyncwork raises.

AsyncworkError
├── UsageError (also a ValueError)
│   ├── ArgumentEncodingError
│   ├── HandlerError
│   └── ScheduleError
├── ArgumentMismatchError
├── CrashedError
├── JobTimeoutError (also a TimeoutError)
├── JobEndedError
├── StepError
├── EventTimeout (also a TimeoutError)
├── StreamLost
├── StreamTimeout (also a TimeoutError)
├── UnknownJobError
├── PayloadError
├── BatchEndedError
├── QueueFull
├── RedisUnavailable
│   └── EnqueueManyError
├── EmbeddedRedisError
├── PoolEndedError
├── UniqueConflictError
└── NoResultError
    ├── JobFailed
    ├── JobCancelled
    ├── JobExpired
    ├── ResultLost
    └── ResultTimeout (also a TimeoutError)

Superseded is a BaseException, as asyncio.CancelledError is: it ends an attempt, and is no failure of a step.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ._jobs.printable import printable

if TYPE_CHECKING:
    from .models.enqueued_job import EnqueuedJob


class AsyncworkError(Exception):
    """The base of every error that asyncwork raises."""


class UsageError(AsyncworkError, ValueError):
    """A value that was passed to asyncwork is not valid; the message says what would be."""


class ArgumentEncodingError(UsageError):
    """JSON cannot hold the job's arguments; the message names the key."""


class HandlerError(UsageError):
    """A handler, middleware or hook cannot be called; the message shows what can."""


class ScheduleError(UsageError):
    """A cron spec is malformed or can never fire."""


class EmbeddedRedisError(AsyncworkError):
    """No redis-server was found or could be started, or its directory is in use by another instance."""


class ArgumentMismatchError(AsyncworkError):
    """An argument of a job is missing, unexpected, or of another type than its handler takes.

    :ivar permanent: whether the handler can never be called with these arguments. Then the job is dead at once. An
        error that :meth:`Job.arg` or the handler itself raises is not permanent.
    """

    permanent = False


class CrashedError(AsyncworkError):
    """A job was running when its process died, as often as its options allow. A pool raises it in place of the job."""


class JobTimeoutError(AsyncworkError, TimeoutError):
    """An attempt of a job took longer than its timeout. A pool raises it in place of the job."""


class JobEndedError(AsyncworkError):
    """A chunk was emitted, or a step called, for an attempt that has ended, or whose job another pool has by now; or an
    event was sent to a job that has ended or does not exist.
    """


class StepError(AsyncworkError):
    """The result of a step of a job cannot be recorded or read again.

    The job is dead at once, because another attempt would run the step again, whose effect is there already. One that
    is retried by hand runs it again.
    """


class EventTimeout(AsyncworkError, TimeoutError):
    """The event that a job has waited for has not come in time."""


class Superseded(BaseException):
    """The attempt that runs has lost its job, because its pool was considered dead: another pool has the job by now.

    It ends the attempt, and changes nothing of the job. It is no ``Exception``, so that ``except Exception`` around a
    step does not take it for a failure of the step, and compensate for what the other pool goes on with.
    """


class StreamLost(AsyncworkError):
    """The stream of a job that was read has expired, or Redis has lost it, before the job had ended."""


class StreamTimeout(AsyncworkError, TimeoutError):
    """The job whose stream was read has neither emitted anything in time nor ended. It may go on."""


class UnknownJobError(AsyncworkError):
    """A job was found for whose name the pool has no handler. A pool raises it in place of the job."""


class PayloadError(AsyncworkError):
    """Bytes in Redis are not a job: not JSON, or not an object with the fields of a job."""


class BatchEndedError(AsyncworkError):
    """A job was added to a batch that has ended, was cancelled, or is not kept any more."""


class RedisUnavailable(AsyncworkError):
    """Redis cannot be reached, refuses the connection or a command, or is older than asyncwork needs."""


class QueueFull(AsyncworkError):
    """A job was not enqueued, because as many jobs wait as may: in its queue (``max_waiting``), or of its tenant
    (``partition_max``).

    :ivar name: the name of the queue.
    :ivar waiting: how many jobs wait there.
    :ivar limit: how many may.
    :ivar partition: the tenant whose jobs these are; ``None`` if the limit is that of the whole queue.
    """

    def __init__(self, name: str, waiting: int, limit: int, partition: str | None = None) -> None:
        self.name: str = name
        self.waiting: int = waiting
        self.limit: int = limit
        self.partition: str | None = partition
        of_tenant = partition is not None
        whose = f"queue {printable(name)} is full" + (f" for tenant {partition!r}" if of_tenant else "")
        super().__init__(
            f"{whose}: {waiting} {'job waits' if waiting == 1 else 'jobs wait'}, and at most {limit} may. Enqueue it "
            f"later, have more jobs run at once, or raise {'partition_max' if of_tenant else 'max_waiting'}"
        )

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.name, self.waiting, self.limit, self.partition)


class PoolEndedError(AsyncworkError):
    """A pool ended without a request to stop, such as when code cancels every task of the event loop; or before what
    was waited for, such as empty queues."""


class UniqueConflictError(AsyncworkError):
    """A job was not enqueued, or not retried, because another one holds the key that keeps it unique.

    :ivar name: the name of both jobs.
    :ivar holder_id: the id of the job that holds the key; empty if another program has enqueued that one.
    """

    def __init__(self, text: str, name: str = "", holder_id: str = "") -> None:
        super().__init__(text)
        self.name: str = name
        self.holder_id: str = holder_id

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (str(self), self.name, self.holder_id)


class EnqueueManyError(RedisUnavailable):
    """A bulk enqueue failed in part.

    :ivar written: the jobs that are in Redis.
    :ivar uncertain: the jobs that were sent without a reply, and may be in Redis or not.
    :ivar unwritten: the jobs that were not sent or that Redis refused, and are not in Redis.
    """

    def __init__(
        self,
        written: Sequence[EnqueuedJob],
        uncertain: Sequence[EnqueuedJob],
        unwritten: Sequence[EnqueuedJob],
        cause: BaseException | str,
    ) -> None:
        self.written: list[EnqueuedJob] = list(written)
        self.uncertain: list[EnqueuedJob] = list(uncertain)
        self.unwritten: list[EnqueuedJob] = list(unwritten)
        super().__init__(
            f"{len(self.written)} jobs were written, {len(self.uncertain)} may have been, "
            f"{len(self.unwritten)} were not: {cause}"
        )
        self._cause = str(cause)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.written, self.uncertain, self.unwritten, self._cause)


class NoResultError(AsyncworkError):
    """The result of a job was waited for, and there is none."""


class JobFailed(NoResultError):
    """The job whose result was waited for has failed for good, or was discarded.

    :ivar error: the type and the text of the error of its last attempt, such as ``ValueError: no such file``, or why it
        was discarded.
    :ivar traceback: the end of the traceback in the process that ran it; empty if there is none.
    """

    def __init__(self, text: str, error: str = "", traceback: str = "") -> None:
        super().__init__(text)
        self.error: str = error
        self.traceback: str = traceback
        if traceback:
            self.add_note(f"In the process that ran it:\n{traceback}")

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (str(self), self.error, self.traceback)


class JobCancelled(NoResultError):
    """The job whose result was waited for was cancelled or deleted."""


class JobExpired(NoResultError):
    """The job whose result was waited for expired before it was started."""


class ResultLost(NoResultError):
    """The job whose result was waited for is done, but its result was not kept, or cannot be read; or no job with its
    id is known, or not any more.
    """


class ResultTimeout(NoResultError, TimeoutError):
    """The job whose result was waited for has not ended in time. It goes on."""
