"""Job arguments against Python annotations: what JSON holds, converted as gocraft/work converts it, and back.

An integral float is an int up to 2^53, an int is a float, a bool is neither; everything else must fit as it is. What
JSON has no type for is written in the one form that it has there: a set, a deque or a tuple as a list, a Counter as an
object, keys that are ints as decimal text.
"""

from __future__ import annotations

import collections
import collections.abc
import inspect
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, Union

from ..errors import HandlerError, JobArgumentError

# Takes a decoded JSON value and returns it as the annotation wants it, or raises Mismatch.
Converter = Callable[[Any], Any]
# Takes a value of an annotated type and returns it as JSON has it. What is of another type it returns as it is.
Encoder = Callable[[Any], Any]

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
    return annotation.__name__ if isinstance(annotation, type) else str(annotation).replace("typing.", "")


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


@dataclass(frozen=True, slots=True)
class _Form:
    """How values of an annotation are read from JSON, and written to it; ``None`` where they stay as they are."""

    read: Converter | None = None
    write: Encoder | None = None


def _to_tuple(value: Any) -> tuple[Any, ...]:
    return tuple(_exactly(list)(value))


_ANY = _Form()
_LIST = _Form(_exactly(list))
_DICT = _Form(_exactly(dict))
_SIMPLE: dict[object, Converter] = {
    int: _to_int,
    float: _to_float,
    str: _exactly(str),
    bool: _exactly(bool),
    None: _exactly(type(None)),
    type(None): _exactly(type(None)),
    list: _exactly(list),
    dict: _exactly(dict),
    tuple: _to_tuple,
    typing.LiteralString: _exactly(str),
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
_DICTS = (dict, collections.abc.Mapping, collections.abc.MutableMapping)
# What a list in JSON becomes for each.
_SETS = {
    set: set,
    frozenset: frozenset,
    collections.abc.Set: frozenset,
    collections.abc.MutableSet: set,
}
# They say something about a type, not what it is.
_QUALIFIERS = tuple(
    getattr(typing, name) for name in ("Final", "Required", "NotRequired", "ReadOnly") if hasattr(typing, name)
)


def converter(annotation: object) -> Converter | None:
    """Return what checks and converts a JSON value for ``annotation``, or ``None`` where any value will do.

    :raises HandlerError: when no JSON value can ever be of that type, such as ``datetime``.
    """
    if annotation in (Any, object):
        return None
    simple = _simple(annotation)
    return _form(annotation, {}).read if simple is None else simple


def encoder(annotation: object) -> Encoder | None:
    """Return what writes a value of ``annotation`` in JSON's types, or ``None`` where it stays as it is.

    :raises HandlerError: when no JSON value can ever be of that type, such as ``datetime``.
    """
    return _form(annotation, {}).write


# The forms of TypedDicts and of named types, for they may contain themselves: ``None`` while one is being made.
_Known = dict[object, _Form | None]


def _simple(annotation: Any) -> Converter | None:
    try:
        return _SIMPLE.get(annotation)
    except TypeError:  # not hashable, such as Annotated with a list in it
        return None


def _form(annotation: Any, known: _Known) -> _Form:
    if annotation in (Any, object, inspect.Parameter.empty):
        return _ANY
    origin, parameters = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated or origin in _QUALIFIERS:
        return _form(parameters[0], known)
    if origin in (Union, types.UnionType):
        return _union(parameters, known)
    if origin is Literal:
        return _literal(annotation, parameters)
    if isinstance(annotation, typing.NewType):
        return _form(annotation.__supertype__, known)
    if isinstance(annotation, typing.TypeVar):
        return _type_variable(annotation, known)
    if (simple := _simple(annotation)) is not None:
        return _Form(simple)
    if hasattr(annotation, "__value__") and hasattr(annotation, "__type_params__"):  # type X = …
        return _once(annotation, known, lambda: _form(annotation.__value__, known))
    if typing.is_typeddict(annotation):
        return _once(annotation, known, lambda: _typed_dict(annotation, known))
    if annotation is typing.Tuple:  # noqa: UP006  # its parts look like those of tuple[()]
        return _Form(_to_tuple)
    return _container(annotation, origin or annotation, parameters, known)


def _container(annotation: Any, kind: Any, parameters: tuple[Any, ...], known: _Known) -> _Form:
    if kind in (typing.Never, typing.NoReturn):
        raise HandlerError(_no_form(annotation))
    if not isinstance(kind, type):  # what only a type checker knows, such as a name that was imported for it alone
        return _ANY
    listed = kind in _LISTS or kind in _SETS or kind is collections.deque
    first = _form(parameters[0], known) if listed and parameters else _ANY
    if kind in _LISTS:
        return _list_of(first)
    if kind is tuple:
        return _tuple_of(parameters, known)
    if kind in _SETS:
        return _set_of(_SETS[kind], first)
    if kind is collections.deque:
        return _listed(collections.deque, collections.deque, first)
    if kind is collections.Counter:
        return _mapping(collections.Counter, parameters, _Form(_to_int), annotation, known)
    if kind in _DICTS or kind is collections.OrderedDict:
        values = _form(parameters[1], known) if len(parameters) > 1 else _ANY
        return _mapping(dict if kind in _DICTS else collections.OrderedDict, parameters, values, annotation, known)
    raise HandlerError(_no_form(annotation))


def _no_form(annotation: object) -> str:
    return (
        f"JSON has no {type_name(annotation)}: take str, int, float, bool, None, list, dict, tuple, set, deque, "
        "Counter, a TypedDict or a union of these, and convert it in the handler"
    )


def _type_variable(variable: typing.TypeVar, known: _Known) -> _Form:
    if variable.__constraints__:
        return _union(variable.__constraints__, known)
    return _ANY if variable.__bound__ is None else _form(variable.__bound__, known)


def _union(members: tuple[object, ...], known: _Known) -> _Form:
    forms = [_form(member, known) for member in members]
    writers = [form.write for form in forms if form.write is not None]

    def write(value: Any) -> Any:
        for one in writers:
            written = one(value)
            if written is not value:
                return written
        return value

    readers = [form.read for form in forms if form.read is not None]
    # A value that is already of one of the types must not be converted to another: `float | int` keeps 1 an int.
    exact = {member for member in members if member in (int, float, str, bool, type(None), list, dict)}

    def read(value: Any) -> Any:
        if type(value) in exact:
            return value
        for one in readers:
            try:
                return one(value)
            except Mismatch:
                continue
        raise Mismatch

    return _Form(read if len(readers) == len(forms) else None, write if writers else None)


def _literal(annotation: object, choices: tuple[object, ...]) -> _Form:
    for choice in choices:
        if type(choice) not in (str, int, bool, type(None)):
            raise HandlerError(f"JSON has no {choice!r}, of {type_name(annotation)}: choose among str, int, bool, None")

    def read(value: Any) -> Any:
        if type(value) is float and value.is_integer():
            value = _to_int(value)
        # True == 1 in Python, but not in JSON.
        for choice in choices:
            if choice == value and type(choice) is type(value):
                return value
        raise Mismatch

    return _Form(read)


def _list_of(item: _Form) -> _Form:
    if item.read is None:
        return _LIST
    return _listed(list, list, item)


def _listed(make: Callable[[Any], Any], kind: type[Any], item: _Form) -> _Form:
    """Return the form of what is made of a list, and written as one."""
    read_item, write_item = item.read, item.write

    def read(value: Any) -> Any:
        if type(value) is not list:
            raise Mismatch
        return make(value if read_item is None else [read_item(one) for one in value])

    def write(value: Any) -> Any:
        if not isinstance(value, (kind, list, tuple)):
            return value
        return list(value) if write_item is None else [write_item(one) for one in value]

    return _Form(read, write if write_item is not None or kind is not list else None)


def _set_of(make: type, item: _Form) -> _Form:
    read_list, write_item = _listed(list, list, item).read, item.write
    assert read_list is not None

    def read(value: Any) -> Any:
        try:
            return make(read_list(value))
        except TypeError:  # a list or an object in it
            raise Mismatch from None

    def write(value: Any) -> Any:
        if not isinstance(value, (collections.abc.Set, list, tuple)):
            return value
        items = list(value) if write_item is None else [write_item(one) for one in value]
        return _ordered(items) if isinstance(value, collections.abc.Set) else items

    return _Form(read, write)


def _ordered(items: list[Any]) -> list[Any]:
    """Return the items of a set in an order that is the same in every process: a unique key is made of them."""
    try:
        return sorted(items)
    except TypeError:
        return sorted(items, key=lambda item: (type(item).__name__, repr(item)))


def _mapping(make: type, parameters: tuple[Any, ...], values: _Form, annotation: object, known: _Known) -> _Form:
    keys = _keys(parameters[0] if parameters else Any, annotation, known)
    read_key, read_value, write_value = keys.read, values.read, values.write
    if make is dict and read_key is None and read_value is None:
        return _DICT

    def read(value: Any) -> Any:
        if type(value) is not dict:
            raise Mismatch
        return make(
            {
                key if read_key is None else read_key(key): one if read_value is None else read_value(one)
                for key, one in value.items()
            }
        )

    def write(value: Any) -> Any:
        if not isinstance(value, Mapping):
            return value
        return {
            key if keys.write is None else keys.write(key): one if write_value is None else write_value(one)
            for key, one in value.items()
        }

    return _Form(read, write if keys.write or write_value or make is not dict else None)


def _keys(annotation: object, mapping: object, known: _Known) -> _Form:
    """Return the form of the keys of an object, which JSON has as text."""
    form = _form(annotation, known)
    if form.read is None or form.read in (_SIMPLE[str], _SIMPLE[typing.LiteralString]):
        return _ANY
    if form.read is _to_int:
        return _Form(_read_whole_key, lambda key: str(key) if type(key) is int else key)
    if typing.get_origin(annotation) is Literal and all(type(each) is str for each in typing.get_args(annotation)):
        return form
    raise HandlerError(
        f"{type_name(mapping)} cannot be told from JSON, where keys are text: take str or int as its keys, and convert "
        "them in the handler"
    )


def _read_whole_key(key: str) -> int:
    try:
        number = int(key)
    except ValueError:
        raise Mismatch from None
    # One number, one text: 05, +5 and 1_000 would be second ones.
    if str(number) != key:
        raise Mismatch
    return number


def _tuple_of(parameters: tuple[Any, ...], known: _Known) -> _Form:
    if len(parameters) == 2 and parameters[1] is Ellipsis:
        return _listed(tuple, tuple, _form(parameters[0], known))
    forms = [_form(parameter, known) for parameter in parameters]

    def fits(value: Sequence[Any]) -> bool:
        return len(value) == len(forms)

    def read(value: Any) -> Any:
        if type(value) is not list or not fits(value):
            raise Mismatch
        return tuple(v if one.read is None else one.read(v) for one, v in zip(forms, value, strict=True))

    def write(value: Any) -> Any:
        if not isinstance(value, (tuple, list)) or not fits(value):
            return value
        return [v if one.write is None else one.write(v) for one, v in zip(forms, value, strict=True)]

    return _Form(read, write if any(one.write for one in forms) else None)


def _typed_dict(annotation: Any, known: _Known) -> _Form:
    fields = typed_dict_fields(annotation)
    if fields is None:
        return _DICT
    members = {name: _form(hint, known) for name, (hint, _) in fields.items()}
    needed = {name for name, (_, required) in fields.items() if required}
    readers = {name: form.read for name, form in members.items() if form.read is not None}
    writers = {name: form.write for name, form in members.items() if form.write is not None}

    def read(value: Any) -> Any:
        if type(value) is not dict or not needed <= value.keys():
            raise Mismatch
        return {key: readers[key](one) if key in readers else one for key, one in value.items()}

    def write(value: Any) -> Any:
        if not isinstance(value, Mapping):
            return value
        return {key: writers[key](one) if key in writers else one for key, one in value.items()}

    return _Form(read, write if writers else None)


def typed_dict_fields(annotation: Any) -> dict[str, tuple[Any, bool]] | None:
    """Return the types of a TypedDict's items by name, and whether each is required; ``None`` when its annotations name
    what exists for type checkers only."""
    try:
        hints = typing.get_type_hints(annotation, include_extras=True)
    except Exception:
        return None
    fields = {}
    for name, hint in hints.items():
        # What Python itself says of that is wrong where annotations are kept as text.
        said = {typing.Required: True, typing.NotRequired: False}
        fields[name] = hint, said.get(typing.get_origin(hint), name in annotation.__required_keys__)
    return fields


def _once(annotation: object, known: _Known, make: Callable[[], _Form]) -> _Form:
    """Return the form of what may contain itself: within, it is looked up when values are read and written."""
    if annotation in known:
        later = _Form(partial(_later, known, annotation, "read"), partial(_later, known, annotation, "write"))
        return known[annotation] or later
    known[annotation] = None
    form = known[annotation] = make()
    return form


def _later(known: _Known, annotation: object, way: str, value: Any) -> Any:
    convert = getattr(known[annotation], way)
    return value if convert is None else convert(value)


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
        raise JobArgumentError(wrong_type(key, wanted, value)) from None


def wrong_type(key: str, wanted: object, value: object) -> str:
    """Return the message for a value of another type than was wanted."""
    return f"argument {key!r} has the wrong type: wanted {type_name(wanted)}, found {describe(value)}"
