"""The API for programs that enqueue jobs by name."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal

from ._jobs.clock import Clock, wall_clock
from ._jobs.conversions import ANY
from ._jobs.enqueue_options import AT_ONCE, EnqueueOptions
from ._jobs.flow_chain import chain_into
from ._jobs.job_call import JobCall, check_call
from ._jobs.names import Named, job_name, limit_of
from ._jobs.option_checks import check_callable
from ._jobs.payload import encode_job
from ._jobs.rule_arguments import options_of
from ._jobs.tracing import JobTracing, check_tracing
from ._redis import enqueue_steps
from ._redis.base_batch import existing_writer, new_writer
from ._redis.base_client import BaseClient, unavailable
from ._redis.batch_source import BatchSource
from ._redis.errors import REDIS_ERRORS
from ._redis.job_record import result_of
from ._redis.new_jobs import NewJobs, check_args
from ._redis.producer import Producer
from .batch import Batch
from .flow import Flow
from .models.enqueued_job import EnqueuedJob, set_source
from .unique import Debounce, Throttle, Unique

if TYPE_CHECKING:
    from .client import Client


class Enqueuer(BaseClient):
    """Enqueues jobs by name, including jobs that only other programs handle.

    Many tasks may use it at once, and several event loops, such as in threads. Each event loop has its own connection,
    which is opened on first use. Code without an event loop uses :class:`asyncwork.sync.Enqueuer`.

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
        super().__init__(url, namespace)
        self._producer = Producer(self._in_redis)
        check_callable(clock, "clock", "returns epoch seconds")
        self._clock = clock
        check_tracing(tracing)
        self._tracing = tracing

    async def enqueue(
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
        """Enqueue a job to run as soon as a worker is free, or later.

        :param name: its name, or its task.
        :param args: its arguments by name, of types that JSON can hold.
        :param delay: how long it waits before it may run: seconds, rounded up to a whole one, or a ``timedelta``.
        :param at: when it may run: an aware ``datetime``, or epoch seconds. A time in the past means now.
        :param unique: enqueue it only if no job with the same name and arguments waits. With a mapping, only if none
            waits with the same name and mapping. With a :class:`Unique`, as that says. ``False`` for any job, and
            ``None`` for what its type says, where the job is enqueued by its task. With a mapping, the job that waits
            will then run with these arguments, at its own time. A job is unique until a worker starts it, and for 24
            hours at most, unless a :class:`Unique` says otherwise.
        :param id: its id: 1 to 64 ASCII letters, digits, ``_`` and ``-``; ``None`` for a random one. It must not begin
            with 24 hex digits and ``_`` or ``-``, which mark the jobs of a group. Give each job an id of its own.
            Others may have the same: ``unique`` keeps a duplicate out, an id does not. But jobs with the same name,
            arguments and id that are enqueued in the same second are equal, and Redis keeps only one of equal jobs
            among the scheduled, retry or dead jobs. If one is scheduled, the next is returned as a duplicate.
        :param front: put it at the front of its queue, so that it runs before those that wait.
        :param timeout: how long an attempt of it may take, in seconds or as a ``timedelta``; 0 for no limit, and
            ``None`` for the timeout of its type. If the job fails in a Go pool, that of its type holds from then on.
        :param expires: how long from now it may start, seconds or a ``timedelta``, rounded up to a whole second; or
            until when, an aware ``datetime``. Later it is dropped, also when it waits for a retry. The clock of Redis
            counts.
        :param debounce: run it once things are quiet, with the newest arguments; ``None`` for what its type says.
        :param throttle: let it start once in a period; ``None`` for what its type says.
        :param max_waiting: how many jobs may wait in its queue, with it; 0 for any number, and ``None`` for the limit
            of its task. A limit that was set at run time (:meth:`Client.set_max_waiting`) replaces it. It does not hold
            for a job that is enqueued for later, nor for retries.
        :param partition: the tenant to which it belongs in a fair queue, text of at most 200 bytes or a number.
        :param cost: how many tokens of each of its limits it takes; ``None`` for what its type says.
        :returns: the job. If it was not enqueued because it would be a duplicate, ``duplicate`` is true and ``id`` is
            that of the job that keeps it out. If that job has its arguments now, ``replaced`` is true as well. The
            other fields are not: ``run_at`` is when this job would have been due.
        :raises UniqueConflictError: when another job holds its key, and ``Unique(conflict="raise")`` says so.
        :raises UsageError: when the name is not a valid job name, an option is not valid, or two options exclude each
            other.
        :raises ArgumentEncodingError: when JSON cannot hold the arguments; the message names the key.
        :raises QueueFull: when so many jobs wait in its queue that the limit allows no more.
        :raises RedisUnavailable: when Redis refuses the job or cannot be reached. If the connection broke, the job may
            have been written.
        :raises QueueFull: when as many jobs of its tenant wait as may.
        """
        if max_waiting is None and type(name) is not str:
            max_waiting = limit_of(name)
        is_plain = delay is None and at is None and id is None and timeout is None and expires is None
        is_plain = (
            is_plain
            and debounce is None
            and throttle is None
            and not max_waiting
            and partition is None
            and cost is None
        )
        is_plain = is_plain and (type(name) is str or options_of(name) is AT_ONCE)
        if not is_plain or unique is not None or front is not False or self._tracing is not None:
            times, rules = (delay, at, unique, id, front, timeout, expires), (debounce, throttle)
            options = EnqueueOptions(*times, *rules, max_waiting, partition, cost)
            return await self._enqueue(name, args, options)
        job, payload = encode_job(job_name(name), check_args(args), int(self._clock()))
        try:
            await self._producer.push(job.name, payload)
        except REDIS_ERRORS as error:
            raise unavailable(error, self.masked_url, job) from error
        set_source(job, self)
        return job

    async def enqueue_many(
        self, jobs: Iterable[tuple[str | Named, Mapping[str, Any] | None] | JobCall]
    ) -> list[EnqueuedJob]:
        """Enqueue many jobs in their order, thousands of them in a few round trips.

        All jobs are checked before the first is written.

        :param jobs: pairs of a name and arguments, and calls that ``task.call(…)`` returns.
        :returns: the jobs in the same order, duplicates among them.
        :raises UsageError, ArgumentEncodingError: when one is not valid; the message says which, and none is written.
            Also when ``jobs`` is a single call, or cannot be iterated over.
        :raises EnqueueManyError: when Redis failed meanwhile, or a queue was full, which is then its ``__cause__``, a
            :class:`QueueFull`. It holds the jobs that were written, may have been written and were not written. When no
            connection could be opened, none was written. If a queue is full, the jobs that fit were written, in their
            order. If the list of a tenant is full, none of the tenants' jobs that are sent at once was written.
        """
        new = self._new_jobs()
        new.add_all(jobs)
        with new.traced(self._tracing, self.namespace):
            enqueued = await self._producer.run(enqueue_steps.enqueue_many(new, self.masked_url))
        new.set_sources()
        return enqueued

    async def enqueue_call(self, call: JobCall) -> EnqueuedJob:
        """Enqueue a job that ``task.call(…)`` returned.

        :raises UsageError, ArgumentEncodingError, QueueFull, RedisUnavailable: as :meth:`enqueue`.
        """
        check_call(call)
        if call.options is AT_ONCE:
            return await self.enqueue(call.name, call.args)
        return await self._enqueue(call.name, call.args, call.options)

    def batch(
        self,
        name: str = "",
        *,
        on_success: JobCall[Any] | tuple[str | Named, Mapping[str, Any] | None] | None = None,
        on_done: JobCall[Any] | tuple[str | Named, Mapping[str, Any] | None] | None = None,
        on_failure: JobCall[Any] | tuple[str | Named, Mapping[str, Any] | None] | None = None,
        tags: Sequence[str] = (),
    ) -> Batch:
        """Return a new batch: ``async with enqueuer.batch("nightly", on_success=report.call(day)) as batch``.

        Callbacks are ordinary jobs, each enqueued once: ``on_success`` when all members are done, also when failed ones
        were retried later; ``on_done`` when all have ended, however; ``on_failure`` when the first has failed for good.
        A member fails for good that is dead, discarded, expired, quarantined or lost. A callback finds its batch with
        ``job.batch_id``.

        :param name: what it is about, for people; up to 200 characters.
        :param on_success: a ``task.call(…)``, or a pair of a job's name and its arguments. It can have no
            option of a call but ``timeout``.
        :param tags: up to 20 texts of up to 200 characters.
        :raises UsageError: when one of these is not valid.
        :raises ArgumentEncodingError: when JSON cannot hold the arguments of a callback; the message names the key.
        """
        source = self._batch_source()
        return Batch(source, new_writer(source, name, tags, on_success, on_done, on_failure), self._producer.run)

    def open_batch(self, batch_id: str) -> Batch:
        """Return a batch that exists, to add jobs to it: ``await enqueuer.open_batch(job.batch_id).add(…)`` in one of
        its members.

        Each job is written when it is added, because this batch has no block. A batch cannot end while a member runs
        that adds to it.

        :raises UsageError: when no batch can have this id. Whether there is one, :meth:`Batch.add` finds out.
        """
        source = self._batch_source()
        return Batch(source, existing_writer(source, batch_id), self._producer.run, at_once=True)

    def flow(
        self,
        name: str = "",
        *,
        on_failure: Literal["cancel", "continue"] = "cancel",
        unique: str = "",
        tags: Sequence[str] = (),
    ) -> Flow:
        """Return a new flow: jobs that run after one another. Add nodes to it, then ``await flow.start()``.

        :param name: what it is about, for people; up to 200 characters.
        :param on_failure: what happens to nodes with ``when="success"`` after one that has failed or was cancelled:
            ``cancel`` them, too, or ``continue`` as if it were done.
        :param unique: a text of up to 200 characters; while a flow with this text has not ended, no other one is
            started. Empty for none.
        :param tags: up to 20 texts of up to 200 characters.
        :raises UsageError: when one of these is not valid.
        """
        return Flow(
            self._batch_source(),
            self._producer.run,
            self._make_client,
            self._wait_for_batch,
            name,
            on_failure=on_failure,
            unique=unique,
            tags=tags,
        )

    def chain(
        self,
        *jobs: JobCall[Any] | tuple[str | Named, Mapping[str, Any] | None] | Callable[[Any], JobCall[Any]],
        name: str = "",
        on_failure: Literal["cancel", "continue"] = "cancel",
        unique: str = "",
        tags: Sequence[str] = (),
    ) -> Flow:
        """Return a flow whose jobs run one after another: ``await enqueuer.chain(a.call(1), b.call()).start()``.

        :param jobs: calls of tasks, and pairs of a name and arguments; and functions that return one, given what stands
            for the result of the job before: ``lambda previous: c.call(previous)``.
        :raises UsageError, ArgumentEncodingError: as :meth:`flow` and :meth:`Flow.add`, and when there is no job.
        """
        flow = self.flow(name, on_failure=on_failure, unique=unique, tags=tags)
        chain_into(flow, jobs)
        return flow

    def _make_client(self) -> Client:
        # Imported late, because few programs that enqueue need it.
        from .client import Client

        return Client(self._redis.url, namespace=self.namespace)

    def _batch_source(self) -> BatchSource:
        return BatchSource(self._in_redis.keys, self.namespace, self.masked_url, self._tracing, self._clock)

    async def close(self) -> None:
        """Close the connections of this event loop. The enqueuer can be used again."""
        await self._producer.close()
        await super().close()

    async def _enqueue(self, name: str | Named, args: Mapping[str, Any] | None, options: EnqueueOptions) -> EnqueuedJob:
        new = self._new_jobs()
        new.add(name, args, options)
        with new.traced(self._tracing, self.namespace), self._redis_errors(new.jobs[0]):
            job = await self._producer.run(enqueue_steps.enqueue_one(new))
        set_source(job, self)
        return job

    async def _wait_for_result(self, job: EnqueuedJob, timeout: float | timedelta | None) -> Any:
        """Wait until a job that was enqueued by name has ended; see :meth:`EnqueuedJob.result`.

        :raises NoResultError, UsageError: as there.
        """
        return result_of(job.id, await self._end_of(job, job.name, timeout), ANY)

    def _new_jobs(self) -> NewJobs:
        return NewJobs(self._in_redis.keys, int(self._clock()))
