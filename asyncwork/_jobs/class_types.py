"""Conversions of classes with fields: dataclasses and attrs classes are objects in JSON, a ``NamedTuple`` is a list.

A class's fields are those that its constructor takes. Fields with a default may be absent from the JSON, so that a new
one can be added while jobs wait. A ``NamedTuple`` is a list because a tuple is one everywhere else, too.

attrs is never imported: a class of attrs brings its own description.
"""

from __future__ import annotations

import dataclasses
import inspect
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ..errors import HandlerError
from .conversions import Conversion, convert_each, convert_values, lacks
from .json_forms import Form, tags_of
from .mismatch import Mismatch, NotWritable, names_of
from .names import suggestion

# The errors by which a constructor refuses values. Other errors may be gone at the next attempt.
_INVALID = (ValueError, TypeError, AssertionError)


@dataclass(frozen=True, slots=True)
class Field:
    """A field that the constructor of a class takes.

    :ivar name: the constructor's name for it, which is the key in JSON.
    :ivar attribute: the attribute that holds it.
    :ivar required: whether it has no default.
    """

    name: str
    attribute: str
    required: bool


def fields_of(kind: type) -> list[Field] | None:
    """Return the fields of a dataclass, attrs class or ``NamedTuple``, or ``None`` for any other class.

    :raises HandlerError: when the class cannot be made of its fields.
    """
    if (attributes := getattr(kind, "__attrs_attrs__", None)) is not None:
        nothing = sys.modules["attr"].NOTHING
        # Before attrs 22.2 a field has no alias.
        names = {each.name: getattr(each, "alias", None) or each.name.lstrip("_") for each in attributes if each.init}
        fields = [Field(names[each.name], each.name, each.default is nothing) for each in attributes if each.init]
    elif dataclasses.is_dataclass(kind):
        missing = dataclasses.MISSING
        fields = [
            Field(each.name, each.name, each.default is missing and each.default_factory is missing)
            for each in dataclasses.fields(kind)
            if each.init
        ]
    elif is_named_tuple(kind):
        fields = [Field(name, name, name not in kind._field_defaults) for name in kind._fields]  # type: ignore[attr-defined]
    else:
        return None
    _check_constructor(kind, fields)
    return fields


def is_named_tuple(kind: type) -> bool:
    """Return whether a class is a ``NamedTuple``."""
    return issubclass(kind, tuple) and hasattr(kind, "_fields") and hasattr(kind, "_field_defaults")


def _check_constructor(kind: type, fields: list[Field]) -> None:
    if inspect.isabstract(kind):
        raise HandlerError(f"{kind.__name__} is abstract: take its subclasses, such as A | B")
    try:
        inspect.signature(kind).bind(**{each.name: None for each in fields})
    except TypeError as error:
        raise HandlerError(
            f"{kind.__name__} cannot be made of its fields {names_of(each.name for each in fields)} ({error}): take "
            "what its constructor takes, and make it in the handler"
        ) from None


def form_of(kind: type, fields: list[Field], types: Mapping[str, Any]) -> Form:
    """Return the form of a class in JSON.

    :param types: the annotations of its fields, by attribute.
    """
    if is_named_tuple(kind):
        return Form("list", True, items=(Form("any", True),))
    tags = tags_of({each.name: types[each.attribute] for each in fields if each.attribute in types})
    return Form("object", True, keys=frozenset(each.name for each in fields), tags=tags)


def class_of(
    kind: type, fields: list[Field], items: Mapping[str, Conversion], form: Form, *, forbid_unknown: bool
) -> Conversion:
    """Return the conversion of a class with fields.

    :param items: the conversion of each field, by its name.
    :param form: as :func:`form_of` returns it.
    :param forbid_unknown: whether an object with other keys than the fields is refused; they are ignored otherwise.
    """
    if is_named_tuple(kind):
        return _named_tuple_of(kind, [items[each.name] for each in fields], fields, form)
    converters = {key: each.convert for key, each in items.items() if each.convert is not None}
    encoders = {key: each.encode for key, each in items.items() if each.encode is not None}
    required = [each.name for each in fields if each.required]
    attributes = {each.name: each.attribute for each in fields}

    def convert(value: Any) -> Any:
        if type(value) is not dict:
            raise Mismatch(f"{kind.__name__} as an object", value)
        if not value.keys() <= items.keys():
            if forbid_unknown:
                raise Mismatch(kind.__name__, value, _unknown(value, items))
            value = {key: one for key, one in value.items() if key in items}
        if not value.keys() >= set(required):
            raise Mismatch(kind.__name__, value, lacks(required, value))
        return _make(kind, convert_values(converters, value), value)

    def encode(value: Any) -> Any:
        if not is_instance(value, kind):
            return value
        return convert_values(encoders, {key: getattr(value, attribute) for key, attribute in attributes.items()})

    return Conversion(convert, encode, kind.__name__, (form,))


def _named_tuple_of(kind: type, items: list[Conversion], fields: list[Field], form: Form) -> Conversion:
    shortest = sum(each.required for each in fields)
    wanted = f"{kind.__name__} as a list of {names_of(each.name for each in fields)}"

    def convert(value: Any) -> Any:
        if type(value) is not list or not shortest <= len(value) <= len(items):
            raise Mismatch(wanted, value)
        pairs = zip(items, value, strict=False)
        converted = convert_each(lambda pair: pair[1] if pair[0].convert is None else pair[0].convert(pair[1]), pairs)
        return _make(kind, {each.name: one for each, one in zip(fields, converted, strict=False)}, value)

    def encode(value: Any) -> Any:
        if not is_instance(value, kind):
            return value
        pairs = zip(items, value, strict=True)
        return convert_each(lambda pair: pair[1] if pair[0].encode is None else pair[0].encode(pair[1]), pairs)

    return Conversion(convert, encode, kind.__name__, (form,))


def _make(kind: Callable[..., Any], arguments: dict[str, Any], value: Any) -> Any:
    try:
        return kind(**arguments)
    except _INVALID as error:
        raise Mismatch(getattr(kind, "__name__", ""), value, str(error)) from error


def _unknown(value: dict[str, Any], names: Mapping[str, object]) -> str:
    key = next(key for key in value if key not in names)
    return f"it has no field {key!r}, but {names_of(names)}{suggestion(key, names)}"


def is_instance(value: object, kind: type) -> bool:
    """Return whether a value is of a class, and of no subclass.

    :raises NotWritable: for a value of a subclass. It would arrive as an instance of the class, and lose what the
        subclass adds.
    """
    if type(value) is kind:
        return True
    if isinstance(value, kind):
        name = type(value).__name__
        raise NotWritable(
            f"{name} is a subclass of {kind.__name__}, as which it would arrive; annotate the parameter with {name}, "
            f"or with {kind.__name__} | {name}"
        )
    return False
