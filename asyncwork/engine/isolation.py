"""Runs a coroutine in a context of its own within the current task.

A worker is one task that lives as long as its pool. Without this, context variables that one job sets (a trace, a
tenant, a decimal precision) would be seen by the next.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator
from contextvars import Context
from typing import Any


class Waiting:
    """A coroutine that has begun in a context and had to wait: await this to have it run on there, step by step.

    :param steps: the coroutine.
    :param waited_for: what it gave to the event loop to wait for.
    """

    __slots__ = ("_context", "_steps", "_waited_for")

    def __init__(self, context: Context, steps: Generator[Any, Any, object], waited_for: object) -> None:
        self._context = context
        self._steps = steps
        self._waited_for = waited_for

    def __await__(self) -> Generator[Any, Any, object]:
        run, waited_for = self._context.run, self._waited_for
        send, throw = self._steps.send, self._steps.throw
        try:
            while True:
                try:
                    sent = yield waited_for
                except GeneratorExit:
                    run(self._steps.close)
                    raise
                except BaseException as error:
                    waited_for = run(throw, error)
                else:
                    waited_for = run(send, sent)
        except StopIteration as finished:
            return finished.value


def begin(context: Context, call: Callable[..., Awaitable[object]], *args: Any) -> Waiting | None:
    """Run ``call(*args)`` and what it returns in a context, until that ends or has to wait; ``None`` when it has ended.

    :raises Exception: what it raises.
    """
    return context.run(_begin, context, call, args)


def _begin(context: Context, call: Callable[..., Awaitable[object]], args: tuple[Any, ...]) -> Waiting | None:
    awaitable = call(*args)
    steps: Any = awaitable if hasattr(awaitable, "send") else _wait_for(awaitable)
    try:
        waited_for = steps.send(None)
    except StopIteration:
        return None
    return Waiting(context, steps, waited_for)


async def _wait_for(awaitable: Awaitable[object]) -> object:
    return await awaitable
