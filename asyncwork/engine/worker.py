"""A worker: a coroutine that lives as long as its pool and runs one job at a time."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from ..clock import Clock
from ..errors import PayloadError, Retry
from ..handler import Call
from ..identifiers import make_identifier
from ..job import Job
from ..options import JobOptions
from ..store.floor import FreeUnique, Move, Order, Quarantine, Shelf
from ..store.keys import Queue
from . import fate
from .dispatcher import Dispatcher
from .isolation import begin
from .ledger import Counter
from .suspicion import Suspicion

logger = logging.getLogger("asyncwork.job")


@dataclass(frozen=True, slots=True)
class JobType:
    """What a worker needs to know of one job name: how to run it, with all middleware, how to treat it, and where to
    count it."""

    call: Call
    options: JobOptions
    counter: Counter = field(default_factory=Counter)


@dataclass(frozen=True, slots=True)
class Workplace:
    """What all workers of a pool share.

    :ivar job_types: by job name.
    :ivar context: makes a fresh context for a job.
    :ivar unique_keys: the key that keeps a job unique, in each way that it may be spelled.
    """

    dispatcher: Dispatcher
    job_types: Mapping[str, JobType]
    context: Callable[[], Any]
    clock: Clock
    unique_keys: Callable[[Job], Sequence[str]]
    suspicion: Suspicion


class Worker:
    """One slot of a pool.

    :ivar id: 24 hex digits.
    :ivar job: what it runs now, or ``None``.
    :ivar payload: the bytes by which Redis holds that job as in progress.
    :ivar started_at: when that began, epoch seconds.
    """

    __slots__ = ("_place", "id", "job", "payload", "started_at")

    def __init__(self, place: Workplace) -> None:
        self._place = place
        self.id = make_identifier()
        self.job: Job | None = None
        self.payload: bytes | None = None
        self.started_at = 0.0

    async def run(self) -> None:
        """Run jobs as they come, until cancelled. A job that is cut off by that stays in progress in Redis."""
        turns = self._place.dispatcher.turns
        while True:
            while not turns.jobs:
                await turns.wait()
            await self._work_off()

    async def _work_off(self) -> None:
        """Run jobs as long as there are any.

        One coroutine for as many as there are, and the time at which one ends is that at which the next begins: on the
        hot path, another coroutine or another look at the clock would be one for each job.
        """
        place = self._place
        dispatcher, job_types, clock = place.dispatcher, place.job_types, place.clock
        turns = dispatcher.turns
        jobs = turns.jobs
        now = clock()
        while jobs:
            queue, payload = jobs.popleft()
            self.payload = payload
            try:
                job = Job.decode(payload)
            except PayloadError as error:
                self._quarantine(queue, payload, error)
                self.payload = None
                continue
            job_type = job_types.get(job.name)
            try:
                if job.unique and not job.fails:
                    turns.share_out()
                    job = await self._free_unique(queue, job)
                    job_type = job_types.get(job.name)
                    now = clock()
                if job_type is None:
                    raise fate.StrayJob(job.name)
                self.job, self.started_at = job, now
                call = job_type.call
                if dispatcher.crashes and (crashes := dispatcher.crashes.pop(payload, 0)):
                    limit = job_type.options.max_crashes
                    call = place.suspicion.wrap(call, queue, payload, crashes, limit)
                waiting = begin(call, place.context(), job)
                if waiting is not None:
                    turns.share_out()
                    await waiting
            except (GeneratorExit, KeyboardInterrupt):
                dispatcher.leave()
                raise
            except asyncio.CancelledError as error:
                task = asyncio.current_task()
                if task is not None and task.cancelling():
                    dispatcher.leave()
                    raise
                # The handler cancelled itself, or awaited something that was cancelled: a failure like others.
                self._failed(queue, job, job_type, error)
                now = clock()
            except BaseException as error:
                self._failed(queue, job, job_type, error)
                now = clock()
            else:
                started, now = now, clock()
                job_type.counter.ran(job.enqueued_at, started, now)
                dispatcher.ack(queue, job.raw)
            self.job = self.payload = None

    async def _free_unique(self, queue: Queue, job: Job) -> Job:
        """Let the next job of this kind in; return the one to run: the newest, if it was enqueued by key again."""
        place = self._place
        order = FreeUnique(queue, [job.raw], keys=place.unique_keys(job), job_id=job.id)
        newer: bytes | None = await place.dispatcher.confirm(order)
        if newer is None:
            return job
        self.payload = newer
        try:
            return Job.decode(newer)
        except PayloadError as error:
            # It is what is in progress now, so it is what must be settled; the popped one is what can be run.
            logger.warning("%s %s: ignoring what its unique key held: %s", job.name, job.id, error)
            job.raw = newer
            return job

    def _failed(self, queue: Queue, job: Job, job_type: JobType | None, error: BaseException) -> None:
        options = None if job_type is None else job_type.options
        now, fails = self._place.clock(), job.fails
        decision = fate.decide(job, options, error, now)
        # A stray job is counted where it was found: its own name may be any.
        counter = (job_type or self._place.job_types[queue.name]).counter
        counter.ran(job.enqueued_at, now if self.job is None else self.started_at, now)
        counter.went_wrong(decision, failed=job.fails > fails)
        if isinstance(decision, (fate.Done, fate.Drop)):
            self._place.dispatcher.ack(queue, job.raw)
        else:
            self._place.dispatcher.settle(_order(queue, job, decision))
        _log(job, decision, error)

    def _quarantine(self, queue: Queue, payload: bytes, error: PayloadError) -> None:
        record = quarantine_record(queue.name, payload, str(error), self._place.clock())
        self._place.dispatcher.settle(Quarantine(queue, [payload], record=record))
        logger.error("queue %s: set aside a payload of %d bytes: %s", queue.name, len(payload), error)


def quarantine_record(found_in: str, payload: bytes, reason: str, now: float) -> bytes:
    """Return what is kept of bytes that are no job: JSON with ``at, from, reason, payload``.

    The payload is text where it is UTF-8; otherwise each byte is the character of its number, and ``latin1`` is true.
    """
    record: dict[str, Any] = {"at": int(now), "from": found_in, "reason": reason}
    try:
        record["payload"] = payload.decode()
    except UnicodeDecodeError:
        record |= {"payload": payload.decode("latin-1"), "latin1": True}
    return orjson.dumps(record)


def _order(queue: Queue, job: Job, decision: fate.Fate) -> Order:
    match decision:
        case fate.RetryAt(at):
            return Move(queue, [job.raw], shelf=Shelf.RETRY, score=at, payload=job.payload())
        case fate.Dead(at):
            return Move(queue, [job.raw], shelf=Shelf.DEAD, score=at, payload=job.payload())
        case fate.RunAt(at):
            return Move(queue, [job.raw], shelf=Shelf.SCHEDULED, score=at, payload=job.raw)
        case _:
            raise TypeError(f"not the fate of a job that failed: {decision!r}")


def _log(job: Job, decision: fate.Fate, error: BaseException) -> None:
    label = {"job_name": job.name, "job_id": job.id}
    shown = None if error.__traceback__ is None or isinstance(error, Retry) else error
    match decision:
        case fate.RunAt(at):
            logger.info("%s %s snoozed until %d", job.name, job.id, at, extra=label)
        case fate.RetryAt(at):
            text = "%s %s failed (%d), to be tried again at %d: %s"
            logger.warning(text, job.name, job.id, job.fails, at, job.err, exc_info=shown, extra=label)
        case fate.Dead():
            text = "%s %s is dead (%d): %s"
            logger.error(text, job.name, job.id, job.fails, job.err, exc_info=shown, extra=label)
        case fate.Drop(reason):
            logger.warning("%s %s dropped: %s", job.name, job.id, reason, extra=label)
