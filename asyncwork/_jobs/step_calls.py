"""Calls of the functions of steps: in a thread if they are plain ones, and again within the attempt if they raise."""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from ..decisions import HandlerDecision
from ..errors import JobEndedError, StepError, UsageError
from .active_steps import ActiveSteps
from .attempt import Attempt, attempt_of
from .calling import Threads, call_by_kind
from .error_text import describe_error, is_of
from .function_kinds import is_async, label_of, refuse_generator
from .option_checks import check_whole
from .printable import shown

if TYPE_CHECKING:
    from ..job import Job
    from .calling import RunPlain

logger = logging.getLogger("asyncwork.job")

# Seconds between two tries, at most.
_LONGEST_PAUSE = 30.0
_MOST_RETRIES = 100
# Another try would raise the same, or the handler decides.
_FINAL = (HandlerDecision, UsageError, StepError, JobEndedError)

# The name of the step in which the code runs.
within: ContextVar[str | None] = ContextVar("asyncwork_step", default=None)


class StepCall(NamedTuple):
    """A function to call, and how often it is called again if it raises."""

    function: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    retries: int = 0


def step_call(
    name: str, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], retries: object
) -> StepCall:
    """Return what a step calls.

    :param retries: ``None`` for none.
    :raises UsageError: when it is no function; or ``retries`` is no whole number from 0 to 100, or a parameter of the
        function, too.
    """
    if not callable(function):
        raise UsageError(f"step {name!r} needs a function and its arguments, not {shown(function)}")
    if retries is None:
        return StepCall(function, args, kwargs)
    if not isinstance(function, partial) and "retries" in _parameters(function):
        raise UsageError(
            f"retries=… is that of step {name!r}, and {label_of(function)} has a parameter of the same name: pass that "
            "with functools.partial"
        )
    check_whole(retries, "retries", 0, _MOST_RETRIES)
    return StepCall(function, args, kwargs, int(retries))  # type: ignore[call-overload]


def _parameters(function: Callable[..., Any]) -> tuple[str, ...]:
    try:
        return tuple(inspect.signature(function).parameters)
    except (TypeError, ValueError):  # one that is written in C
        return ()


def _pause_after(tries: int) -> float:
    return min(2.0 ** (tries - 1), _LONGEST_PAUSE)


class StepCaller:
    """Calls the functions of the steps of one attempt.

    :param label: names the job in log lines.
    :param threads: limits how many plain functions run at once.
    :param run_plain: runs plain functions.
    :ivar pause: waits some seconds between two tries.
    """

    def __init__(self, job: Job, label: str, active: ActiveSteps, threads: Threads, run_plain: RunPlain) -> None:
        self._job = job
        self._label = label
        self._active = active
        self._threads = threads
        self._run_plain = run_plain
        self.pause: Callable[[float], Awaitable[None]] = asyncio.sleep

    async def call(self, name: str, call: StepCall, before: Callable[[], Awaitable[None]]) -> Any:
        """Call the function of a step until it returns, or has raised too often; return what it returns.

        :param before: checks before each call that the attempt may go on.
        """
        for tries in range(1, call.retries + 2):
            await before()
            inside = within.set(name)
            try:
                return await self._call(call)
            except Exception as error:
                if tries > call.retries or self._has_to_end or is_of(error, *_FINAL):
                    raise
                failure = error
            finally:
                within.reset(inside)
            seconds, tried = _pause_after(tries), f"try {tries} of {call.retries + 1}"
            text = "%s: step %r failed (%s), to be tried again in %g s: %s"
            logger.warning(text, self._label, name, tried, seconds, describe_error(failure))
            await self.pause(seconds)
            if self._has_to_end:
                raise failure
        raise AssertionError

    @property
    def _has_to_end(self) -> bool:
        return self._active.closing or attempt_of(self._job).interrupted

    async def _call(self, call: StepCall) -> Any:
        def run_call(_: Any, job: Job) -> Any:
            return call.function(*call.args, **call.kwargs)

        # A second thread beside the first has an attempt of its own, because an attempt knows of one thread.
        attempt = attempt_of(self._job)
        if attempt.thread is not None:
            attempt = Attempt()
        run = call_by_kind(call.function, run_call, self._threads, self._run_plain, lambda _: attempt)
        if is_async(call.function):
            result = await run(None, self._job)
        else:
            with self._active.in_thread(attempt):
                result = await run(None, self._job)
        return await result if inspect.isawaitable(result) else refuse_generator(call.function, result)
