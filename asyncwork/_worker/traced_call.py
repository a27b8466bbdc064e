"""Runs jobs under a tracing, which gets to know how each attempt ends."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from .._jobs.calling import Call
from .._jobs.chunk_calling import Chunked, JobGroup, JobOutcome
from .._jobs.error_text import is_of
from .._jobs.step_run import StepRun
from .._jobs.step_waits import Deferred
from .._jobs.tracing import JobTracing
from ..decisions import Discard, RateLimited, Snooze
from ..errors import Superseded
from ..job import Job
from ..options import JobOptions
from .interruption import cause_of
from .outcome import CancelRequested, may_retry


def traced(call: Call, tracing: JobTracing, namespace: str, options: JobOptions) -> Call:
    """Return what runs a job of one type, and traces its attempts.

    :param call: runs the job, with all middlewares around the handler.
    """

    async def run(context: Any, job: Job) -> object:
        with tracing.attempt(namespace, job) as record:
            try:
                result = await call(context, job)
            except BaseException as raised:
                error = cause_of(job, raised) or raised
                if (steps := _steps_of(job)) is not None:
                    # Find the cause if a task group has wrapped it, or the handler has raised another error instead.
                    error = steps.cause_of(error) or error
                outcome, failed = _ending_of(job, options, error)
                record(outcome, error, failed)
                raise
            # The handler may have caught what ends an attempt that waits.
            waits = (steps := _steps_of(job)) is not None and steps.deferred is not None
            record("snoozed" if waits else "done", None, False)
            return result

    return run


def traced_chunks(chunked: Chunked | None, tracing: JobTracing, namespace: str) -> Chunked | None:
    """Return how the jobs of a type are run in chunks, with a trace of each call; ``None`` if they are not."""
    # An object of the application that traces jobs may know nothing of chunks.
    trace = getattr(tracing, "chunk", None)
    if chunked is None or trace is None:
        return chunked
    call = chunked.call

    async def run(context: Any, group: JobGroup) -> Sequence[JobOutcome]:
        with trace(namespace, group.jobs):
            return await call(context, group)

    return replace(chunked, call=run)


def _steps_of(job: Job) -> StepRun | None:
    return getattr(job, "_steps", None)


def _ending_of(job: Job, options: JobOptions, error: BaseException) -> tuple[str, bool]:
    """Return how an attempt ends that has raised an error, and whether it has failed.

    The outcome itself is decided after the attempt, by the same rules.
    """
    # The reason for an interruption, if there was one, replaces a cancellation.
    is_cancelled = isinstance(cause_of(job, asyncio.CancelledError()), CancelRequested)
    if is_of(error, CancelRequested):
        return "cancelled", False
    if is_of(error, Superseded):
        # Another pool runs the job.
        return "stopped", False
    if is_of(error, Snooze, Deferred):
        return "cancelled" if is_cancelled else "snoozed", False
    if is_of(error, RateLimited):
        return "cancelled" if is_cancelled else "rate_limited", False
    if is_of(error, Discard):
        return "dropped", False
    task = asyncio.current_task()
    if is_of(error, GeneratorExit) or (is_of(error, asyncio.CancelledError) and task is not None and task.cancelling()):
        # A stop has cut it off, and the job runs again.
        return "stopped", False
    if may_retry(options, error, max(0, job.fails) + 1):
        return "cancelled" if is_cancelled else "retried", True
    return ("dropped" if options.skip_dead else "dead"), True
