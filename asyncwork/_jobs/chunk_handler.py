"""Handlers of chunks: functions that take many jobs in one call, checked when they are registered."""

from __future__ import annotations

import inspect
import typing
from collections.abc import (
    Awaitable,
    Callable,
    Collection,
    Coroutine,
    Iterable,
    Mapping,
    MutableMapping,
    MutableSequence,
    Sequence,
)
from functools import reduce
from operator import or_
from types import NoneType, UnionType
from typing import Any

from ..errors import HandlerError
from .argument_types import conversion
from .conversions import ANY, Conversion
from .function_kinds import label_of
from .signature import AnnotatedParameter, is_job, read_return, split_leading, without_metadata

_SIGNATURE = (
    "a handler of chunks takes (jobs: list[Job]) or (context: TheContextClass, jobs: list[Job]), and returns None, or "
    "a mapping of job ids to what each job returns or the exception with which it fails"
)
_LISTS = (list, Sequence, MutableSequence, Collection, Iterable)
_TEXTS = frozenset(f"{kind}[{job}]" for kind in ("list", "Sequence") for job in ("Job", "asyncwork.Job"))
_MAPPINGS = (dict, Mapping, MutableMapping)


def takes_jobs(annotation: object) -> bool:
    """Return whether a parameter with this annotation takes the jobs of a chunk."""
    annotation = without_metadata(annotation)
    if isinstance(annotation, str):
        return annotation.replace("typing.", "").replace("List", "list") in _TEXTS
    return typing.get_origin(annotation) in _LISTS and all(map(is_job, typing.get_args(annotation)))


def takes_context_first(function: Callable[..., Any], context: type) -> bool:
    """Return whether a handler of chunks takes the context before the jobs.

    :raises HandlerError: when its parameters are others; the message says which they must be.
    """
    leading, others = split_leading(function, context)
    if any(is_job(annotation) for _, annotation in leading):
        raise HandlerError(f"{label_of(function)} takes one job, and has the option chunk: {_SIGNATURE}")
    if not others or not _is_positional(others[0]) or not takes_jobs(others[0][1]):
        raise HandlerError(f"{label_of(function)} does not take the jobs of a chunk: {_SIGNATURE}")
    if required := [each.name for each, _ in others[1:] if _is_required(each)]:
        raise HandlerError(
            f"{label_of(function)}: parameter {required[0]!r} cannot be filled: each job of a chunk has its own "
            f"arguments, in job.args. {_SIGNATURE}"
        )
    return bool(leading)


def _is_positional(parameter: AnnotatedParameter) -> bool:
    return parameter[0].kind in (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


def _is_required(parameter: inspect.Parameter) -> bool:
    return parameter.default is parameter.empty and parameter.kind not in (
        parameter.VAR_POSITIONAL,
        parameter.VAR_KEYWORD,
    )


def refuse_without_chunk(function: Callable[..., Any], others: Sequence[AnnotatedParameter]) -> None:
    """Refuse a handler of single jobs whose first parameter takes a list of jobs.

    :raises HandlerError: when it has one, because no argument can be a job.
    """
    if others and takes_jobs(others[0][1]):
        name = others[0][0].name
        raise HandlerError(
            f"{label_of(function)}: parameter {name!r} takes the jobs of a chunk: register it with "
            "@pool.job(chunk=100, wait=0.5)"
        )


def value_conversion(function: Callable[..., Any]) -> Conversion:
    """Return how what a handler of chunks returns for each job is written as JSON and read again.

    :raises HandlerError: when no JSON value can ever be of the annotated type.
    """
    annotation = read_return(function)
    if typing.get_origin(annotation) in (Coroutine, Awaitable):
        annotation = typing.get_args(annotation)[-1]
    values: list[object] = []
    for each in _alternatives(annotation):
        if typing.get_origin(each) in _MAPPINGS and len(typing.get_args(each)) == 2:
            values += _alternatives(typing.get_args(each)[1])
        elif each not in (None, NoneType):
            return ANY
    kept: list[Any] = [each for each in values if not _is_exception(each)]
    if not kept:
        return ANY
    try:
        # A job that the mapping does not have returns None.
        return conversion(reduce(or_, kept, None))
    except (HandlerError, TypeError) as error:
        raise HandlerError(f"{label_of(function)}: what it returns cannot be kept. {error}") from None


def _alternatives(annotation: object) -> tuple[object, ...]:
    if typing.get_origin(annotation) in (typing.Union, UnionType):
        return typing.get_args(annotation)
    return (annotation,)


def _is_exception(annotation: object) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseException)
