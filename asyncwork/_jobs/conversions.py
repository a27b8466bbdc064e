"""Conversions between JSON values and Python values, as gocraft/work converts job arguments.

An integral float is an int up to 2^53, and an int is a float. A bool is neither. Every other value must already be of
its type. A type that JSON does not have is written in one form only: a set, a deque or a tuple as a list, a Counter as
an object, and integer keys as decimal text. The conversions of dates and the like are in :mod:`.standard_types`, those
of classes in :mod:`.class_types` and :mod:`.model_types`.
"""

from __future__ import annotations

import collections.abc
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .json_forms import ANY_FORM, Form, Kind, kind_of, tags_of
from .mismatch import ConversionError, Mismatch

# Takes a decoded JSON value. Returns the value of the annotated type, or raises Mismatch.
Converter = Callable[[Any], Any]
# Takes a value of the annotated type. Returns it in JSON's types, or raises NotWritable. Returns a value of another
# type unchanged.
Encoder = Callable[[Any], Any]

# gocraft/work refuses larger floats, because they no longer stand for one integer only.
_LARGEST_INTEGRAL_FLOAT = 9007199254740892


@dataclass(frozen=True, slots=True)
class Conversion:
    """How values of one type are read from JSON and written to JSON.

    :ivar convert: makes a JSON value into a value of the type; ``None`` if every JSON value is one already.
    :ivar encode: makes a value of the type into a JSON value; ``None`` if it is one already.
    :ivar name: the type, for messages.
    :ivar forms: the forms that its JSON values have.
    """

    convert: Converter | None = None
    encode: Encoder | None = None
    name: str = "any value"
    forms: tuple[Form, ...] = (ANY_FORM,)

    @property
    def converted(self) -> bool:
        """Whether it has values of a type that JSON lacks."""
        return any(form.converted for form in self.forms)


def to_int(value: Any) -> int:
    """Return a JSON number as an int.

    :raises Mismatch: when it is not a number, has a fraction, or is an integral float beyond 2^53.
    """
    if type(value) is int:
        return value
    if type(value) is float and value.is_integer() and abs(value) <= _LARGEST_INTEGRAL_FLOAT:
        return int(value)
    raise Mismatch("int", value)


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
            raise Mismatch("float", value) from None
    raise Mismatch("float", value)


def exactly(kind: type, name: str = "") -> Converter:
    """Return a converter that accepts values of this class only, without subclasses."""
    name = name or kind.__name__

    def convert(value: Any) -> Any:
        if type(value) is kind:
            return value
        raise Mismatch(name, value)

    return convert


to_str, to_list, to_dict, to_none = exactly(str), exactly(list), exactly(dict), exactly(type(None), "None")


def to_tuple(value: Any) -> tuple[Any, ...]:
    """Return a JSON list as a tuple.

    :raises Mismatch: when it is not a list.
    """
    if type(value) is not list:
        raise Mismatch("tuple", value)
    return tuple(value)


ANY = Conversion()
INT = Conversion(to_int, None, "int", (Form("number"),))
_ANY_LIST = (Form("list", items=(ANY_FORM,)),)
DICT = Conversion(to_dict, None, "dict", (Form("object"),))
LIST = Conversion(to_list, None, "list", _ANY_LIST)
TUPLE = Conversion(to_tuple, None, "tuple", _ANY_LIST)


def literal(choices: Sequence[object], name: str) -> Conversion:
    """Return the conversion of a ``Literal`` with these choices."""

    def convert(value: Any) -> Any:
        if type(value) is float and value.is_integer():
            value = to_int(value)
        # True == 1 in Python, but not in JSON.
        for choice in choices:
            if choice == value and type(choice) is type(value):
                return value
        raise Mismatch(name, value)

    return Conversion(convert, None, name, forms_of_choices(choices, converted=False))


def forms_of_choices(choices: Iterable[object], *, converted: bool) -> tuple[Form, ...]:
    """Return the forms of JSON values that are the only ones of their type."""
    kinds: dict[Kind, set[object]] = {}
    for choice in choices:
        kinds.setdefault(kind_of(choice), set()).add(choice)
    return tuple(Form(kind, converted, choices=frozenset(each)) for kind, each in kinds.items())


def convert_each(convert: Callable[[Any], Any] | None, items: Iterable[Any]) -> list[Any]:
    """Return the items converted.

    :raises ConversionError: when one cannot be; its path then has the item's index.
    """
    if convert is None:
        return list(items)
    converted: list[Any] = []
    try:
        for item in items:
            converted.append(convert(item))  # noqa: PERF401  # the error needs the index
    except ConversionError as error:
        error.path.append(len(converted))
        raise
    return converted


def convert_values(converters: Mapping[str, Callable[[Any], Any]], values: Mapping[str, Any]) -> dict[str, Any]:
    """Return an object's values converted, each by the converter of its key. Those without one are kept.

    :raises ConversionError: when one cannot be; its path then has the value's key.
    """
    converted = {}
    for key, value in values.items():
        convert = converters.get(key)
        try:
            converted[key] = value if convert is None else convert(value)
        except ConversionError as error:
            error.path.append(key)
            raise
    return converted


def list_of(item: Conversion) -> Conversion:
    """Return the conversion of a list."""
    return LIST if item.convert is None else sequence_of(list, list, item, f"list[{item.name}]")


def sequence_of(make: Callable[[Any], Any], kind: type[Any], item: Conversion, name: str) -> Conversion:
    """Return the conversion of a type that is a list in JSON.

    :param make: makes a value from a list.
    :param kind: the class of the values to encode.
    """
    convert_item, encode_item = item.convert, item.encode

    def convert(value: Any) -> Any:
        if type(value) is not list:
            raise Mismatch(name, value)
        return make(convert_each(convert_item, value))

    def encode(value: Any) -> Any:
        if not isinstance(value, (kind, list, tuple)):
            return value
        return convert_each(encode_item, value)

    return Conversion(convert, encode if encode_item is not None or kind is not list else None, name, _list_form(item))


def _list_form(*items: Conversion) -> tuple[Form, ...]:
    forms = tuple(form for item in items for form in item.forms)
    return (Form("list", any(form.converted for form in forms), items=forms),)


def set_of(make: type, item: Conversion) -> Conversion:
    """Return the conversion of a set, which is a list in JSON.

    :param make: ``set`` or ``frozenset``.
    """
    convert_item, encode_item, name = item.convert, item.encode, f"{make.__name__}[{item.name}]"

    def convert(value: Any) -> Any:
        if type(value) is not list:
            raise Mismatch(name, value)
        items = convert_each(convert_item, value)
        try:
            return make(items)
        except TypeError as error:  # an item that is a list or an object
            raise Mismatch(name, value, str(error)) from None

    def encode(value: Any) -> Any:
        if not isinstance(value, (collections.abc.Set, list, tuple)):
            return value
        items = convert_each(encode_item, value)
        return _sorted(items) if isinstance(value, collections.abc.Set) else items

    return Conversion(convert, encode, name, _list_form(item))


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
    if make is dict and keys.convert is None and values.convert is None:
        return DICT
    name = f"{make.__name__}[{'str' if keys is ANY else keys.name}, {values.name}]"

    def convert(value: Any) -> Any:
        if type(value) is not dict:
            raise Mismatch(name, value)
        return make(_convert_items(keys.convert, values.convert, value))

    def encode(value: Any) -> Any:
        return _convert_items(keys.encode, values.encode, value) if isinstance(value, Mapping) else value

    converted = values.converted or keys.converted
    form = Form("object", converted, items=values.forms)
    return Conversion(convert, encode if keys.encode or values.encode or make is not dict else None, name, (form,))


def _convert_items(
    convert_key: Callable[[Any], Any] | None, convert_value: Callable[[Any], Any] | None, items: Mapping[Any, Any]
) -> dict[Any, Any]:
    converted = {}
    for key, value in items.items():
        try:
            one = key if convert_key is None else convert_key(key)
            converted[one] = value if convert_value is None else convert_value(value)
        except ConversionError as error:
            error.path.append(key)
            raise
    return converted


def _int_key(key: str) -> int:
    try:
        number = int(key)
    except ValueError:
        raise Mismatch("int as the key", key) from None
    # One text for each number: 05, +5 and 1_000 would be other texts of 5 and 1000.
    if str(number) != key:
        raise Mismatch("int as the key", key)
    return number


INT_KEYS = Conversion(_int_key, lambda key: str(key) if type(key) is int else key, "int")


def tuple_of(items: Sequence[Conversion]) -> Conversion:
    """Return the conversion of a tuple of a fixed length, which is a list in JSON."""
    name = f"tuple[{', '.join(item.name for item in items) or '()'}]"

    def each(converters: Sequence[Callable[[Any], Any] | None], value: Sequence[Any]) -> list[Any]:
        pairs = zip(converters, value, strict=True)
        return convert_each(lambda pair: pair[1] if pair[0] is None else pair[0](pair[1]), pairs)

    def convert(value: Any) -> Any:
        if type(value) is not list or len(value) != len(items):
            raise Mismatch(name, value)
        return tuple(each([item.convert for item in items], value))

    def encode(value: Any) -> Any:
        if not isinstance(value, (tuple, list)) or len(value) != len(items):
            return value
        return each([item.encode for item in items], value)

    return Conversion(convert, encode if any(item.encode for item in items) else None, name, _list_form(*items))


def typed_dict_of(
    items: Mapping[str, Conversion], required: set[str], name: str, annotations: Mapping[str, Any]
) -> Conversion:
    """Return the conversion of a ``TypedDict``. Keys that it does not name are kept.

    :param required: names of the items that must be there.
    :param annotations: the annotation of each item.
    """
    converters = {key: item.convert for key, item in items.items() if item.convert is not None}
    encoders = {key: item.encode for key, item in items.items() if item.encode is not None}

    def convert(value: Any) -> Any:
        if type(value) is not dict:
            raise Mismatch(name, value)
        if not required <= value.keys():
            raise Mismatch(name, value, lacks(required, value))
        return convert_values(converters, value)

    def encode(value: Any) -> Any:
        return convert_values(encoders, value) if isinstance(value, Mapping) else value

    converted = any(item.converted for item in items.values())
    form = Form("object", converted, keys=frozenset(items), tags=tags_of(annotations))
    return Conversion(convert, encode if encoders else None, name, (form,))


def lacks(required: Iterable[str], value: Mapping[str, Any]) -> str:
    """Return the reason for an object that lacks required keys."""
    return f"{', '.join(repr(key) for key in required if key not in value)} is missing"
