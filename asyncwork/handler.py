"""How a function becomes a handler: what its parameters are filled with, checked when it is registered.

The leading parameters are filled by annotation (the pool's context class, then ``Job``; both, one or neither), the
others by name from the job's arguments.
"""

from __future__ import annotations

import inspect
import typing
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import anyio.to_thread

from .arguments import Converter, Mismatch, converter, type_name, wrong_type
from .errors import HandlerError, JobArgumentError, UsageError
from .job import Job
from .options import JobOptions

# What runs a job, given its context and itself.
Call = Callable[[Any, Job], Awaitable[object]]

# Without an annotation a parameter of such a name would be looked for among the job's arguments: hardly what was meant.
_LEADING_NAMES = {"job": "Job", "ctx": "the context class", "context": "the context class", "self": "the context class"}


@dataclass(frozen=True, slots=True)
class Parameter:
    """A parameter that is filled by name from a job's arguments."""

    name: str
    annotation: object
    convert: Converter | None
    required: bool


@dataclass(frozen=True, slots=True)
class Handler:
    """A registered handler.

    :ivar name: the name of its jobs.
    :ivar function: the function as it was written.
    :ivar options: how its jobs are treated.
    :ivar call: runs it, given a context and a job.
    :ivar parameters: what it takes from a job's arguments, by name.
    :ivar takes_any: whether it takes every argument: it has ``**kwargs``, or nothing but the job.
    """

    name: str
    function: Callable[..., Any]
    options: JobOptions
    call: Call
    parameters: Mapping[str, Parameter]
    takes_any: bool


def make_handler(
    name: str,
    function: Callable[..., Any],
    context: type,
    options: JobOptions,
    threads: anyio.CapacityLimiter | Callable[[], anyio.CapacityLimiter],
) -> Handler:
    """Find out how to call a function for a job.

    :param threads: limits how many plain functions run at once, each in a thread.
    :raises HandlerError: when a parameter cannot be filled; the message says which, and what would fit.
    """
    leading, others = _split_leading(function, context)
    takes_any = False
    parameters: dict[str, Parameter] = {}
    for parameter, annotation in others:
        if parameter.kind is inspect.Parameter.VAR_KEYWORD:
            takes_any = True
            continue
        _check_by_name(function, parameter, annotation)
        try:
            convert = converter(annotation)
        except HandlerError as error:
            raise HandlerError(f"{_label(function)}: parameter {parameter.name!r} cannot be filled. {error}") from None
        required = parameter.default is parameter.empty
        parameters[parameter.name] = Parameter(parameter.name, annotation, convert, required)
    whole_job = leading[-1:] == ("job",) and not others
    call = _caller(function, leading, parameters, takes_any, bool(others))
    if not is_async(function):
        call = _in_thread(call, threads)
    return Handler(name, function, options, call, parameters, takes_any or whole_job)


def is_async(function: Callable[..., Any]) -> bool:
    """Tell whether calling a function gives something to await."""
    while isinstance(function, partial):
        function = function.func
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(getattr(function, "__call__", None))  # noqa: B004


def annotations_of(function: Callable[..., Any]) -> list[tuple[inspect.Parameter, object]]:
    """Return a function's parameters with their annotations, those written as text resolved where they can be.

    :raises HandlerError: when it is not callable or its signature cannot be read.
    """
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        raise HandlerError(f"not a function whose parameters can be read: {function!r}") from None
    target = inspect.unwrap(function)
    while isinstance(target, partial):
        target = target.func
    scope = getattr(target, "__globals__", {})
    return [(each, _resolve(each.annotation, scope)) for each in signature.parameters.values()]


def _resolve(annotation: object, scope: dict[str, Any]) -> object:
    if not isinstance(annotation, str):
        return annotation
    try:
        return eval(annotation, scope)  # text that its author wrote as code
    except Exception:  # a name that exists for type checkers only, or in a function: compared as text
        return annotation


def is_context(annotation: object, context: type) -> bool:
    """Tell whether a parameter so annotated is to be filled with the pool's context."""
    if isinstance(annotation, type):
        return annotation is not object and issubclass(context, annotation)
    return annotation == context.__name__ or annotation is typing.Self


def is_job(annotation: object) -> bool:
    """Tell whether a parameter so annotated is to be filled with the job."""
    return annotation is Job or annotation in ("Job", "asyncwork.Job")


def is_method_of(function: Callable[..., Any], context: type) -> bool:
    """Tell whether a function is a method of the context class, or of one it inherits from."""
    name = getattr(function, "__name__", None)
    return isinstance(name, str) and any(vars(base).get(name) is function for base in context.__mro__)


def _split_leading(
    function: Callable[..., Any], context: type
) -> tuple[tuple[str, ...], list[tuple[inspect.Parameter, object]]]:
    """Return which of context and job come first, and the parameters after them."""
    others = annotations_of(function)
    leading: tuple[str, ...] = ()
    if others and (is_method_of(function, context) or is_context(others[0][1], context)):
        leading, others = ("context",), others[1:]
    if others and is_job(others[0][1]):
        leading, others = (*leading, "job"), others[1:]
    return leading, others


def _check_by_name(function: Callable[..., Any], parameter: inspect.Parameter, annotation: object) -> None:
    trouble = None
    if parameter.kind in (parameter.POSITIONAL_ONLY, parameter.VAR_POSITIONAL):
        trouble = "job arguments have names: take it as an ordinary parameter"
    elif is_job(annotation):
        trouble = "the job comes first, after the context if there is one"
    elif parameter.annotation is parameter.empty and parameter.name in _LEADING_NAMES:
        trouble = f"annotate it with {_LEADING_NAMES[parameter.name]}, or give the argument another name"
    if trouble is not None:
        raise HandlerError(
            f"{_label(function)}: parameter {parameter.name!r} cannot be filled: {trouble}. A handler takes "
            "(context: TheContextClass, job: Job, …), both, one or neither of these, then job arguments by name"
        )


def _label(function: Callable[..., Any]) -> str:
    return getattr(function, "__qualname__", None) or repr(function)


def _caller(
    function: Callable[..., Any],
    leading: tuple[str, ...],
    parameters: Mapping[str, Parameter],
    takes_any: bool,
    takes_more: bool,
) -> Call:
    if takes_more:
        fill = partial(fill_parameters, parameters=parameters, takes_any=takes_any)
        match leading:
            case ("context", "job"):
                return lambda context, job: function(context, job, **fill(job.args))
            case ("context",):
                return lambda context, job: function(context, **fill(job.args))
            case ("job",):
                return lambda context, job: function(job, **fill(job.args))
            case _:
                return lambda context, job: function(**fill(job.args))
    match leading:
        case ("context", "job"):
            return function
        case ("job",):
            return lambda context, job: function(job)
    if leading:
        return lambda context, job: function(context)
    return lambda context, job: function()


def _in_thread(call: Callable[[Any, Job], Any], threads: Any) -> Call:
    """Run a plain function in a thread, with the context variables of its job."""

    def caught(context: Any, job: Job) -> tuple[object, BaseException | None]:
        # What brings errors out of threads looks at them, and a thread must end whatever they are.
        try:
            return call(context, job), None
        except BaseException as error:
            return None, error

    async def run(context: Any, job: Job) -> object:
        limiter = threads if isinstance(threads, anyio.CapacityLimiter) else threads()
        result, error = await anyio.to_thread.run_sync(caught, context, job, abandon_on_cancel=True, limiter=limiter)
        if error is not None:
            try:
                raise error
            finally:
                del error  # a cycle with this frame
        # Not every function that is to be awaited looks so: a lambda, or one behind a decorator.
        return await result if inspect.isawaitable(result) else result

    return run


def fill_parameters(args: Mapping[str, Any], *, parameters: Mapping[str, Parameter], takes_any: bool) -> dict[str, Any]:
    """Return the keyword arguments for a handler, checked and converted.

    What the handler does not take is left out: it may be meant for a middleware, or for a newer version of the handler.

    :raises JobArgumentError: when one is missing or of the wrong type.
    """
    filled: dict[str, Any] = {}
    for key, value in args.items():
        parameter = parameters.get(key)
        if parameter is None:
            if takes_any:
                filled[key] = value
        elif parameter.convert is None:
            filled[key] = value
        else:
            try:
                filled[key] = parameter.convert(value)
            except Mismatch:
                raise wrong_type(key, parameter.annotation, value) from None
    for key, parameter in parameters.items():
        if parameter.required and key not in filled:
            raise JobArgumentError(f"argument {key!r} is missing: wanted {type_name(parameter.annotation)}")
    return filled


def _listed(parameters: Mapping[str, Parameter]) -> str:
    return ", ".join(parameters) or "no arguments"


def bind_arguments(handler: Handler, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
    """Return what a call of the handler would be as job arguments: by name, defaults left out.

    :raises UsageError: when such a call would be a ``TypeError``.
    """
    if len(args) > len(handler.parameters):
        raise UsageError(
            f"{handler.name} takes {len(handler.parameters)} arguments by position, {len(args)} were given"
        )
    bound = dict(zip(handler.parameters, args, strict=False))
    for key, value in kwargs.items():
        if key in bound:
            raise UsageError(f"{handler.name}: argument {key!r} was given twice")
        if key not in handler.parameters and not handler.takes_any:
            raise UsageError(f"{handler.name} takes no argument {key!r}; it takes {_listed(handler.parameters)}")
        bound[key] = value
    missing = [key for key, each in handler.parameters.items() if each.required and key not in bound]
    if missing:
        raise UsageError(f"{handler.name}: argument {missing[0]!r} is missing")
    return bound
