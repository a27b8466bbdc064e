"""Job arguments against Python annotations: what JSON holds, converted as gocraft/work converts it.

An integral float is an int up to 2^53, an int is a float, a bool is neither; everything else must fit as it is.
"""

from __future__ import annotations

import collections.abc
import types
import typing
from collections.abc import Callable, Mapping
from typing import Any, Literal, Union

from .errors import HandlerError, JobArgumentError

# Takes a decoded JSON value and returns it as the annotation wants it, or raises Mismatch.
Converter = Callable[[Any], Any]

# gocraft/work refuses floats beyond this, where they no longer name one integer.
_LARGEST_INTEGRAL_FLOAT = 9007199254740892


class Mismatch(Exception):
    """A value that is not of the wanted type."""


def describe(value: object) -> str:
    """Return the type and a short form of a value, for messages."""
    text = repr(value)
    if len(text) > 60:
        text = text[:57] + "…"
    return "null" if value is None else f"{type(value).__name__} {text}"


def type_name(annotation: object) -> str:
    """Return an annotation as its author would write it."""
    if annotation is None or annotation is type(None):
        return "None"
    return annotation.__name__ if type(annotation) is type else str(annotation).replace("typing.", "")


def _to_int(value: Any) -> int:
    if type(value) is int:
        return value
    if type(value) is float and value.is_integer() and abs(value) <= _LARGEST_INTEGRAL_FLOAT:
        return int(value)
    raise Mismatch


def _to_float(value: Any) -> float:
    if type(value) is float:
        return value
    if type(value) is int:
        try:
            return float(value)
        except OverflowError:
            raise Mismatch from None
    raise Mismatch


def _exactly(*kinds: type) -> Converter:
    def convert(value: Any) -> Any:
        if type(value) in kinds:
            return value
        raise Mismatch

    return convert


_SIMPLE: dict[object, Converter] = {
    int: _to_int,
    float: _to_float,
    str: _exactly(str),
    bool: _exactly(bool),
    None: _exactly(type(None)),
    type(None): _exactly(type(None)),
    list: _exactly(list),
    dict: _exactly(dict),
    tuple: lambda value: tuple(_SIMPLE[list](value)),
}
_LISTS = (list, collections.abc.Sequence, collections.abc.Iterable, collections.abc.Collection)
_DICTS = (dict, collections.abc.Mapping, collections.abc.MutableMapping)


def converter(annotation: object) -> Converter | None:
    """Return what checks and converts a JSON value for ``annotation``, or ``None`` where any value will do.

    :raises HandlerError: when no JSON value can ever be of that type, such as ``datetime``.
    """
    if annotation in (Any, object):
        return None
    try:
        if annotation in _SIMPLE:
            return _SIMPLE[annotation]
    except TypeError:  # not hashable, such as Annotated with a list in it
        return None
    origin, parameters = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated:
        return converter(parameters[0])
    if origin in (Union, types.UnionType):
        return _union(parameters)
    if origin is Literal:
        return _literal(parameters)
    if annotation in _LISTS or origin in _LISTS:
        return _list_of(converter(parameters[0]) if parameters else None)
    if annotation in _DICTS or origin in _DICTS:
        return _dict_of(converter(parameters[1]) if parameters else None)
    if origin is tuple:
        return _tuple_of(parameters)
    if typing.is_typeddict(annotation):
        return _SIMPLE[dict]
    if isinstance(annotation, type):
        raise HandlerError(
            f"JSON has no {type_name(annotation)}: take str, int, float, bool, None, list, dict or a union of these, "
            "and convert it in the handler"
        )
    return None


def _union(members: tuple[object, ...]) -> Converter | None:
    converters = [converter(member) for member in members]
    if None in converters:
        return None
    # A value that is already of one of the types must not be converted to another: `float | int` keeps 1 an int.
    exact = {member for member in members if member in (int, float, str, bool, type(None), list, dict)}

    def convert(value: Any) -> Any:
        if type(value) in exact:
            return value
        for one in converters:
            try:
                return one(value)  # type: ignore[misc]  # None was excluded above
            except Mismatch:
                continue
        raise Mismatch

    return convert


def _literal(choices: tuple[object, ...]) -> Converter:
    def convert(value: Any) -> Any:
        # True == 1 in Python, but not in JSON.
        for choice in choices:
            if choice == value and type(choice) is type(value):
                return value
        raise Mismatch

    return convert


def _list_of(item: Converter | None) -> Converter:
    def convert(value: Any) -> Any:
        if type(value) is not list:
            raise Mismatch
        return value if item is None else [item(one) for one in value]

    return convert


def _dict_of(item: Converter | None) -> Converter:
    def convert(value: Any) -> Any:
        if type(value) is not dict:
            raise Mismatch
        return value if item is None else {key: item(one) for key, one in value.items()}

    return convert


def _tuple_of(parameters: tuple[object, ...]) -> Converter:
    if len(parameters) == 2 and parameters[1] is Ellipsis:
        each = converter(parameters[0])
        return lambda value: tuple(_list_of(each)(value))
    converters = [converter(parameter) for parameter in parameters]

    def convert(value: Any) -> Any:
        if type(value) is not list or len(value) != len(converters):
            raise Mismatch
        return tuple(v if one is None else one(v) for one, v in zip(converters, value, strict=True))

    return convert


# Stands for no default: None may be one.
MISSING: Any = object()


def take_argument(args: Mapping[str, Any], key: str, wanted: object, default: Any = MISSING) -> Any:
    """Return ``args[key]`` as ``wanted``, or ``default`` when the key is missing.

    :raises JobArgumentError: when the key is missing without a default, or its value is of another type;
        the message names the key, the wanted and the found type.
    """
    try:
        value = args[key]
    except KeyError:
        if default is MISSING:
            raise JobArgumentError(f"argument {key!r} is missing: wanted {type_name(wanted)}") from None
        return default
    convert = converter(wanted)
    if convert is None:
        return value
    try:
        return convert(value)
    except Mismatch:
        raise wrong_type(key, wanted, value) from None


def wrong_type(key: str, wanted: object, value: object) -> JobArgumentError:
    """Return the error for a value of another type than was wanted."""
    return JobArgumentError(f"argument {key!r} has the wrong type: wanted {type_name(wanted)}, found {describe(value)}")
