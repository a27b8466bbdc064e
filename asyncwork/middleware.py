"""The onion around a handler: each middleware runs, calls the next, and runs on when that has returned."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any, TypeAlias

from ._jobs.handler import Call, annotations_of, is_async, is_context, is_job, is_method_of
from .errors import HandlerError
from .job import Job

# Runs the rest: the next middleware, at last the handler. Raises what they raise.
CallNext: TypeAlias = Callable[[], Awaitable[object]]
# A middleware in one form, whatever its author took.
Middleware: TypeAlias = Callable[[Any, Job, CallNext], Awaitable[object]]

_FORMS = (
    "a middleware is `async def` and takes (job: Job, call_next) or (context: TheContextClass, job: Job, call_next); "
    "a method of the context class takes (self, job: Job, call_next)"
)


def make_middleware(function: Callable[..., Any], context: type) -> Middleware:
    """Find out how to call a function as a middleware.

    :raises HandlerError: when it is not of one of the forms; the message shows them.
    """
    if not callable(function) or not is_async(function):
        raise HandlerError(f"not a middleware: {function!r}. {_FORMS}")
    parameters = annotations_of(function)
    if any(each.kind is not inspect.Parameter.POSITIONAL_OR_KEYWORD for each, _ in parameters):
        raise HandlerError(f"not a middleware: {function!r} has parameters of another kind. {_FORMS}")
    annotations = [annotation for _, annotation in parameters]
    if len(annotations) == 3 and _may_be_context(function, annotations[0], context) and _may_be_job(annotations[1]):
        return function
    if len(annotations) == 2 and _may_be_job(annotations[0]) and not is_method_of(function, context):
        return lambda _, job, call_next: function(job, call_next)
    raise HandlerError(f"not a middleware: {function!r} has other parameters. {_FORMS}")


def _may_be_context(function: Callable[..., Any], annotation: object, context: type) -> bool:
    return annotation is inspect.Parameter.empty or is_context(annotation, context) or is_method_of(function, context)


def _may_be_job(annotation: object) -> bool:
    return annotation is inspect.Parameter.empty or is_job(annotation)


def compose(middlewares: Sequence[Middleware], call: Call) -> Call:
    """Return a call of the handler with all middlewares around it, the first one outermost."""
    for middleware in reversed(middlewares):
        call = _wrap(middleware, call)
    return call


def _wrap(middleware: Middleware, inner: Call) -> Call:
    return lambda context, job: middleware(context, job, partial(_rest, inner, context, job))


async def _rest(inner: Call, context: Any, job: Job) -> object:
    # A coroutine of its own, so that what the handler's arguments are wrong about is raised where it is awaited.
    return await inner(context, job)
