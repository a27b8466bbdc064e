"""Runs a job in its own context variables within the current task.

A worker runs many jobs in one task. Without this, the next job would see the context variables that a job sets: a
trace, a tenant, a decimal precision.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Coroutine, Generator
from contextvars import Context, copy_context
from types import CoroutineType
from typing import Any

from .._jobs import forks
from .._jobs.calling import Call
from .._jobs.current_job import current_job
from .._jobs.error_text import is_of
from ..job import Job


class SuspendedJob:
    """A job that has started and awaits something: await this to run it on in its context variables, step by step.

    When its handler has ended, the durable steps that are still under way in other tasks are waited for.

    :param steps: its coroutine.
    :ivar steps: likewise.
    :param waited_for: the future that it awaits.
    :ivar closed: whether its task was closed meanwhile, as happens when an interpreter ends. Otherwise, a
        ``GeneratorExit`` is the handler's own.
    """

    __slots__ = ("_job", "_pid", "_variables", "_waited_for", "closed", "steps")

    def __init__(
        self,
        variables: Context,
        steps: Coroutine[Any, Any, object] | Generator[Any, Any, object],
        waited_for: object,
        job: Job,
    ) -> None:
        self._job = job
        self._variables = variables
        self.steps = steps
        self._waited_for = waited_for
        self._pid = forks.pid
        self.closed = False

    def __await__(self) -> Generator[Any, Any, object]:
        run, waited_for = self._variables.run, self._waited_for
        send, throw = self.steps.send, self.steps.throw
        try:
            while True:
                try:
                    sent = yield waited_for
                except GeneratorExit:
                    self.closed = True
                    run(self.steps.close)
                    raise
                except BaseException as error:
                    waited_for = run(throw, error)
                else:
                    waited_for = run(send, sent)
                if forks.pid != self._pid:
                    # The event loop belongs to the parent process.
                    forks.end_process(RuntimeError("a process that a job has forked cannot await anything"))
        except StopIteration as finished:
            if hasattr(self._job, "_steps"):
                yield from self._finish_steps(cancel=False)
            return finished.value
        except BaseException as error:
            if hasattr(self._job, "_steps") and not self.closed:
                yield from self._finish_steps(cancel=is_of(error, asyncio.CancelledError))
            raise

    def _finish_steps(self, *, cancel: bool) -> Generator[Any, Any, None]:
        try:
            yield from self._job._steps.active.finish(cancel=cancel).__await__()
        except GeneratorExit:
            self.closed = True
            raise


def start(call: Call, context: object, job: Job) -> SuspendedJob | None:
    """Run a job in a copy of the current context until it ends or awaits something; ``None`` when it has ended.

    :param call: runs the job, given its context object and the job.
    :raises BaseException: what the handler raises.
    """
    variables = copy_context()
    return variables.run(_start, variables, call, context, job)


def _start(variables: Context, call: Call, context: object, job: Job) -> SuspendedJob | None:
    current_job.set(job)
    awaitable = call(context, job)
    if type(awaitable) is CoroutineType:
        # A loop ends without an exception, unlike send(), and making one costs a tenth of what a short job does.
        for waited_for in awaitable.__await__():
            return SuspendedJob(variables, awaitable, waited_for, job)
        return None
    steps: Any = awaitable if hasattr(awaitable, "send") else _wait_for(awaitable)
    try:
        waited_for = steps.send(None)
    except StopIteration:
        return None
    return SuspendedJob(variables, steps, waited_for, job)


async def _wait_for(awaitable: Awaitable[object]) -> object:
    return await awaitable
