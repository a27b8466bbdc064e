"""Handlers: functions that run jobs, checked when they are registered.

The leading parameters are filled by annotation: the pool's context class, then ``Job``; both, one or neither. The
other parameters are filled by name from the job's arguments.

``Handler`` takes more than ten arguments, because enqueuers, workers and tests read its parts one by one.
"""

from __future__ import annotations

import dataclasses
import inspect
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import anyio.to_thread

from ..errors import HandlerError
from ..options import JobOptions
from .argument_types import conversion, typed_dict_fields
from .calling import Call, RunPlain, Threads, make_call
from .chunk_calling import Chunked, make_group_call, make_single_call
from .chunk_handler import refuse_without_chunk, takes_context_first, value_conversion
from .conversions import ANY, Conversion
from .function_kinds import check_kind, label_of
from .parameters import Parameter, UnknownArguments, fill_parameters
from .return_type import return_conversion
from .signature import AnnotatedParameter, is_job, split_leading, without_metadata

# Names of parameters that must be annotated. Without an annotation such a parameter would take a job argument of that
# name, which its author hardly meant. The same holds if the annotation is a class like another pool's context.
_LEADING_NAMES = ("job", "ctx", "context", "self")


@dataclass(frozen=True, slots=True)
class Handler:
    """A registered handler.

    :ivar name: the name of its jobs.
    :ivar function: the function as it was written.
    :ivar options: how its jobs are treated.
    :ivar call: runs it, given a context and a job.
    :ivar parameters: the parameters that take job arguments, by name.
    :ivar takes_any: whether it takes every argument, because it has ``**kwargs`` or takes nothing but the job.
    :ivar rest: its ``**kwargs``; ``None`` if it has none.
    :ivar reserved: arguments that it cannot take, because its leading parameters have these names.
    :ivar unknown: handles arguments that it does not take.
    :ivar returns: how what it returns is kept; of any value if it is not kept.
    :ivar chunked: how its jobs are run in chunks; ``None`` if each has a call of its own.
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
    returns: Conversion
    chunked: Chunked | None = None


def make_handler(
    name: str,
    function: Callable[..., Any],
    context: type,
    options: JobOptions,
    threads: Threads,
    *,
    forbid_unknown: bool = False,
    run_plain: RunPlain = anyio.to_thread.run_sync,
) -> Handler:
    """Make a handler from a function, working out how to call it for a job.

    :param threads: limits how many plain functions run at once, each in a thread.
    :param forbid_unknown: whether a job fails that brings an argument which the function does not take.
    :param run_plain: runs plain functions.
    :raises HandlerError: when a parameter cannot be filled, or calling the function would not run it. The message names
        the parameter and says what would fit.
    """
    check_kind(function)
    if options.chunk:
        return _make_chunk_handler(name, function, context, options, run_plain)
    leading, others = split_leading(function, context)
    refuse_without_chunk(function, others)
    parameters, rest = _read_parameters(function, others, context, forbid_unknown)
    unknown = UnknownArguments(name, parameters, forbid=forbid_unknown)
    # Without **kwargs an argument named like a leading parameter is an unknown argument.
    named = [each.name for each, _ in leading if each.kind is each.POSITIONAL_OR_KEYWORD]
    reserved = frozenset(named if rest is not None else ())
    fill = partial(fill_parameters, parameters=parameters, rest=rest, reserved=reserved, unknown=unknown)
    leading_jobs = tuple(is_job(annotation) for _, annotation in leading)
    call = make_call(function, leading_jobs, fill if others else None, unknown, threads, run_plain)
    returns = ANY if options.result is None else return_conversion(function)
    takes_job_only = bool(leading) and leading_jobs[-1] and not others
    return Handler(
        name, function, options, call, parameters, rest is not None or takes_job_only, rest, reserved, unknown, returns
    )


def _make_chunk_handler(
    name: str, function: Callable[..., Any], context: type, options: JobOptions, run_plain: RunPlain
) -> Handler:
    group_call = make_group_call(function, takes_context_first(function, context), run_plain)
    returns = ANY if options.result is None else value_conversion(function)
    return Handler(
        name,
        function,
        options,
        make_single_call(group_call),
        {},
        True,
        None,
        frozenset(),
        UnknownArguments(name, {}, forbid=False),
        returns,
        Chunked(options.chunk, options.chunk_wait, group_call),
    )


def returns_of(handler: Handler) -> Conversion:
    """Return how what a handler returns is written as JSON, also if its results are not kept."""
    if handler.options.result is not None:
        return handler.returns
    try:
        return (return_conversion if handler.chunked is None else value_conversion)(handler.function)
    except HandlerError:
        return ANY


def _read_parameters(
    function: Callable[..., Any], others: list[AnnotatedParameter], context: type, forbid_unknown: bool
) -> tuple[dict[str, Parameter], Parameter | None]:
    """Return the parameters after the leading ones by name, and ``**kwargs`` if it takes any name."""
    make = partial(_make_parameter, function, forbid_unknown)
    rest: Parameter | None = None
    parameters: dict[str, Parameter] = {}
    for position, (parameter, annotation) in enumerate(others):
        if parameter.kind is parameter.VAR_KEYWORD:
            unpacked = _unpacked(annotation)
            if unpacked is None:
                rest = make(parameter.name, annotation, required=False)
            else:
                parameters |= {key: make(key, *each) for key, each in unpacked.items()}
            continue
        _check_by_name(function, parameter, annotation, context)
        required = parameter.default is parameter.empty
        try:
            parameters[parameter.name] = make(parameter.name, annotation, required=required)
        except HandlerError as error:
            if position == 0 and isinstance(annotation, type):
                raise HandlerError(
                    f"{error}. To take the pool's context, annotate it with {context.__name__}"
                ) from None
            raise
    return parameters, rest


def _make_parameter(
    function: Callable[..., Any], forbid_unknown: bool, name: str, annotation: object, required: bool
) -> Parameter:
    annotation = Any if annotation is inspect.Parameter.empty else annotation
    try:
        made = conversion(annotation, forbid_unknown=forbid_unknown)
        return Parameter(name, annotation, made.convert, made.encode, required)
    except HandlerError as error:
        raise HandlerError(f"{label_of(function)}: parameter {name!r} cannot be filled. {error}") from None


def _unpacked(annotation: object) -> dict[str, tuple[object, bool]] | None:
    """Return the items of ``**kwargs: Unpack[SomeTypedDict]`` with their types and whether they are required.

    ``None`` for any other annotation.
    """
    parameters = typing.get_args(annotation)
    if typing.get_origin(annotation) is not typing.Unpack or not typing.is_typeddict(parameters[0]):
        return None
    return typed_dict_fields(parameters[0])


def _check_by_name(
    function: Callable[..., Any], parameter: inspect.Parameter, annotation: object, context: type
) -> None:
    problem = None
    if parameter.kind in (parameter.POSITIONAL_ONLY, parameter.VAR_POSITIONAL):
        problem = "job arguments have names: take it as an ordinary parameter"
    elif is_job(annotation):
        problem = "the job comes first, after the context if there is one, and cannot be keyword-only"
    elif without_metadata(annotation) is context:
        problem = "the context comes first, before the job, and cannot be keyword-only"
    elif parameter.name in _LEADING_NAMES and (annotation is parameter.empty or _has_fields(annotation)):
        wanted = "Job" if parameter.name == "job" else f"{context.__name__}, the pool's context class"
        problem = f"annotate it with {wanted}, or give the argument another name"
    if problem is not None:
        raise HandlerError(
            f"{label_of(function)}: parameter {parameter.name!r} cannot be filled: {problem}. A handler takes "
            "(context: TheContextClass, job: Job, …), both, one or neither of these, then job arguments by name"
        )


def _has_fields(annotation: object) -> bool:
    kind = without_metadata(annotation)
    return isinstance(kind, type) and (dataclasses.is_dataclass(kind) or hasattr(kind, "__attrs_attrs__"))
