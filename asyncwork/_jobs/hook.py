"""Hooks: functions that a pool calls after an attempt has failed, checked when they are registered."""

from __future__ import annotations

import inspect
import types
import typing
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import anyio

from ..errors import HandlerError
from ..job import Job
from .attempt import Attempt
from .calling import Call, call_by_kind
from .function_kinds import check_kind, is_async, label_of
from .printable import shown
from .signature import is_job, read_signature

_FORM = "a hook takes (job: Job, error: BaseException), as an `async def` or a plain function"


@dataclass(frozen=True, slots=True)
class Hook:
    """A registered hook.

    :ivar label: how the log names it.
    :ivar function: called with the job and the error of its attempt.
    :ivar threaded: whether it runs in a thread, because it is a plain function.
    """

    label: str
    function: Callable[[Job, BaseException], Any]
    threaded: bool


def make_hook(function: Callable[..., Any]) -> Hook:
    """Make a hook from a function.

    :raises HandlerError: when it cannot be called with a job and an error, or calling it would not run it. The message
        says what would fit.
    """
    if not callable(function):
        raise HandlerError(f"not a hook: {shown(function)}. {_FORM}")
    check_kind(function)
    parameters = read_signature(function)
    if (problem := _problem(function, parameters)) is not None:
        raise HandlerError(f"not a hook: {label_of(function)} {problem}. {_FORM}")
    return Hook(label_of(function), function, threaded=not is_async(function))


def make_hook_call(hook: Hook, function: Callable[[Job, BaseException], Any]) -> Call:
    """Return what calls a hook as a handler is called, with the error in the place of the context.

    :param function: the hook's function, or one that wraps it.
    """
    # A call of a hook is no part of the job's attempt, whose interruption may be why the hook is called.
    return call_by_kind(
        hook.function, lambda error, job: function(job, error), _unlimited, attempt_of=lambda job: Attempt()
    )


def _unlimited() -> anyio.CapacityLimiter:
    # The caller limits the threads, because anyio's limit does not count those that were abandoned.
    return anyio.CapacityLimiter(float("inf"))


def _problem(function: Callable[..., Any], parameters: list[tuple[inspect.Parameter, object]]) -> str | None:
    """Return what is wrong with a hook's parameters; ``None`` if nothing is."""
    try:
        inspect.signature(function).bind(None, None)
    except TypeError as refusal:
        return f"cannot be called with two arguments: {refusal}"
    named = (inspect.Parameter.KEYWORD_ONLY, inspect.Parameter.VAR_KEYWORD)
    taken = [each for each in parameters if each[0].kind not in named]
    (job, of_job), (error, of_error) = taken[0], taken[min(1, len(taken) - 1)]
    if not (_is_open(of_job) or is_job(of_job)):
        return f"gets a Job as {job.name!r}, which is annotated with another type"
    if not (_is_open(of_error) or _takes_errors(of_error)):
        return f"gets every error as {error.name!r}, which is annotated with neither BaseException nor Exception"
    return None


def _is_open(annotation: object) -> bool:
    """Return whether an annotation says nothing, or cannot be resolved."""
    return annotation in (inspect.Parameter.empty, Any, object) or (
        isinstance(annotation, str) and not is_job(annotation)
    )


def _takes_errors(annotation: object) -> bool:
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        return any(map(_takes_errors, typing.get_args(annotation)))
    return annotation in (BaseException, Exception)
