"""Types of a class's fields, with the type variables of generic classes replaced."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Mapping
from typing import Any, TypeVar

from ..errors import HandlerError
from .mismatch import type_name

_Variables = Mapping[Any, Any]


def field_types(annotation: Any) -> dict[str, Any]:
    """Return the annotations of a class's fields by name, resolved.

    :param annotation: the class, or one such as ``Box[int]``.
    :raises HandlerError: when an annotation uses a name that only a type checker can resolve.
    """
    kind = typing.get_origin(annotation) or annotation
    hints = _type_hints(kind)
    variables = _variables(kind, typing.get_args(annotation))
    types: dict[str, Any] = {}
    for base in reversed(kind.__mro__):
        # The fields of a TypedDict are its own, whatever classes they were inherited from.
        names = hints if base is kind and typing.is_typeddict(kind) else inspect.get_annotations(base)
        types |= {name: _replaced(hints[name], variables.get(base, {})) for name in names if name in hints}
    return hints | types


def _type_hints(kind: type) -> dict[str, Any]:
    try:
        return typing.get_type_hints(kind, include_extras=True)
    except Exception:  # whatever the evaluation of an annotation raises
        pass
    # A class within a function may still refer to itself.
    own = {base.__name__: base for base in reversed(kind.__mro__)}
    try:
        return typing.get_type_hints(kind, localns=own, include_extras=True)
    except Exception as error:
        raise HandlerError(
            f"the annotations of {type_name(kind)} cannot be resolved ({error}): define or import what they name in "
            f"the module {kind.__module__}, not only for type checkers"
        ) from None


def _variables(kind: type, args: tuple[Any, ...]) -> dict[type, _Variables]:
    """Return what each type variable stands for, for a generic class and each of its bases."""
    names = getattr(kind, "__parameters__", ())
    own = dict(zip(names, args, strict=True)) if len(names) == len(args) else {}
    found: dict[type, _Variables] = {kind: own}
    for base in vars(kind).get("__orig_bases__", kind.__bases__):
        origin = typing.get_origin(base) or base
        if isinstance(origin, type) and origin not in (object, typing.Generic):
            replaced = tuple(_replaced(each, own) for each in typing.get_args(base))
            found = _variables(origin, replaced) | found
    return found


def _replaced(hint: Any, variables: _Variables) -> Any:
    """Return an annotation with its type variables replaced."""
    if isinstance(hint, TypeVar):
        return variables.get(hint, hint)
    parameters = () if isinstance(hint, type) else getattr(hint, "__parameters__", ())
    if not any(each in variables for each in parameters):
        return hint
    return hint[tuple(variables.get(each, each) for each in parameters)]
