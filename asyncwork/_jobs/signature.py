"""Signatures of handlers and middlewares: their parameters, and which of these take the context or the job."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable
from functools import partial
from typing import Any, TypeAlias

from ..errors import HandlerError
from ..job import Job
from .printable import shown

# A parameter and its annotation.
AnnotatedParameter: TypeAlias = tuple[inspect.Parameter, object]


def read_signature(function: Callable[..., Any]) -> list[AnnotatedParameter]:
    """Return a function's parameters with their annotations. Annotations written as text are resolved if possible.

    :raises HandlerError: when it is not callable, or its signature cannot be read.
    """
    signature, scope = _signature(function), _globals_of(function)
    return [(each, _resolve(each.annotation, scope)) for each in signature.parameters.values()]


def read_return(function: Callable[..., Any]) -> object:
    """Return the annotation of what a function returns, resolved if possible; ``inspect.Signature.empty`` without.

    :raises HandlerError: when its signature cannot be read.
    """
    return _resolve(_signature(function).return_annotation, _globals_of(function))


def _signature(function: Callable[..., Any]) -> inspect.Signature:
    try:
        return inspect.signature(function)
    except (TypeError, ValueError):
        raise HandlerError(f"not a function whose parameters can be read: {shown(function)}") from None


def _globals_of(function: Callable[..., Any]) -> dict[str, Any]:
    """Return the names of the module that a function, or the ``__call__`` of an object, was written in."""
    target = inspect.unwrap(function)
    while isinstance(target, partial):
        target = target.func
    if not hasattr(target, "__globals__"):
        target = inspect.unwrap(type(target).__call__)
    return getattr(target, "__globals__", {})


def _resolve(annotation: object, scope: dict[str, Any]) -> object:
    def holder() -> None:
        """Has the annotation, for typing, which also resolves a text within another annotation."""

    holder.__annotations__ = {"value": annotation}
    try:
        return typing.get_type_hints(holder, scope, include_extras=True)["value"]
    except Exception:  # a name that only a type checker imports, or that is local to a function: compared as text
        return annotation


def split_leading(
    function: Callable[..., Any], context: type
) -> tuple[list[AnnotatedParameter], list[AnnotatedParameter]]:
    """Return the leading parameters, which take the context and the job, and the parameters after them.

    :raises HandlerError: when the signature cannot be read.
    """
    others = read_signature(function)
    leading: list[AnnotatedParameter] = []
    if _starts_positional(others) and (is_method_of(function, context) or is_context(others[0][1], context)):
        leading.append(others.pop(0))
    if _starts_positional(others) and is_job(others[0][1]):
        leading.append(others.pop(0))
    return leading, others


def _starts_positional(parameters: list[AnnotatedParameter]) -> bool:
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return bool(parameters) and parameters[0][0].kind in kinds


def is_context(annotation: object, context: type) -> bool:
    """Return whether a parameter with this annotation takes the pool's context."""
    annotation = without_metadata(annotation)
    if not isinstance(annotation, type):
        return annotation == context.__name__ or annotation is typing.Self
    if annotation in context.__mro__:
        return annotation is not object
    # Every class is Hashable and many are Iterable, but a parameter annotated so takes a job argument.
    if annotation.__module__ in ("collections.abc", "typing", "builtins") or typing.is_typeddict(annotation):
        return False
    try:
        return issubclass(context, annotation)
    except TypeError:  # a Protocol without @runtime_checkable
        return False


def is_job(annotation: object) -> bool:
    """Return whether a parameter with this annotation takes the job."""
    annotation = without_metadata(annotation)
    return annotation is Job or (isinstance(annotation, str) and annotation in ("Job", "asyncwork.Job"))


def is_method_of(function: Callable[..., Any], context: type) -> bool:
    """Return whether a function is a method of the context class, or of a base class of it."""
    name = getattr(function, "__name__", None)
    return isinstance(name, str) and any(vars(base).get(name) is function for base in context.__mro__)


def without_metadata(annotation: object) -> object:
    """Return the type in ``Annotated[type, …]``, or the annotation itself."""
    return typing.get_args(annotation)[0] if typing.get_origin(annotation) is typing.Annotated else annotation
