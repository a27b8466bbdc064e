"""Runs a job in context variables of its own within the current task.

A worker is one task that lives as long as its pool. Without this, context variables that one job sets (a trace, a
tenant, a decimal precision) would be seen by the next.
"""

from __future__ import annotations

from collections.abc import Awaitable, Generator
from contextvars import Context, copy_context
from types import CoroutineType
from typing import Any

from .._jobs import forks
from .._jobs.calling import Call
from .._jobs.current_job import current_job
from ..job import Job


class Waiting:
    """A job that has begun and had to wait: await this to have it run on in its context variables, step by step.

    :param steps: its coroutine.
    :param waited_for: what it gave to the event loop to wait for.
    :ivar closed: whether the task was closed meanwhile, as the end of an interpreter does. A ``GeneratorExit`` that
        comes without that is the handler's own.
    """

    __slots__ = ("_pid", "_steps", "_variables", "_waited_for", "closed")

    def __init__(self, variables: Context, steps: Generator[Any, Any, object], waited_for: object) -> None:
        self._variables = variables
        self._steps = steps
        self._waited_for = waited_for
        self._pid = forks.pid
        self.closed = False

    def __await__(self) -> Generator[Any, Any, object]:
        run, waited_for = self._variables.run, self._waited_for
        send, throw = self._steps.send, self._steps.throw
        try:
            while True:
                try:
                    sent = yield waited_for
                except GeneratorExit:
                    self.closed = True
                    run(self._steps.close)
                    raise
                except BaseException as error:
                    waited_for = run(throw, error)
                else:
                    waited_for = run(send, sent)
                if forks.pid != self._pid:
                    # The event loop is its parent's.
                    forks.end_process(RuntimeError("a process that a job has forked cannot await anything"))
        except StopIteration as finished:
            return finished.value


def begin(call: Call, context: object, job: Job) -> Waiting | None:
    """Run a job in a copy of the current context until it ends or has to wait; ``None`` when it has ended.

    :param call: runs it, given the pool's context object and the job.
    :raises Exception: what it raises.
    """
    variables = copy_context()
    return variables.run(_begin, variables, call, context, job)


def _begin(variables: Context, call: Call, context: object, job: Job) -> Waiting | None:
    current_job.set(job)
    awaitable = call(context, job)
    # The first look is the cheaper one, and nearly always enough.
    plain = type(awaitable) is CoroutineType or hasattr(awaitable, "send")
    steps: Any = awaitable if plain else _wait_for(awaitable)
    try:
        waited_for = steps.send(None)
    except StopIteration:
        return None
    return Waiting(variables, steps, waited_for)


async def _wait_for(awaitable: Awaitable[object]) -> object:
    return await awaitable
