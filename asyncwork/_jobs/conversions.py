"""Conversions between JSON values and Python values, as gocraft/work converts job arguments.

An integral float is an int up to 2^53, and an int is a float. A bool is neither. Every other value must already be of
its type. A type that JSON does not have is written in one form only: a set, a deque or a tuple as a list, a Counter as
an object, and integer keys as decimal text.
"""

from __future__ import annotations

import collections.abc
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

# Takes a decoded JSON value. Returns the value of the annotated type, or raises Mismatch.
Converter = Callable[[Any], Any]
# Takes a value of the annotated type. Returns it in JSON's types. Returns a value of another type unchanged.
Encoder = Callable[[Any], Any]

# gocraft/work refuses larger floats, because they no longer stand for one integer only.
_LARGEST_INTEGRAL_FLOAT = 9007199254740892


class Mismatch(Exception):
    """A value is not of the annotated type."""


@dataclass(frozen=True, slots=True)
class Conversion:
    """How values of one type are read from JSON and written to JSON.

    :ivar convert: makes a JSON value into a value of the type; ``None`` if every JSON value is one already.
    :ivar encode: makes a value of the type into a JSON value; ``None`` if it is one already.
    """

    convert: Converter | None = None
    encode: Encoder | None = None


def to_int(value: Any) -> int:
    """Return a JSON number as an int.

    :raises Mismatch: when it is not a number, has a fraction, or is an integral float beyond 2^53.
    """
    if type(value) is int:
        return value
    if type(value) is float and value.is_integer() and abs(value) <= _LARGEST_INTEGRAL_FLOAT:
        return int(value)
    raise Mismatch


def to_float(value: Any) -> float:
    """Return a JSON number as a float.

    :raises Mismatch: when it is not a number, or an int too large for a float.
    """
    if type(value) is float:
        return value
    if type(value) is int:
        try:
            return float(value)
        except OverflowError:
            raise Mismatch from None
    raise Mismatch


def exactly(kind: type) -> Converter:
    """Return a converter that accepts values of this class only, without subclasses."""

    def convert(value: Any) -> Any:
        if type(value) is kind:
            return value
        raise Mismatch

    return convert


to_str, to_list, to_dict = exactly(str), exactly(list), exactly(dict)


def to_tuple(value: Any) -> tuple[Any, ...]:
    """Return a JSON list as a tuple.

    :raises Mismatch: when it is not a list.
    """
    return tuple(to_list(value))


ANY = Conversion()
LIST = Conversion(to_list)
DICT = Conversion(to_dict)


def union(members: Sequence[Conversion], exact: frozenset[type]) -> Conversion:
    """Return the conversion of a union.

    :param exact: member types whose values are kept. ``float | int`` must not convert the int 1 to a float.
    """
    encoders = [each.encode for each in members if each.encode is not None]
    converters = [each.convert for each in members if each.convert is not None]

    def convert(value: Any) -> Any:
        if type(value) in exact:
            return value
        for one in converters:
            try:
                return one(value)
            except Mismatch:
                continue
        raise Mismatch

    def encode(value: Any) -> Any:
        for one in encoders:
            encoded = one(value)
            if encoded is not value:
                return encoded
        return value

    return Conversion(convert if len(converters) == len(members) else None, encode if encoders else None)


def literal(choices: Sequence[object]) -> Conversion:
    """Return the conversion of a ``Literal`` with these choices."""

    def convert(value: Any) -> Any:
        if type(value) is float and value.is_integer():
            value = to_int(value)
        # True == 1 in Python, but not in JSON.
        for choice in choices:
            if choice == value and type(choice) is type(value):
                return value
        raise Mismatch

    return Conversion(convert)


def list_of(item: Conversion) -> Conversion:
    """Return the conversion of a list."""
    return LIST if item.convert is None else sequence_of(list, list, item)


def sequence_of(make: Callable[[Any], Any], kind: type[Any], item: Conversion) -> Conversion:
    """Return the conversion of a type that is a list in JSON.

    :param make: makes a value from a list.
    :param kind: the class of the values to encode.
    """
    convert_item, encode_item = item.convert, item.encode

    def convert(value: Any) -> Any:
        if type(value) is not list:
            raise Mismatch
        return make(value if convert_item is None else [convert_item(one) for one in value])

    def encode(value: Any) -> Any:
        if not isinstance(value, (kind, list, tuple)):
            return value
        return list(value) if encode_item is None else [encode_item(one) for one in value]

    return Conversion(convert, encode if encode_item is not None or kind is not list else None)


def set_of(make: type, item: Conversion) -> Conversion:
    """Return the conversion of a set, which is a list in JSON.

    :param make: ``set`` or ``frozenset``.
    """
    convert_item, encode_item = item.convert, item.encode

    def convert(value: Any) -> Any:
        if type(value) is not list:
            raise Mismatch
        items = value if convert_item is None else [convert_item(one) for one in value]
        try:
            return make(items)
        except TypeError:  # an item that is a list or an object
            raise Mismatch from None

    def encode(value: Any) -> Any:
        if not isinstance(value, (collections.abc.Set, list, tuple)):
            return value
        items = list(value) if encode_item is None else [encode_item(one) for one in value]
        return _sorted(items) if isinstance(value, collections.abc.Set) else items

    return Conversion(convert, encode)


def _sorted(items: list[Any]) -> list[Any]:
    """Return the items of a set in an order that every process agrees on, because unique keys are made of them."""
    try:
        return sorted(items)
    except TypeError:
        return sorted(items, key=lambda item: (type(item).__name__, repr(item)))


def mapping_of(make: type, keys: Conversion, values: Conversion) -> Conversion:
    """Return the conversion of a mapping, which is an object in JSON.

    :param make: makes a value from a dict.
    """
    convert_key, convert_value = keys.convert, values.convert
    encode_key, encode_value = keys.encode, values.encode
    if make is dict and convert_key is None and convert_value is None:
        return DICT

    def convert(value: Any) -> Any:
        if type(value) is not dict:
            raise Mismatch
        return make(
            {
                key if convert_key is None else convert_key(key): one if convert_value is None else convert_value(one)
                for key, one in value.items()
            }
        )

    def encode(value: Any) -> Any:
        if not isinstance(value, Mapping):
            return value
        return {
            key if encode_key is None else encode_key(key): one if encode_value is None else encode_value(one)
            for key, one in value.items()
        }

    return Conversion(convert, encode if encode_key or encode_value or make is not dict else None)


def _int_key(key: str) -> int:
    try:
        number = int(key)
    except ValueError:
        raise Mismatch from None
    # One text for each number: 05, +5 and 1_000 would be other texts of 5 and 1000.
    if str(number) != key:
        raise Mismatch
    return number


INT_KEYS = Conversion(_int_key, lambda key: str(key) if type(key) is int else key)


def tuple_of(items: Sequence[Conversion]) -> Conversion:
    """Return the conversion of a tuple of a fixed length, which is a list in JSON."""

    def fits(value: Sequence[Any]) -> bool:
        return len(value) == len(items)

    def convert(value: Any) -> Any:
        if type(value) is not list or not fits(value):
            raise Mismatch
        return tuple(one if item.convert is None else item.convert(one) for item, one in zip(items, value, strict=True))

    def encode(value: Any) -> Any:
        if not isinstance(value, (tuple, list)) or not fits(value):
            return value
        return [one if item.encode is None else item.encode(one) for item, one in zip(items, value, strict=True)]

    return Conversion(convert, encode if any(item.encode for item in items) else None)


def typed_dict_of(items: Mapping[str, Conversion], required: set[str]) -> Conversion:
    """Return the conversion of a ``TypedDict``. Keys that it does not name are kept.

    :param required: names of the items that must be there.
    """
    converters = {name: item.convert for name, item in items.items() if item.convert is not None}
    encoders = {name: item.encode for name, item in items.items() if item.encode is not None}

    def convert(value: Any) -> Any:
        if type(value) is not dict or not required <= value.keys():
            raise Mismatch
        return {key: converters[key](one) if key in converters else one for key, one in value.items()}

    def encode(value: Any) -> Any:
        if not isinstance(value, Mapping):
            return value
        return {key: encoders[key](one) if key in encoders else one for key, one in value.items()}

    return Conversion(convert, encode if encoders else None)
