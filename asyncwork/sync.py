"""Enqueueing from code without an event loop: Flask, Django, scripts and threads."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from types import TracebackType
from typing import Any, Literal, Self

from ._environment import namespace_of
from ._jobs.clock import Clock, wall_clock
from ._jobs.conversions import ANY
from ._jobs.enqueue_options import EnqueueOptions
from ._jobs.flow_chain import chain_into
from ._jobs.job_call import JobCall, check_call
from ._jobs.names import Named, check_namespace, limit_of
from ._jobs.option_checks import check_callable
from ._jobs.times import seconds_of
from ._jobs.tracing import JobTracing, check_tracing
from ._redis import enqueue_steps
from ._redis.base_batch import existing_writer, new_writer
from ._redis.base_client import translated_errors, unavailable
from ._redis.batch_source import BatchSource
from ._redis.blocking_client import BlockingClient
from ._redis.blocking_waits import BlockingWait
from ._redis.errors import REDIS_ERRORS
from ._redis.job_record import Record, check_waitable, is_final, known_end, remember_end, result_of
from ._redis.keys import Keys
from ._redis.new_jobs import NewJobs
from ._redis.wait_outage import WaitOutage
from .batch import SyncBatch
from .errors import ResultTimeout
from .flow import SyncFlow
from .models.enqueued_job import EnqueuedJob
from .unique import Debounce, Throttle, Unique

__all__ = ["Enqueuer"]


class Enqueuer:
    """Enqueues jobs by name, as :class:`asyncwork.Enqueuer` does, in calls that block.

    Many threads may use it at once; they share at most eight connections (``max_connections`` in the URL), which are
    opened when needed. A forked process opens its own. It is a context manager that closes the connections.

    :param url: ``redis://``, ``rediss://``, ``unix://``, ``redis+sentinel://`` or ``redis+cluster://``; ``None`` for
        the environment's ``ASYNCWORK_REDIS``, or ``redis://localhost:6379/0``.
    :param namespace: the prefix of every key; must be that of the pools that run the jobs. ``None`` for the
        environment's ``ASYNCWORK_NAMESPACE``, or ``work``.
    :param tracing: an :class:`asyncwork.otel.Tracing`, for spans of what is enqueued; ``None`` for no traces.
    :raises UsageError: when the URL has another form, or a cluster would spread the keys of the namespace over slots.
    """

    def __init__(
        self,
        url: str | None = None,
        *,
        namespace: str | None = None,
        clock: Clock = wall_clock,
        tracing: JobTracing | None = None,
    ) -> None:
        self.namespace: str = check_namespace(namespace_of(namespace))
        self._keys = Keys(self.namespace)
        self._redis = BlockingClient(url, self.namespace)
        self._outage = WaitOutage()
        check_callable(clock, "clock", "returns epoch seconds")
        self._clock = clock
        check_tracing(tracing)
        self._tracing = tracing

    @property
    def masked_url(self) -> str:
        """The URL of Redis, without its password."""
        return self._redis.masked_url

    def enqueue(
        self,
        name: str | Named,
        args: Mapping[str, Any] | None = None,
        *,
        delay: float | timedelta | None = None,
        at: datetime | float | None = None,
        unique: bool | Mapping[str, Any] | Unique | None = None,
        id: str | None = None,  # noqa: A002
        front: bool = False,
        timeout: float | timedelta | None = None,
        expires: float | timedelta | datetime | None = None,
        debounce: Debounce | None = None,
        throttle: Throttle | None = None,
        max_waiting: int | None = None,
        partition: str | int | None = None,
        cost: int | None = None,
    ) -> EnqueuedJob:
        """Enqueue a job, as :meth:`asyncwork.Enqueuer.enqueue` does.

        :raises UsageError, ArgumentEncodingError, QueueFull, RedisUnavailable: as there. It waits 10 s at most for a
            connection, and for a reply.
        """
        if max_waiting is None:
            max_waiting = limit_of(name)
        times, rules = (delay, at, unique, id, front, timeout, expires), (debounce, throttle)
        return self._enqueue(name, args, EnqueueOptions(*times, *rules, max_waiting, partition, cost))

    def enqueue_many(self, jobs: Iterable[tuple[str | Named, Mapping[str, Any] | None] | JobCall]) -> list[EnqueuedJob]:
        """Enqueue many jobs in their order, as :meth:`asyncwork.Enqueuer.enqueue_many` does.

        :raises UsageError, ArgumentEncodingError, EnqueueManyError: as there.
        """
        new = self._new_jobs()
        new.add_all(jobs)
        with new.traced(self._tracing, self.namespace):
            return self._redis.run(enqueue_steps.enqueue_many(new, self.masked_url))

    def enqueue_call(self, call: JobCall) -> EnqueuedJob:
        """Enqueue a job that ``task.call(…)`` returned.

        :raises UsageError, ArgumentEncodingError, QueueFull, RedisUnavailable: as :meth:`enqueue`.
        """
        check_call(call)
        return self._enqueue(call.name, call.args, call.options)

    def result(self, job: EnqueuedJob | str, *, timeout: float | timedelta | None = None) -> Any:
        """Wait until a job has ended; return what its handler returned, as JSON has it.

        ``task.sync.result(job)`` returns it as the type that the handler is annotated with.

        :param job: the job that was enqueued, or the id of one.
        :raises NoResultError, RedisUnavailable, UsageError: as :meth:`EnqueuedJob.result`. An id alone is waited for
            whether or not there is such a job, and the results of its type are kept: pass a timeout, or call
            :meth:`Client.result`, which searches for it.
        """
        if isinstance(job, str):
            return result_of(job, self._wait_for_end(job, "", timeout), ANY)
        check_waitable(job)
        return result_of(job.id, self._end_of(job, job.name, timeout), ANY)

    def _end_of(self, job: EnqueuedJob, name: str, timeout: float | timedelta | None) -> Record:
        """Wait until a job has ended, unless its handle remembers its end; return its record.

        :param name: as for :meth:`_wait_for_end`.
        :raises ResultTimeout, RedisUnavailable, UsageError: as there.
        """
        if (known := known_end(job)) is not None and is_final(known):
            if timeout is not None:
                seconds_of(timeout, "timeout")
            return known
        record = self._wait_for_end(job.id, name, timeout)
        remember_end(job, record)
        return record

    def _wait_for_end(self, job_id: str, name: str, timeout: float | timedelta | None) -> Record:
        """Wait until a job has ended; return its record.

        :param name: its name, to check that its results are kept; empty if that is known.
        :raises ResultTimeout: when it has not ended in time.
        :raises RedisUnavailable: when Redis refuses the user or the password.
        :raises UsageError: when no results of that name are kept, or the timeout is not valid.
        """
        seconds = None if timeout is None else seconds_of(timeout, "timeout")
        try:
            return BlockingWait(self._redis, self._keys, job_id, name, seconds, self._outage).run()
        except ResultTimeout:  # which is an OSError, too
            raise
        except REDIS_ERRORS as error:
            raise unavailable(error, self.masked_url) from error

    def batch(
        self,
        name: str = "",
        *,
        on_success: JobCall[Any] | tuple[str | Named, Mapping[str, Any] | None] | None = None,
        on_done: JobCall[Any] | tuple[str | Named, Mapping[str, Any] | None] | None = None,
        on_failure: JobCall[Any] | tuple[str | Named, Mapping[str, Any] | None] | None = None,
        tags: Sequence[str] = (),
    ) -> SyncBatch:
        """Return a new batch: ``with enqueuer.batch("nightly", on_success=("report", None)) as batch``. It is like that
        of :meth:`asyncwork.Enqueuer.batch`.

        :raises UsageError, ArgumentEncodingError: as there.
        """
        source = self._batch_source()
        return SyncBatch(source, new_writer(source, name, tags, on_success, on_done, on_failure), self._redis.run)

    def open_batch(self, batch_id: str) -> SyncBatch:
        """Return a batch that exists, to add jobs to it, as :meth:`asyncwork.Enqueuer.open_batch` does.

        :raises UsageError: as there.
        """
        source = self._batch_source()
        return SyncBatch(source, existing_writer(source, batch_id), self._redis.run, at_once=True)

    def flow(
        self,
        name: str = "",
        *,
        on_failure: Literal["cancel", "continue"] = "cancel",
        unique: str = "",
        tags: Sequence[str] = (),
    ) -> SyncFlow:
        """Return a new flow, as :meth:`asyncwork.Enqueuer.flow` does. Add nodes to it, then ``flow.start()``.

        :raises UsageError: as there.
        """
        source = self._batch_source()
        return SyncFlow(source, self._redis.run, name, on_failure=on_failure, unique=unique, tags=tags)

    def chain(
        self,
        *jobs: JobCall[Any] | tuple[str | Named, Mapping[str, Any] | None] | Callable[[Any], JobCall[Any]],
        name: str = "",
        on_failure: Literal["cancel", "continue"] = "cancel",
        unique: str = "",
        tags: Sequence[str] = (),
    ) -> SyncFlow:
        """Return a flow whose jobs run one after another, as :meth:`asyncwork.Enqueuer.chain` does.

        :raises UsageError, ArgumentEncodingError: as there.
        """
        flow = self.flow(name, on_failure=on_failure, unique=unique, tags=tags)
        chain_into(flow, jobs)
        return flow

    def _batch_source(self) -> BatchSource:
        return BatchSource(self._keys, self.namespace, self.masked_url, self._tracing, self._clock)

    def close(self) -> None:
        """Close the connections of this process that no thread uses. The enqueuer can be used again."""
        self._redis.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _enqueue(self, name: str | Named, args: Mapping[str, Any] | None, options: EnqueueOptions) -> EnqueuedJob:
        new = self._new_jobs()
        new.add(name, args, options)
        with new.traced(self._tracing, self.namespace), translated_errors(self.masked_url, new.jobs[0]):
            return self._redis.run(enqueue_steps.enqueue_one(new))

    def _new_jobs(self) -> NewJobs:
        return NewJobs(self._keys, int(self._clock()))
