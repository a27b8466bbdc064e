"""Records the outcome of an attempt: the command for Redis, and the log line."""

from __future__ import annotations

import logging

from .._jobs.error_text import is_of
from .._jobs.hold import read_hold
from .._jobs.location import JobSet
from .._jobs.membership import MemberState, member_in
from .._jobs.printable import printable, utc_time
from .._jobs.step_waits import Deferred
from .._redis.commands import Command, DropCancelled, EndHolder, MoveToSet, RequeueAndRest
from .._redis.job_end import JobEnd
from .._redis.queue import Queue
from .._redis.step_commands import FinishSteps
from ..decisions import Retry
from ..job import Job
from . import outcome
from .dispatcher import Dispatcher
from .member_results import record_member

logger = logging.getLogger("asyncwork.job")


def command_for(
    queue: Queue, payload: bytes, job: Job, decided: outcome.Outcome, end: JobEnd | None = None
) -> Command | None:
    """Return the command that records an outcome; ``None`` if the job is acknowledged.

    :param end: for the record of the job, if it has one.
    """
    hold = read_hold(payload)
    match decided:
        case outcome.Done() if hold is not None:
            return EndHolder(queue, [payload], hold, end)
        case outcome.Done():
            return None
        case outcome.Drop() | outcome.Expired():
            # An attempt before may have taken steps.
            return FinishSteps(queue, [payload], Job.decode(payload).id, end, hold)
        case outcome.Cancelled(job_id=job_id) if hold is not None:
            return FinishSteps(queue, [payload], job_id, end, hold)
        case outcome.Cancelled(job_id=job_id):
            return DropCancelled(queue, [payload], job_id, end)
        case outcome.RetryAt(at):
            return MoveToSet(queue, [payload], job_set=JobSet.RETRY, score=at, payload=job.payload(), end=end)
        case outcome.Dead(at):
            frees = hold if hold is not None and hold.dead_frees else None
            dead = job.payload()
            return MoveToSet(queue, [payload], job_set=JobSet.DEAD, score=at, payload=dead, end=end, frees=frees)
        case outcome.RunAt(at):
            return MoveToSet(queue, [payload], job_set=JobSet.SCHEDULED, score=at, payload=payload, end=end)
        case outcome.Rest(seconds):
            return RequeueAndRest(queue, [payload], seconds=seconds, end=end)


def record_success(
    dispatcher: Dispatcher,
    queue: Queue,
    payload: bytes,
    end: JobEnd | None,
    finish: FinishSteps | None = None,
    result: bytes = b"",
) -> None:
    """Record that a job has succeeded.

    :param end: for its record, if it has one.
    :param finish: ends it, if it has taken steps.
    :param result: what it leaves for others, if it is a node of a flow.
    """
    command: Command | None = finish
    if command is None and (hold := read_hold(payload)) is not None:
        if end is None and member_in(payload) is None:
            dispatcher.end_holder(queue, payload, hold)
            return
        command = EndHolder(queue, [payload], hold, end)
    record(dispatcher, queue, payload, command, end, result=result)


def record(
    dispatcher: Dispatcher,
    queue: Queue,
    payload: bytes,
    command: Command | None,
    end: JobEnd | None,
    state: MemberState = MemberState.DONE,
    result: bytes = b"",
) -> None:
    """Have the outcome of an attempt recorded.

    :param command: what records it; ``None`` if the job is acknowledged.
    :param end: for the record of an acknowledged job, if it has one.
    :param state: how it has ended, for its batch, if it is acknowledged or frees a key.
    :param result: what it leaves for others, if it is a node of a flow that is done.
    """
    if (member := member_in(payload)) is not None:
        record_member(dispatcher, queue, payload, member, command, end, state, result)
    elif command is not None:
        dispatcher.finish(command)
    elif end is not None:
        dispatcher.end(queue, end)
    else:
        dispatcher.ack(queue, payload)


def log_outcome(job: Job, decided: outcome.Outcome, error: BaseException) -> None:
    """Log the outcome of an attempt that did not succeed."""
    label = {"job_name": job.name, "job_id": job.id}
    trace = outcome.trace_in_handler(error)
    # Not the exception itself, because logging would evaluate its truth.
    shown = None if trace is None or is_of(error, Retry) else (type(error), error, trace)
    match decided:
        case outcome.RunAt(at) if type(error) is Deferred:
            logger.info("%s %s waits for %s until %s", job.name, job.id, error, utc_time(at), extra=label)
        case outcome.RunAt(at):
            logger.info("%s %s snoozed until %s", job.name, job.id, utc_time(at), extra=label)
        case outcome.Rest(seconds):
            whose = "of its tenant" if job.partition else "of this name"
            text = "%s %s rate limited: no pool takes jobs %s for %g s"
            logger.info(text, job.name, job.id, whose, seconds, extra=label)
        case outcome.RetryAt(at):
            text = "%s %s failed (attempt %d), to be tried again at %s: %s"
            logger.warning(text, job.name, job.id, job.fails, utc_time(at), job.err, exc_info=shown, extra=label)
        case outcome.Dead():
            text = "%s %s is dead (attempt %d): %s"
            logger.error(text, job.name, job.id, job.fails, job.err, exc_info=shown, extra=label)
        case outcome.Expired(at):
            logger.info("%s %s expired: not started by %s", job.name, job.id, utc_time(at), extra=label)
        case outcome.Cancelled(reason, failed=True):
            text = "%s %s %s; it failed as it ended (attempt %d): %s"
            reason = printable(reason)
            logger.warning(text, job.name, job.id, reason, job.fails, job.err, exc_info=shown, extra=label)
        case outcome.Cancelled(reason):
            logger.info("%s %s %s", job.name, job.id, printable(reason), extra=label)
        case outcome.Drop(reason):
            logger.warning("%s %s dropped: %s", job.name, job.id, reason, extra=label)
