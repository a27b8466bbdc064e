"""Records an attempt that has raised: its outcome in Redis, its metrics, its log line, and the calls of hooks."""

from __future__ import annotations

import logging

from .._jobs.error_text import describe_error
from .._jobs.hold import read_hold
from .._jobs.membership import MemberState
from .._jobs.printable import printable
from .._jobs.quarantine import write_entry
from .._jobs.step_waits import Deferred
from .._redis.commands import Command, MoveToQuarantine, RequeueAndRest
from .._redis.queue import Queue
from ..job import Job
from . import outcome
from .job_steps import PoolStepRun, steps_of
from .job_type import JobType
from .member_results import noted_in_batch
from .outcome_record import command_for, log_outcome, record
from .worker_environment import WorkerEnvironment

logger = logging.getLogger("asyncwork.job")


class FailureRecorder:
    """Records one attempt that has raised.

    :param payload: what Redis holds as in progress.
    :param job_type: the type of the job; ``None`` for a job without a handler.
    """

    def __init__(
        self, env: WorkerEnvironment, queue: Queue, payload: bytes, job: Job, job_type: JobType | None
    ) -> None:
        self._env = env
        self._queue = queue
        self._payload = payload
        self._job = job
        self._job_type = job_type

    def record(
        self,
        error: BaseException,
        enqueued_at: int,
        started_at: float | None,
        crashes: int,
        cancel: outcome.CancelRequested | None = None,
    ) -> None:
        """Record what the attempt has raised.

        :param enqueued_at: when the job was enqueued, epoch seconds.
        :param started_at: when the attempt started, epoch seconds; ``None`` if it did not.
        :param crashes: number of times that the job's process has died while it was running.
        :param cancel: why the attempt was interrupted, if its job is to be cancelled.
        """
        env, queue, job, job_type, hooks = self._env, self._queue, self._job, self._job_type, self._env.hooks
        # The handler may have replaced it.
        job.raw = self._payload
        try:
            now, fails = env.clock(), job.fails
            options = None if job_type is None else job_type.options
            decided = outcome.decide(job, options, error, now, cancel)
            keeper = None if job_type is None else job_type.keeper
            end = None if keeper is None else keeper.end_of(decided, self._payload, job, started_at, now, crashes)
            if type(error) is Deferred and isinstance(decided, outcome.RunAt) and (steps := steps_of(job)) is not None:
                command: Command | None = steps.defer(error, end)
            else:
                command = command_for(queue, self._payload, job, decided, end)
        except BaseException as defect:
            self._quarantine(outcome.describe(error), describe_error(defect))
            if hooks is not None:
                hooks.attempt_failed(job, error, dead=True)
            return
        # A job without a handler is counted for the queue where it was found, because its own name may be any text.
        metrics = (job_type or env.job_types[queue.name]).metrics
        if not isinstance(decided, outcome.Rest):
            metrics.record_attempt(enqueued_at, now if started_at is None else started_at, now)
        failed = job.fails > fails
        metrics.record_failure(decided, error, failed=failed)
        if isinstance(command, RequeueAndRest):
            env.dispatcher.fetcher.rest(command)
        else:
            is_cancelled = isinstance(decided, outcome.Cancelled)
            state = MemberState.CANCELLED if is_cancelled else MemberState.FAILED
            record(env.dispatcher, queue, self._payload, command, end, state)
        has_ended = isinstance(decided, (outcome.Dead, outcome.Drop))
        if has_ended or isinstance(decided, outcome.Expired):
            env.cancellations.ended(queue, job)
        log_outcome(job, decided, error)
        if failed and hooks is not None:
            hooks.attempt_failed(job, error, dead=has_ended)

    def defer(self, steps: PoolStepRun, started_at: float, now: float, crashes: int) -> None:
        """Record that an attempt waits although it has returned, and was counted.

        :param started_at: when it started, epoch seconds.
        :param now: when it ended, likewise.
        """
        deferred, job, job_type = steps.deferred, self._job, self._job_type
        assert deferred is not None
        assert job_type is not None
        # The handler may have replaced it.
        job.raw = self._payload
        decided, keeper = outcome.RunAt(deferred.until), job_type.keeper
        end = None if keeper is None else keeper.end_of(decided, self._payload, job, started_at, now, crashes)
        job_type.metrics.record_failure(decided, deferred, failed=False)
        self._env.dispatcher.finish(steps.defer(deferred, end))
        log_outcome(job, decided, deferred)

    def _quarantine(self, failure: str, defect: str) -> None:
        now, end, reason = self._env.clock(), None, f"it failed ({failure}), which cannot be recorded: {defect}"
        if self._job_type is not None and (keeper := self._job_type.keeper) is not None:
            end = keeper.quarantined(self._payload, reason, now)
        entry = write_entry(self._queue.name, self._payload, reason, now)
        frees = read_hold(self._payload)
        quarantined = MoveToQuarantine(self._queue, [self._payload], entry=entry, end=end, frees=frees)
        self._env.dispatcher.finish(noted_in_batch(quarantined))
        log_quarantined(self._queue, self._payload, reason)


def quarantine(env: WorkerEnvironment, queue: Queue, payload: bytes, reason: str) -> None:
    """Quarantine a payload that is not a job."""
    entry = write_entry(queue.name, payload, reason, env.clock())
    env.dispatcher.finish(noted_in_batch(MoveToQuarantine(queue, [payload], entry=entry)))
    log_quarantined(queue, payload, reason)


def log_quarantined(queue: Queue, payload: bytes, reason: str) -> None:
    """Log that a payload was quarantined."""
    logger.error("quarantined a payload of %d bytes from queue %s: %s", len(payload), printable(queue.name), reason)
