"""Middlewares: functions that wrap every handler. Each calls the next one, and goes on when that has returned."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any, TypeAlias

from ._jobs.calling import Call
from ._jobs.function_kinds import is_async
from ._jobs.printable import shown
from ._jobs.signature import is_context, is_job, is_method_of, read_signature
from .errors import HandlerError
from .job import Job

# Runs the next middleware, or the handler after the last one. Raises what they raise.
CallNext: TypeAlias = Callable[[], Awaitable[object]]
# A middleware in the one form that all are converted to.
Middleware: TypeAlias = Callable[[Any, Job, CallNext], Awaitable[object]]

_FORMS = (
    "a middleware is `async def` and takes (job: Job, call_next) or (context: TheContextClass, job: Job, call_next); "
    "a method of the context class takes (self, job: Job, call_next)"
)


def make_middleware(function: Callable[..., Any], context: type) -> Middleware:
    """Return a function as a middleware that takes the context, the job and the next call.

    :raises HandlerError: when it does not have the form of a middleware; the message shows the forms.
    """
    if not callable(function) or not is_async(function):
        raise HandlerError(f"not a middleware: {shown(function)}. {_FORMS}")
    parameters = read_signature(function)
    if any(each.kind is not inspect.Parameter.POSITIONAL_OR_KEYWORD for each, _ in parameters):
        raise HandlerError(f"not a middleware: {shown(function)} has parameters of another kind. {_FORMS}")
    annotations = [annotation for _, annotation in parameters]
    if len(annotations) == 3 and _may_be_context(function, annotations[0], context) and _may_be_job(annotations[1]):
        return function
    if len(annotations) == 2 and _may_be_job(annotations[0]) and not is_method_of(function, context):
        return lambda _, job, call_next: function(job, call_next)
    raise HandlerError(f"not a middleware: {shown(function)} has other parameters. {_FORMS}")


def _may_be_context(function: Callable[..., Any], annotation: object, context: type) -> bool:
    return annotation is inspect.Parameter.empty or is_context(annotation, context) or is_method_of(function, context)


def _may_be_job(annotation: object) -> bool:
    return annotation is inspect.Parameter.empty or is_job(annotation)


def compose(middlewares: Sequence[Middleware], call: Call) -> Call:
    """Return a handler's call wrapped in all middlewares, the first one outermost."""
    for middleware in reversed(middlewares):
        call = _wrap(middleware, call)
    return call


def _wrap(middleware: Middleware, inner: Call) -> Call:
    return lambda context, job: middleware(context, job, partial(_call_next, inner, context, job))


async def _call_next(inner: Call, context: Any, job: Job) -> object:
    # A coroutine, so that an error in the handler's arguments is raised where the middleware awaits it.
    return await inner(context, job)
