"""Runs a job in its own context variables within the current task.

A worker runs many jobs in one task. Without this, the next job would see the context variables that a job sets: a
trace, a tenant, a decimal precision.
"""

from __future__ import annotations

from collections.abc import Awaitable, Coroutine, Generator
from contextvars import Context, copy_context
from types import CoroutineType
from typing import Any

from .._jobs import forks
from .._jobs.calling import Call
from .._jobs.current_job import current_job
from ..job import Job


class SuspendedJob:
    """A job that has started and awaits something: await this to run it on in its context variables, step by step.

    :param steps: its coroutine.
    :ivar steps: likewise.
    :param waited_for: the future that it awaits.
    :ivar closed: whether its task was closed meanwhile, as happens when an interpreter ends. Otherwise, a
        ``GeneratorExit`` is the handler's own.
    """

    __slots__ = ("_pid", "_variables", "_waited_for", "closed", "steps")

    def __init__(
        self, variables: Context, steps: Coroutine[Any, Any, object] | Generator[Any, Any, object], waited_for: object
    ) -> None:
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
            return finished.value


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
            return SuspendedJob(variables, awaitable, waited_for)
        return None
    steps: Any = awaitable if hasattr(awaitable, "send") else _wait_for(awaitable)
    try:
        waited_for = steps.send(None)
    except StopIteration:
        return None
    return SuspendedJob(variables, steps, waited_for)


async def _wait_for(awaitable: Awaitable[object]) -> object:
    return await awaitable
