"""Types of job arguments: which conversion an annotation calls for, and the messages about values of another type."""

from __future__ import annotations

import collections
import collections.abc
import inspect
import types
import typing
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Literal, Union

from ..errors import ArgumentMismatchError, HandlerError
from .conversions import (
    ANY,
    DICT,
    INT_KEYS,
    Conversion,
    Converter,
    Encoder,
    Mismatch,
    exactly,
    list_of,
    literal,
    mapping_of,
    sequence_of,
    set_of,
    to_dict,
    to_float,
    to_int,
    to_list,
    to_str,
    to_tuple,
    tuple_of,
    typed_dict_of,
    union,
)

_SIMPLE: dict[object, Converter] = {
    int: to_int,
    float: to_float,
    str: to_str,
    bool: exactly(bool),
    None: exactly(type(None)),
    type(None): exactly(type(None)),
    list: to_list,
    dict: to_dict,
    tuple: to_tuple,
    typing.LiteralString: to_str,
}
_LISTS = (
    list,
    collections.abc.Sequence,
    collections.abc.MutableSequence,
    collections.abc.Reversible,
    collections.abc.Collection,
    collections.abc.Container,
    collections.abc.Iterable,
)
_MAPPINGS: dict[object, type] = {
    dict: dict,
    collections.abc.Mapping: dict,
    collections.abc.MutableMapping: dict,
    collections.OrderedDict: collections.OrderedDict,
}
# The class that a JSON list becomes for each annotation.
_SETS = {
    set: set,
    frozenset: frozenset,
    collections.abc.Set: frozenset,
    collections.abc.MutableSet: set,
}
# They qualify a type, and are none.
_QUALIFIERS = tuple(
    getattr(typing, name) for name in ("Final", "Required", "NotRequired", "ReadOnly") if hasattr(typing, name)
)


def converter(annotation: object) -> Converter | None:
    """Return what checks and converts a JSON value for ``annotation``, or ``None`` if any value will do.

    :raises HandlerError: when no JSON value can ever be of that type, such as ``datetime``.
    """
    if annotation in (Any, object):
        return None
    simple = _simple(annotation)
    return _conversion(annotation, {}).convert if simple is None else simple


def encoder(annotation: object) -> Encoder | None:
    """Return what writes a value of ``annotation`` in JSON's types, or ``None`` if the value stays as it is.

    :raises HandlerError: when no JSON value can ever be of that type, such as ``datetime``.
    """
    return _conversion(annotation, {}).encode


def _simple(annotation: Any) -> Converter | None:
    try:
        return _SIMPLE.get(annotation)
    except TypeError:  # not hashable, such as Annotated with a list in it
        return None


# Conversions of types that may contain themselves (TypedDicts and named types), by annotation. ``None`` while one is
# being made.
_Recursive = dict[object, Conversion | None]


def _conversion(annotation: Any, recursive: _Recursive) -> Conversion:
    if annotation in (Any, object, inspect.Parameter.empty):
        return ANY
    origin, parameters = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated or origin in _QUALIFIERS:
        return _conversion(parameters[0], recursive)
    if origin in (Union, types.UnionType):
        return _union(parameters, recursive)
    if origin is Literal:
        return _literal(annotation, parameters)
    if isinstance(annotation, typing.NewType):
        return _conversion(annotation.__supertype__, recursive)
    if isinstance(annotation, typing.TypeVar):
        return _type_variable(annotation, recursive)
    if (simple := _simple(annotation)) is not None:
        return Conversion(simple)
    if hasattr(annotation, "__value__") and hasattr(annotation, "__type_params__"):  # type X = …
        return _once(annotation, recursive, lambda: _conversion(annotation.__value__, recursive))
    if typing.is_typeddict(annotation):
        return _once(annotation, recursive, lambda: _typed_dict(annotation, recursive))
    if annotation is typing.Tuple:  # noqa: UP006  # its parts look like those of tuple[()]
        return Conversion(to_tuple)
    return _container(annotation, origin or annotation, parameters, recursive)


def _union(members: tuple[object, ...], recursive: _Recursive) -> Conversion:
    exact = {member for member in members if member in (int, float, str, bool, type(None), list, dict)}
    return union([_conversion(member, recursive) for member in members], typing.cast("frozenset[type]", exact))


def _literal(annotation: object, choices: tuple[object, ...]) -> Conversion:
    for choice in choices:
        if type(choice) not in (str, int, bool, type(None)):
            raise HandlerError(f"JSON has no {choice!r}, of {type_name(annotation)}: choose among str, int, bool, None")
    return literal(choices)


def _type_variable(variable: typing.TypeVar, recursive: _Recursive) -> Conversion:
    if variable.__constraints__:
        return _union(variable.__constraints__, recursive)
    return ANY if variable.__bound__ is None else _conversion(variable.__bound__, recursive)


def _container(annotation: Any, kind: Any, parameters: tuple[Any, ...], recursive: _Recursive) -> Conversion:
    if kind in (typing.Never, typing.NoReturn):
        raise HandlerError(_not_in_json(annotation))
    if not isinstance(kind, type):  # only a type checker can resolve it, such as a name imported for type checking
        return ANY
    if kind is tuple:
        return _tuple(parameters, recursive)
    if kind is collections.Counter:
        return mapping_of(collections.Counter, _keys(annotation, parameters, recursive), Conversion(to_int))
    if kind in _MAPPINGS:
        values = _conversion(parameters[1], recursive) if len(parameters) > 1 else ANY
        return mapping_of(_MAPPINGS[kind], _keys(annotation, parameters, recursive), values)
    if kind not in _LISTS and kind not in _SETS and kind is not collections.deque:
        raise HandlerError(_not_in_json(annotation))
    item = _conversion(parameters[0], recursive) if parameters else ANY
    if kind in _LISTS:
        return list_of(item)
    if kind in _SETS:
        return set_of(_SETS[kind], item)
    return sequence_of(collections.deque, collections.deque, item)


def _not_in_json(annotation: object) -> str:
    return (
        f"JSON has no {type_name(annotation)}: take str, int, float, bool, None, list, dict, tuple, set, deque, "
        "Counter, a TypedDict or a union of these, and convert it in the handler"
    )


def _tuple(parameters: tuple[Any, ...], recursive: _Recursive) -> Conversion:
    if len(parameters) == 2 and parameters[1] is Ellipsis:
        return sequence_of(tuple, tuple, _conversion(parameters[0], recursive))
    return tuple_of([_conversion(parameter, recursive) for parameter in parameters])


def _keys(mapping: object, parameters: tuple[Any, ...], recursive: _Recursive) -> Conversion:
    """Return the conversion of a mapping's keys, which are text in JSON."""
    annotation = parameters[0] if parameters else Any
    keys = _conversion(annotation, recursive)
    if keys.convert is None or keys.convert is to_str:
        return ANY
    if keys.convert is to_int:
        return INT_KEYS
    if typing.get_origin(annotation) is Literal and all(type(each) is str for each in typing.get_args(annotation)):
        return keys
    raise HandlerError(
        f"{type_name(mapping)} cannot be read from JSON, where keys are text: take str or int as its keys, and convert "
        "them in the handler"
    )


def _typed_dict(annotation: Any, recursive: _Recursive) -> Conversion:
    fields = typed_dict_fields(annotation)
    if fields is None:
        return DICT
    items = {name: _conversion(hint, recursive) for name, (hint, _) in fields.items()}
    return typed_dict_of(items, {name for name, (_, required) in fields.items() if required})


def typed_dict_fields(annotation: Any) -> dict[str, tuple[Any, bool]] | None:
    """Return the type of each item of a TypedDict, and whether the item is required, by name.

    ``None`` when its annotations use names that only a type checker can resolve.
    """
    try:
        hints = typing.get_type_hints(annotation, include_extras=True)
    except Exception:
        return None
    fields = {}
    for name, hint in hints.items():
        # Where annotations are kept as text, __required_keys__ ignores the item's own qualifier.
        qualified = {typing.Required: True, typing.NotRequired: False}
        fields[name] = hint, qualified.get(typing.get_origin(hint), name in annotation.__required_keys__)
    return fields


def _once(annotation: object, recursive: _Recursive, make: Callable[[], Conversion]) -> Conversion:
    """Return the conversion of a type that may contain itself.

    Within the type, its own conversion is looked up when values are converted, because it is not complete before.
    """
    if annotation in recursive:
        convert, encode = (partial(_apply, recursive, annotation, way) for way in ("convert", "encode"))
        return recursive[annotation] or Conversion(convert, encode)
    recursive[annotation] = None
    conversion = recursive[annotation] = make()
    return conversion


def _apply(recursive: _Recursive, annotation: object, way: str, value: Any) -> Any:
    convert = getattr(recursive[annotation], way)
    return value if convert is None else convert(value)


# Stands for "no default", because None may be one.
MISSING: Any = object()


def take_argument(args: Mapping[str, Any], key: str, annotation: object, default: Any = MISSING) -> Any:
    """Return ``args[key]`` converted to ``annotation``, or ``default`` when the key is missing.

    :raises ArgumentMismatchError: when the key is missing without a default, or its value is of another type. The
        message names the key, the wanted and the found type.
    """
    try:
        value = args[key]
    except KeyError:
        if default is MISSING:
            raise ArgumentMismatchError(missing(key, annotation)) from None
        return default
    convert = converter(annotation)
    if convert is None:
        return value
    try:
        return convert(value)
    except Mismatch:
        raise ArgumentMismatchError(wrong_type(key, annotation, value)) from None


def missing(key: str, annotation: object) -> str:
    """Return the message for an argument that a job lacks."""
    return f"argument {key!r} is missing: wanted {type_name(annotation)}"


def wrong_type(key: str, annotation: object, value: object) -> str:
    """Return the message for an argument whose value is of another type."""
    return f"argument {key!r} has the wrong type: wanted {type_name(annotation)}, found {_describe(value)}"


def type_name(annotation: object) -> str:
    """Return an annotation as its author would write it."""
    if annotation is None or annotation is type(None):
        return "None"
    return annotation.__name__ if isinstance(annotation, type) else str(annotation).replace("typing.", "")


def _describe(value: object) -> str:
    """Return the type and a short form of a value, for messages."""
    text = repr(value)
    if len(text) > 60:
        text = text[:57] + "…"
    return "null" if value is None else f"{type(value).__name__} {text}"
