"""How a function becomes a handler: what its parameters are filled with, checked when it is registered.

The leading parameters are filled by annotation (the pool's context class, then ``Job``; both, one or neither), the
others by name from the job's arguments.
"""

from __future__ import annotations

import difflib
import inspect
import logging
import types
import typing
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import anyio.to_thread

from ..errors import HandlerError, JobArgumentError, UsageError
from ..job import Job
from ..options import JobOptions
from . import forks
from .argument_types import Converter, Encoder, Mismatch, converter, encoder, type_name, typed_dict_fields, wrong_type

logger = logging.getLogger("asyncwork.job")

# What runs a job, given its context and itself.
Call = Callable[[Any, Job], Awaitable[object]]

# Names of arguments that are counted each by itself, for one job name: they come from outside.
_MOST_UNKNOWN = 100
# Characters of such a name that are kept.
_LONGEST_NAME = 100

# Without an annotation a parameter of such a name would be looked for among the job's arguments: hardly what was meant.
_LEADING_NAMES = {"job": "Job", "ctx": "the context class", "context": "the context class", "self": "the context class"}


@dataclass(frozen=True, slots=True)
class Parameter:
    """A parameter that is filled by name from a job's arguments.

    :ivar convert: checks and converts the JSON value; ``None`` where any will do.
    :ivar encode: makes a value of the annotation into a JSON value again; ``None`` where it is one already.
    """

    name: str
    annotation: object
    convert: Converter | None
    encode: Encoder | None
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
    :ivar rest: how ``**kwargs`` takes the others; ``None`` without.
    :ivar reserved: arguments that it cannot take, for its leading parameters have these names.
    """

    name: str
    function: Callable[..., Any]
    options: JobOptions
    call: Call
    parameters: Mapping[str, Parameter]
    takes_any: bool
    rest: Parameter | None
    reserved: frozenset[str]
    unknown: UnknownArguments


class UnknownArguments:
    """What to do with arguments that a handler does not take.

    An argument may be meant for a middleware, or for a newer version of the handler; or its name is misspelled, and the
    handler would run with a default instead.

    :param name: the job's name.
    :param takes: the names of the arguments that the handler takes.
    :param forbid: whether such a job fails.
    :ivar counts: by argument, how many jobs brought it in vain.
    """

    def __init__(self, name: str, takes: Iterable[str], *, forbid: bool) -> None:
        self._name = name
        self._takes = tuple(takes)
        self._forbid = forbid
        self.counts: dict[str, int] = {}

    def found(self, job: Job, key: str) -> None:
        """Count an argument that the handler does not take, and log it the first time.

        :raises JobArgumentError: when that is forbidden.
        """
        key = key if len(key) <= _LONGEST_NAME else key[:_LONGEST_NAME] + "…"
        if self._forbid:
            raise _unfit(self._told(key))
        counted = key if key in self.counts or len(self.counts) < _MOST_UNKNOWN else "…"
        count = self.counts[counted] = self.counts.get(counted, 0) + 1
        if count == 1:
            text = "ignored an argument (logged once for each name): %s"
            label = {"job_name": job.name, "job_id": job.id}
            logger.warning(text, self._told(key), extra=label)

    def found_all(self, job: Job) -> None:
        """Do so for each argument of a job whose handler takes none."""
        for key in job.args:
            self.found(job, key)

    def _told(self, key: str) -> str:
        takes = _listed(self._takes) + suggestion(key, self._takes)
        return f"argument {key!r} of {self._name} is unknown; it takes {takes}"


def suggestion(name: str, names: Iterable[str]) -> str:
    """Return a question for the end of a message, whether one of ``names`` was meant; empty when none is near."""
    near = difflib.get_close_matches(name, list(names), 1)
    return f". Did you mean {near[0]!r}?" if near else ""


def _unfit(text: str) -> JobArgumentError:
    """Return the error for arguments that this handler can never be called with."""
    error = JobArgumentError(text)
    error.permanent = True
    return error


def make_handler(
    name: str,
    function: Callable[..., Any],
    context: type,
    options: JobOptions,
    threads: anyio.CapacityLimiter | Callable[[], anyio.CapacityLimiter],
    *,
    forbid_unknown: bool = False,
) -> Handler:
    """Find out how to call a function for a job.

    :param threads: limits how many plain functions run at once, each in a thread.
    :param forbid_unknown: whether a job fails that brings an argument which the function does not take.
    :raises HandlerError: when a parameter cannot be filled, or calling the function would not run it; the message says
        which, and what would fit.
    """
    _check_kind(function)
    leading, others = _split_leading(function, context)
    rest: Parameter | None = None
    parameters: dict[str, Parameter] = {}
    for parameter, annotation in others:
        if parameter.kind is inspect.Parameter.VAR_KEYWORD:
            unpacked = _unpacked(annotation)
            if unpacked is None:
                rest = _parameter(function, parameter.name, annotation, required=False)
            else:
                parameters |= {key: _parameter(function, key, *each) for key, each in unpacked.items()}
            continue
        _check_by_name(function, parameter, annotation)
        required = parameter.default is parameter.empty
        parameters[parameter.name] = _parameter(function, parameter.name, annotation, required=required)
    whole_job = bool(leading) and is_job(leading[-1][1]) and not others
    unknown = UnknownArguments(name, parameters, forbid=forbid_unknown)
    # Without **kwargs these are unknown arguments, as others are.
    named = [each.name for each, _ in leading if each.kind is each.POSITIONAL_OR_KEYWORD]
    reserved = frozenset(named if rest is not None else ())
    fill = partial(fill_parameters, parameters=parameters, rest=rest, reserved=reserved, unknown=unknown)
    call = _caller(function, tuple(is_job(each) for _, each in leading), fill if others else None, unknown)
    if not is_async(function):
        call = _in_thread(function, call, threads)
    elif _wraps_generator(function):
        call = _checked(function, call)
    takes_any = rest is not None or whole_job
    return Handler(name, function, options, call, parameters, takes_any, rest, reserved, unknown)


def _parameter(function: Callable[..., Any], name: str, annotation: object, required: bool) -> Parameter:
    annotation = Any if annotation is inspect.Parameter.empty else annotation
    try:
        return Parameter(name, annotation, converter(annotation), encoder(annotation), required)
    except HandlerError as error:
        raise HandlerError(f"{_label(function)}: parameter {name!r} cannot be filled. {error}") from None


def _unpacked(annotation: object) -> dict[str, tuple[object, bool]] | None:
    """Return the arguments of ``**kwargs: Unpack[SomeTypedDict]``, with their types and whether they are required;
    ``None`` for any other annotation."""
    of = typing.get_args(annotation)
    if typing.get_origin(annotation) is not typing.Unpack or not typing.is_typeddict(of[0]):
        return None
    return typed_dict_fields(of[0])


def is_async(function: Callable[..., Any]) -> bool:
    """Tell whether calling a function gives something to await."""
    function = _innermost(function)
    if inspect.iscoroutinefunction(function):
        return True
    # Calling a class makes an instance, whatever calling that would do.
    return not isinstance(function, type) and inspect.iscoroutinefunction(getattr(function, "__call__", None))  # noqa: B004


def _innermost(function: Any) -> Any:
    while isinstance(function, partial):
        function = function.func
    return function


def _is_generator(function: Any) -> bool:
    function = _innermost(function)
    if isinstance(function, type):
        return False
    called = (function, getattr(function, "__call__", None))  # noqa: B004
    return any(
        inspect.isasyncgenfunction(each) or (inspect.isgeneratorfunction(each) and not _is_old_coroutine(each))
        for each in called
    )


def _is_old_coroutine(function: Any) -> bool:
    """Tell whether it is a generator that ``types.coroutine`` has made into something to await."""
    code = getattr(inspect.unwrap(function), "__code__", None)
    return code is not None and bool(code.co_flags & inspect.CO_ITERABLE_COROUTINE)


def _wraps_generator(function: Callable[..., Any]) -> bool:
    return _is_generator(inspect.unwrap(_innermost(function)))


_NOT_RUN = (
    "has `yield` in it, so calling it makes a generator that nobody iterates, and nothing of it would run: take the "
    "`yield` out, or iterate it in a handler, as in `async for _ in {}(…): pass`"
)


def _check_kind(function: Callable[..., Any]) -> None:
    """Refuse what would not run by being called and awaited.

    :raises HandlerError: the message says what would be right.
    """
    if _is_generator(function):
        raise HandlerError(f"{_label(function)} {_NOT_RUN.format(_label(function))}")
    if isinstance(function, type):
        label = _label(function)
        if any("__call__" in vars(base) for base in function.__mro__):
            raise HandlerError(
                f"{label} is a class, whose instances can be called: register an instance, as in {label}()"
            )
        raise HandlerError(f"{label} is a class, of which a job would only make an instance: register a function")


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
    annotation = _bare(annotation)
    if not isinstance(annotation, type):
        return annotation == context.__name__ or annotation is typing.Self
    if annotation in context.__mro__:
        return annotation is not object
    # Any class can be hashed, and many can be iterated: such a parameter is an argument all the same.
    if annotation.__module__ in ("collections.abc", "typing", "builtins") or typing.is_typeddict(annotation):
        return False
    try:
        return issubclass(context, annotation)
    except TypeError:  # a Protocol that does not say that it can be asked
        return False


def is_job(annotation: object) -> bool:
    """Tell whether a parameter so annotated is to be filled with the job."""
    annotation = _bare(annotation)
    return annotation is Job or (isinstance(annotation, str) and annotation in ("Job", "asyncwork.Job"))


def _bare(annotation: object) -> object:
    return typing.get_args(annotation)[0] if typing.get_origin(annotation) is typing.Annotated else annotation


def is_method_of(function: Callable[..., Any], context: type) -> bool:
    """Tell whether a function is a method of the context class, or of one it inherits from."""
    name = getattr(function, "__name__", None)
    return isinstance(name, str) and any(vars(base).get(name) is function for base in context.__mro__)


_Annotated = tuple[inspect.Parameter, object]


def _split_leading(function: Callable[..., Any], context: type) -> tuple[list[_Annotated], list[_Annotated]]:
    """Return the parameters that take the context and the job, and those after them."""
    others = annotations_of(function)
    leading: list[_Annotated] = []
    if _is_positional(others) and (is_method_of(function, context) or is_context(others[0][1], context)):
        leading.append(others.pop(0))
    if _is_positional(others) and is_job(others[0][1]):
        leading.append(others.pop(0))
    return leading, others


def _is_positional(parameters: list[_Annotated]) -> bool:
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return bool(parameters) and parameters[0][0].kind in kinds


def _check_by_name(function: Callable[..., Any], parameter: inspect.Parameter, annotation: object) -> None:
    trouble = None
    if parameter.kind in (parameter.POSITIONAL_ONLY, parameter.VAR_POSITIONAL):
        trouble = "job arguments have names: take it as an ordinary parameter"
    elif is_job(annotation):
        trouble = "the job comes first, after the context if there is one, and not by keyword alone"
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
    leading: tuple[bool, ...],
    fill: Callable[[Job], dict[str, Any]] | None,
    unknown: UnknownArguments,
) -> Call:
    """Return what calls a handler.

    :param leading: for each leading parameter, whether it is the job; the context otherwise.
    :param fill: returns its keyword arguments; ``None`` when it has none.
    """
    if fill is not None:
        match leading:
            case (False, True):
                return lambda context, job: function(context, job, **fill(job))
            case (False,):
                return lambda context, job: function(context, **fill(job))
            case (True,):
                return lambda context, job: function(job, **fill(job))
            case _:
                return lambda context, job: function(**fill(job))
    match leading:
        case (False, True):
            return function
        case (True,):
            return lambda context, job: function(job)

    def with_context(context: Any, job: Job) -> Awaitable[object]:
        if job.args:
            unknown.found_all(job)
        return function(context)  # type: ignore[no-any-return]

    def with_nothing(context: Any, job: Job) -> Awaitable[object]:
        if job.args:
            unknown.found_all(job)
        return function()  # type: ignore[no-any-return]

    return with_context if leading else with_nothing


def _in_thread(function: Callable[..., Any], call: Callable[[Any, Job], Any], threads: Any) -> Call:
    """Run a plain function in a thread, with the context variables of its job."""

    def caught(context: Any, job: Job) -> tuple[object, BaseException | None]:
        # What brings errors out of threads looks at them, and a thread must end whatever they are.
        pid = forks.pid
        try:
            result, raised = call(context, job), None
        except BaseException as error:
            result, raised = None, error
        if forks.pid != pid:
            forks.end_process(raised)
        return result, raised

    async def run(context: Any, job: Job) -> object:
        limiter = threads if isinstance(threads, anyio.CapacityLimiter) else threads()
        result, error = await anyio.to_thread.run_sync(caught, context, job, abandon_on_cancel=True, limiter=limiter)
        if error is not None:
            try:
                raise error
            finally:
                del error  # a cycle with this frame
        # Not every function that is to be awaited looks so: a lambda, or one behind a decorator.
        return await result if inspect.isawaitable(result) else _not_a_generator(function, result)

    return run


def _checked(function: Callable[..., Any], call: Call) -> Call:
    """Have a job fail when what was called has only made a generator."""

    async def run(context: Any, job: Job) -> object:
        return _not_a_generator(function, await call(context, job))

    return run


def _not_a_generator(function: Callable[..., Any], result: object) -> object:
    if isinstance(result, (types.GeneratorType, types.AsyncGeneratorType)):
        raise HandlerError(
            f"{_label(function)} returned a generator: {result.__qualname__} " + _NOT_RUN.format(result.__qualname__)
        )
    return result


def fill_parameters(
    job: Job,
    *,
    parameters: Mapping[str, Parameter],
    rest: Parameter | None,
    reserved: frozenset[str],
    unknown: UnknownArguments,
) -> dict[str, Any]:
    """Return the keyword arguments for a handler, checked and converted.

    :param rest: how the handler takes arguments of other names; ``None`` when it does not.
    :param reserved: names that it cannot take by keyword.
    :raises JobArgumentError: when one is missing, of the wrong type, or unknown where that is forbidden. It is
        permanent: another attempt would fail in the same way.
    """
    filled: dict[str, Any] = {}
    for key, value in job.args.items():
        parameter = parameters.get(key)
        if parameter is None:
            if rest is None:
                unknown.found(job, key)
                continue
            if key in reserved:
                raise _unfit(_reserved(key))
            parameter = rest
        if parameter.convert is None:
            filled[key] = value
        else:
            try:
                filled[key] = parameter.convert(value)
            except Mismatch:
                raise _unfit(wrong_type(key, parameter.annotation, value)) from None
    for key, parameter in parameters.items():
        if parameter.required and key not in filled:
            raise _unfit(f"argument {key!r} is missing: wanted {type_name(parameter.annotation)}")
    return filled


def _reserved(key: str) -> str:
    return (
        f"argument {key!r} cannot be passed: the handler's own parameter has that name; put a `/` after it, as in "
        f"`({key}: …, /, **kwargs)`, or give the argument another name"
    )


def _listed(names: Iterable[str]) -> str:
    return ", ".join(names) or "no arguments"


def bind_arguments(handler: Handler, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
    """Return what a call of the handler would be as job arguments: by name, defaults left out.

    Sets, deques and the like become what JSON has for them, where the handler is annotated so.

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
            takes = _listed(handler.parameters) + suggestion(key, handler.parameters)
            raise UsageError(f"{handler.name} takes no argument {key!r}; it takes {takes}")
        if key in handler.reserved:
            raise UsageError(f"{handler.name}: {_reserved(key)}")
        bound[key] = value
    missing = [key for key, each in handler.parameters.items() if each.required and key not in bound]
    if missing:
        raise UsageError(f"{handler.name}: argument {missing[0]!r} is missing")
    return {key: _encoded(handler.parameters.get(key, handler.rest), value) for key, value in bound.items()}


def check_values(handler: Handler, args: Mapping[str, Any]) -> None:
    """Check job arguments, as :func:`bind_arguments` returns them, against the types that a handler takes.

    :raises UsageError: when one is of another type.
    """
    for key, value in args.items():
        parameter = handler.parameters.get(key, handler.rest)
        if parameter is not None and parameter.convert is not None:
            try:
                parameter.convert(value)
            except Mismatch:
                raise UsageError(f"{handler.name}: {wrong_type(key, parameter.annotation, value)}") from None


def _encoded(parameter: Parameter | None, value: Any) -> Any:
    if parameter is None or parameter.encode is None:
        return value
    try:
        return parameter.encode(value)
    except RecursionError:  # it contains itself, which is told where it is written as JSON
        return value
