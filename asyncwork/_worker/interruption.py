"""Interruptions: a job that runs is ended from outside, because its time is over or because it was cancelled.

A coroutine is cancelled where it waits. A plain function runs in a thread, which cannot be ended: it runs on, and finds
``job.cancelled`` set. Either way the worker stays taken until the job has ended.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from functools import partial
from time import monotonic
from typing import Any, Protocol

from .._jobs.attempt import attempt_of
from .._jobs.calling import Call
from .._jobs.error_text import describe_error, is_of, text_of, traceback_of
from ..decisions import HandlerDecision
from ..errors import JobTimeoutError
from ..job import Job
from ..options import JobOptions
from .job_stack import HasCoroutine, format_stack
from .outcome import CancelRequested

logger = logging.getLogger("asyncwork.job")

# Seconds. Event loops cannot wait for any length of time.
_LONGEST_WAIT = 86_400.0


class JobTask(HasCoroutine, Protocol):
    """The task in which a job runs.

    :ivar was_cancelled: whether it is to end with the job.
    """

    was_cancelled: bool

    def interrupt(self) -> None:
        """Cancel the job where it waits."""


class Interruptible(Protocol):
    """A worker, or what runs a job in its place."""

    def interrupt(self, job: Job, cause: BaseException) -> bool:
        """End the attempt of a job, if it runs here; return whether it does."""


class Interruption:
    """The end of one attempt from outside, from the request until the attempt has ended.

    :param task: the task of the job's worker.
    :param cause: the error with which the attempt is to end.
    :param overdue_after: seconds after which a warning shows where the job still is.
    :ivar overdue: whether the attempt still ran then.
    """

    __slots__ = ("_cause", "_in_thread", "_job", "_overdue_after", "_task", "_timer", "overdue")

    def __init__(self, job: Job, task: JobTask, cause: BaseException, overdue_after: float) -> None:
        self._job, self._task, self._cause, self._overdue_after = job, task, cause, overdue_after
        self._in_thread = False
        self.overdue = False
        self._timer = asyncio.get_running_loop().call_later(overdue_after, self._on_overdue)
        self._cancel()

    def _cancel(self) -> None:
        attempt = attempt_of(self._job)
        # In this order: a thread that starts meanwhile sets `thread` first and reads `interrupted` then.
        attempt.replacement = self.replaces
        attempt.interrupt()
        self._in_thread = attempt.thread is not None
        if self._in_thread:
            self._task.was_cancelled = True
        else:
            self._task.interrupt()

    def repeat(self, cause: BaseException) -> None:
        """Have the attempt end with another error. After a timeout this may be a cancellation, which is final; a
        timeout never replaces that. The job is cancelled again only if it is overdue, so that it can clean up.
        """
        if is_of(cause, type(self._cause), JobTimeoutError):
            return
        self._cause = cause
        if self.overdue:
            self._cancel()

    @property
    def cancel(self) -> CancelRequested | None:
        """Why the attempt is to end, if its job was cancelled."""
        return self._cause if isinstance(self._cause, CancelRequested) else None

    def replaces(self, error: BaseException) -> BaseException | None:
        """Return the cause if it replaces what the handler raised; else ``None``.

        It replaces a ``CancelledError``, and whatever a thread has raised except decisions.
        """
        raised_itself = not is_of(error, asyncio.CancelledError)
        if raised_itself and (not self._in_thread or is_of(error, HandlerDecision)):
            return None
        return self._cause

    def error_of(self, error: BaseException) -> BaseException:
        """Return the error with which the attempt has failed.

        :param error: what the handler raised.
        """
        if self.replaces(error) is None:
            return error
        if not is_of(error, asyncio.CancelledError):
            self._cause.add_note(f"Its function then raised {describe_error(error)}")
        # It shows where the job was.
        return self._cause.with_traceback(traceback_of(error))

    def end(self, *, returned: bool = False) -> None:
        """Note that the attempt has ended.

        :param returned: whether it has returned instead of raising, so that it has succeeded.
        """
        self._timer.cancel()
        if returned:
            text = "%s %s is done, although it was to end before: %s"
            logger.warning(text, *self._label(), describe_error(self._cause), extra=self._extra())

    def _on_overdue(self) -> None:
        self.overdue = True
        thread = attempt_of(self._job).thread
        hint = (
            "its handler catches the cancellation, or what it does after that takes long"
            if thread is None
            else "a thread cannot be ended, so its function should end when job.cancelled is set"
        )
        logger.warning(
            "%s %s goes on %g s after it was to end (%s), and keeps its worker: %s. It is here:\n%s",
            *self._label(),
            self._overdue_after,
            describe_error(self._cause),
            hint,
            format_stack(self._task, thread),
            extra=self._extra(),
        )

    def _label(self) -> tuple[str, str]:
        # The handler may have replaced them by any object.
        return text_of(self._job.name), text_of(self._job.id)

    def _extra(self) -> dict[str, str]:
        return dict(zip(("job_name", "job_id"), self._label(), strict=True))


def cause_of(job: Job, error: BaseException) -> BaseException | None:
    """Return why the attempt of a job was ended from outside, if that replaces what it raised; else ``None``."""
    return attempt_of(job).replacement(error)


class TimeLimit:
    """Interrupts a job when its time is over.

    :param seconds: its timeout.
    """

    __slots__ = ("_began_at", "_job", "_timer", "_worker")

    def __init__(self, worker: Interruptible, job: Job, seconds: float) -> None:
        self._worker, self._job = worker, job
        self._began_at = monotonic()
        attempt = attempt_of(job)
        # The job may have extended it already.
        attempt.deadline = max(attempt.deadline, self._began_at + seconds)
        self._wait(attempt.deadline - monotonic())

    def _wait(self, seconds: float) -> None:
        delay = min(max(seconds, 0.0), _LONGEST_WAIT)
        self._timer = asyncio.get_running_loop().call_later(delay, self._check)

    def _check(self) -> None:
        deadline = attempt_of(self._job).deadline
        if (rest := deadline - monotonic()) > 0:
            self._wait(rest)
            return
        self._worker.interrupt(self._job, _timeout_error(deadline - self._began_at))

    async def within(self, job: Awaitable[object]) -> None:
        """Await the end of the job, and stop the timer."""
        try:
            await job
        finally:
            self._timer.cancel()


def _timeout_error(seconds: float) -> JobTimeoutError:
    text = f"timed out after {round(seconds, 3):g} s (give it more with timeout=…, or job.extend(…) in the handler)"
    return JobTimeoutError(text)


class InterruptibleGroup(Protocol):
    """A call that runs several jobs, and can be interrupted."""

    def interrupt(self, make_cause: Callable[[], BaseException]) -> None:
        """End the attempts of all jobs."""


class GroupTimeLimit:
    """Interrupts jobs that share a call when their time is over. Each of them can extend it for all.

    :param jobs: returns the jobs that have begun.
    :param seconds: their timeout.
    """

    def __init__(self, group: InterruptibleGroup, jobs: Callable[[], Sequence[Job]], seconds: float) -> None:
        self._group, self._jobs = group, jobs
        self._began_at = monotonic()
        self._own_deadline = self._began_at + seconds
        self._wait(seconds)

    def _wait(self, seconds: float) -> None:
        delay = min(max(seconds, 0.0), _LONGEST_WAIT)
        self._timer = asyncio.get_running_loop().call_later(delay, self._check)

    def _check(self) -> None:
        deadline = max(self._own_deadline, *(attempt_of(job).deadline for job in self._jobs()), 0.0)
        if (rest := deadline - monotonic()) > 0:
            self._wait(rest)
        else:
            self._group.interrupt(partial(_timeout_error, deadline - self._began_at))

    def stop(self) -> None:
        """Interrupt nothing any more."""
        self._timer.cancel()


def within_timeout(
    worker: Interruptible, suspended: Awaitable[object], job: Job, options: JobOptions
) -> Awaitable[object]:
    """Return what awaits the end of a job, for as long as its timeout allows.

    :param options: of its job type.
    """
    # Nearly all jobs that wait have no timeout.
    if not options.timeout and "timeout" not in job._fields:
        return suspended
    seconds = timeout_of(job, options)
    return suspended if seconds is None else TimeLimit(worker, job, seconds).within(suspended)


def limit_call(worker: Interruptible, call: Call, options: JobOptions) -> Call:
    """Return a call that is under the timeout from its beginning, for jobs that may have to wait until they begin.

    :param options: of its job type.
    """

    async def run(context: Any, job: Job) -> None:
        await within_timeout(worker, call(context, job), job, options)

    return run


def timeout_of(job: Job, options: JobOptions) -> float | None:
    """Return the timeout of a job in seconds, its own or that of its type; ``None`` for none."""
    timeout = options.timeout if (own := job.timeout) is None else own
    assert not isinstance(timeout, timedelta)
    return timeout or None
