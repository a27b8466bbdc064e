"""Runs a coroutine in a context of its own within the current task.

A worker is one task that lives as long as its pool. Without this, context variables that one job sets (a trace, a
tenant, a decimal precision) would be seen by the next.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator
from contextvars import Context
from typing import Any


class InContext:
    """Await this to run ``call(*args)`` and await its result in ``context``, step by step.

    :param paused: called when it has to wait for something, the first time.
    """

    __slots__ = ("_args", "_call", "_context", "_paused")

    def __init__(
        self, context: Context, paused: Callable[[], None], call: Callable[..., Awaitable[object]], *args: Any
    ) -> None:
        self._context = context
        self._paused = paused
        self._call = call
        self._args = args

    def __await__(self) -> Generator[Any, Any, object]:
        run = self._context.run
        steps = run(_start, self._call, self._args)
        send, throw = steps.send, steps.throw
        try:
            waited_for = run(send, None)
            self._paused()
            while True:
                try:
                    sent = yield waited_for
                except GeneratorExit:
                    run(steps.close)
                    raise
                except BaseException as error:
                    waited_for = run(throw, error)
                else:
                    waited_for = run(send, sent)
        except StopIteration as finished:
            return finished.value


def _start(call: Callable[..., Awaitable[object]], args: tuple[Any, ...]) -> Any:
    awaitable = call(*args)
    return awaitable if hasattr(awaitable, "send") else _wait_for(awaitable)


async def _wait_for(awaitable: Awaitable[object]) -> object:
    return await awaitable
