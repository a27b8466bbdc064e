"""Types of job arguments: which conversion an annotation calls for."""

from __future__ import annotations

import collections
import collections.abc
import dataclasses
import enum
import inspect
import types
import typing
from collections.abc import Callable, Mapping
from functools import lru_cache, partial
from pathlib import PurePath
from typing import Any, Literal, Union

from ..errors import HandlerError
from .class_types import class_of, fields_of, form_of
from .constraints import constrained
from .conversions import (
    ANY,
    DICT,
    INT,
    INT_KEYS,
    LIST,
    TUPLE,
    Conversion,
    exactly,
    list_of,
    literal,
    mapping_of,
    sequence_of,
    set_of,
    to_float,
    to_int,
    to_none,
    to_str,
    tuple_of,
    typed_dict_of,
)
from .field_types import field_types
from .json_forms import Form
from .mismatch import type_name
from .model_types import model_of
from .read_back import reading_back
from .standard_types import STANDARD, enum_of, path_of
from .unions import union

_NONE = Conversion(to_none, None, "None", (Form("null"),))
_STR = Conversion(to_str, None, "str", (Form("text"),))
_SIMPLE: dict[object, Conversion] = {
    int: INT,
    float: Conversion(to_float, None, "float", (Form("number"),)),
    str: _STR,
    bool: Conversion(exactly(bool), None, "bool", (Form("bool"),)),
    None: _NONE,
    type(None): _NONE,
    list: LIST,
    dict: DICT,
    tuple: TUPLE,
    typing.LiteralString: _STR,
    **STANDARD,
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
# Qualifiers of a type, which are not types themselves.
_QUALIFIERS = tuple(
    getattr(typing, name) for name in ("Final", "Required", "NotRequired", "ReadOnly") if hasattr(typing, name)
)


def conversion(annotation: object, *, forbid_unknown: bool = False) -> Conversion:
    """Return how values of ``annotation`` are read from JSON and written to it.

    :param forbid_unknown: whether a class refuses an object with other keys than its fields.
    :raises HandlerError: when no JSON value can ever be of that type, such as a function, or when the members of a
        union cannot be distinguished.
    """
    simple = _simple(annotation)  # the quickest, for Job.arg
    return _conversion(annotation, _Making(forbid_unknown)) if simple is None else simple


def _simple(annotation: Any) -> Conversion | None:
    try:
        return _SIMPLE.get(annotation)
    except TypeError:  # not hashable, such as Annotated with a list in it
        return None


@dataclasses.dataclass(slots=True)
class _Making:
    """The state while the conversion of one annotation is made.

    :ivar recursive: conversions of types that may contain themselves (classes and named types), by annotation; ``None``
        while one is being made.
    :ivar owner: the class whose fields are being made, which is what ``Self`` stands for.
    """

    forbid_unknown: bool = False
    recursive: dict[object, Conversion | None] = dataclasses.field(default_factory=dict)
    owner: Any = None


def _conversion(annotation: Any, making: _Making) -> Conversion:
    if annotation in (Any, object, inspect.Parameter.empty):
        return ANY
    if (simple := _simple(annotation)) is not None:
        return simple
    origin, parameters = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated:
        return constrained(_conversion(parameters[0], making), annotation)
    if origin in _QUALIFIERS:
        return _conversion(parameters[0], making)
    if origin in (Union, types.UnionType):
        return _union(annotation, parameters, making)
    if origin is Literal:
        return _literal(annotation, parameters)
    if isinstance(annotation, typing.NewType):
        return _conversion(annotation.__supertype__, making)
    if isinstance(annotation, typing.TypeVar):
        return _type_variable(annotation, making)
    if annotation is typing.Self and making.owner is not None:
        return _conversion(making.owner, making)
    if hasattr(annotation, "__value__") and hasattr(annotation, "__type_params__"):  # type X = …
        return _once(annotation, making, (), lambda: _conversion(annotation.__value__, making))
    if typing.is_typeddict(origin or annotation):
        form = Form("object")
        return _once(annotation, making, (form,), lambda: _typed_dict(annotation, making))
    if annotation is typing.Tuple:  # noqa: UP006  # its parts look like those of tuple[()]
        return TUPLE
    return _class(annotation, making) or _container(annotation, origin or annotation, parameters, making)


def _class(annotation: Any, making: _Making) -> Conversion | None:
    """Return the conversion of a class that an application defines, or of a path; ``None`` for another type."""
    kind = typing.get_origin(annotation) or annotation
    if not isinstance(kind, type) or kind.__module__ in ("builtins", "collections", "collections.abc"):
        return None
    if making.owner is not None:  # it is read back as a part of that class
        return _class_within(annotation, kind, making)
    if making.recursive:
        return _outermost(_class_within(annotation, kind, making))
    return _class_alone(annotation, kind, making.forbid_unknown)


@lru_cache(maxsize=1024)  # for Job.arg, which asks for each job
def _class_alone(annotation: Any, kind: type, forbid_unknown: bool) -> Conversion | None:
    return _outermost(_class_within(annotation, kind, _Making(forbid_unknown)))


def _outermost(made: Conversion | None) -> Conversion | None:
    has_fields = made is not None and any(form.kind in ("object", "list", "any") for form in made.forms)
    return reading_back(made) if made is not None and has_fields else made


def _class_within(annotation: Any, kind: type, making: _Making) -> Conversion | None:
    if issubclass(kind, enum.Enum):
        return enum_of(kind)
    if issubclass(kind, PurePath):
        return path_of(kind)
    if (model := model_of(annotation)) is not None:
        return model
    fields = fields_of(kind)
    if fields is None:
        return None
    attributes = field_types(annotation)
    form = form_of(kind, fields, attributes)

    def make() -> Conversion:
        owner, making.owner = making.owner, annotation
        items = {each.name: _conversion(attributes.get(each.attribute, Any), making) for each in fields}
        making.owner = owner
        return class_of(kind, fields, items, form, forbid_unknown=making.forbid_unknown)

    return _once(annotation, making, (form,), make)


def _union(annotation: object, members: tuple[object, ...], making: _Making) -> Conversion:
    exact = frozenset(each for each in (int, float, str, bool, type(None), list, dict) if each in members)
    return union([_conversion(member, making) for member in members], exact, type_name(annotation))


def _literal(annotation: object, choices: tuple[object, ...]) -> Conversion:
    for choice in choices:
        if type(choice) not in (str, int, bool, type(None)):
            raise HandlerError(f"JSON has no {choice!r}, of {type_name(annotation)}: choose among str, int, bool, None")
    return literal(choices, type_name(annotation))


def _type_variable(variable: typing.TypeVar, making: _Making) -> Conversion:
    if variable.__constraints__:
        return _union(variable, variable.__constraints__, making)
    return ANY if variable.__bound__ is None else _conversion(variable.__bound__, making)


def _container(annotation: Any, kind: Any, parameters: tuple[Any, ...], making: _Making) -> Conversion:
    if kind in (typing.Never, typing.NoReturn):
        raise HandlerError(_not_in_json(annotation))
    if isinstance(kind, (str, typing.ForwardRef)):
        raise HandlerError(_unresolved(kind))
    if not isinstance(kind, type):  # a form of typing that no value is checked for
        return ANY
    if kind is tuple:
        return _tuple(parameters, making)
    if kind is collections.Counter:
        return mapping_of(collections.Counter, _keys(annotation, parameters, making), INT)
    if kind in _MAPPINGS:
        values = _conversion(parameters[1], making) if len(parameters) > 1 else ANY
        return mapping_of(_MAPPINGS[kind], _keys(annotation, parameters, making), values)
    if kind not in _LISTS and kind not in _SETS and kind is not collections.deque:
        raise HandlerError(_not_in_json(annotation))
    item = _conversion(parameters[0], making) if parameters else ANY
    if kind in _SETS and parameters and (typing.get_origin(parameters[0]) or parameters[0]).__hash__ is None:
        raise HandlerError(
            f"{type_name(annotation)} cannot be filled, because a {type_name(parameters[0])} cannot be in a set: take "
            f"list[{type_name(parameters[0])}], or a class that is frozen"
        )
    if kind in _LISTS:
        return list_of(item)
    if kind in _SETS:
        return set_of(_SETS[kind], item)
    return sequence_of(collections.deque, collections.deque, item, f"deque[{item.name}]")


def _unresolved(name: str | typing.ForwardRef) -> str:
    name = name if isinstance(name, str) else name.__forward_arg__
    return (
        f"the annotation {name!r} cannot be resolved: define or import what it names in the handler's module, outside "
        "of functions, and not only for type checkers"
    )


def _not_in_json(annotation: object) -> str:
    return (
        f"JSON has no {type_name(annotation)}: take str, int, float, bool, None, list, dict, tuple, set, deque, "
        "Counter, datetime, date, time, timedelta, UUID, Decimal, bytes, Path, an Enum, a dataclass, NamedTuple, "
        "TypedDict, attrs class, pydantic model, msgspec Struct or a union of these, and convert it in the handler"
    )


def _tuple(parameters: tuple[Any, ...], making: _Making) -> Conversion:
    if len(parameters) == 2 and parameters[1] is Ellipsis:
        item = _conversion(parameters[0], making)
        return sequence_of(tuple, tuple, item, f"tuple[{item.name}, ...]")
    return tuple_of([_conversion(parameter, making) for parameter in parameters])


def _keys(mapping: object, parameters: tuple[Any, ...], making: _Making) -> Conversion:
    """Return the conversion of a mapping's keys, which are text in JSON."""
    annotation = parameters[0] if parameters else Any
    keys = _conversion(annotation, making)
    if keys.convert is None or keys.convert is to_str:
        return ANY
    if keys.convert is to_int:
        return INT_KEYS
    if all(form.kind == "text" for form in keys.forms):
        return keys
    raise HandlerError(
        f"{type_name(mapping)} cannot be read from JSON, where keys are text: take str, int or a type that is text in "
        "JSON as its keys, and convert them in the handler"
    )


def _typed_dict(annotation: Any, making: _Making) -> Conversion:
    fields = typed_dict_fields(annotation)
    if fields is None:
        return DICT
    items = {name: _conversion(hint, making) for name, (hint, _) in fields.items()}
    required = {name for name, (_, needed) in fields.items() if needed}
    return typed_dict_of(items, required, type_name(annotation), {name: hint for name, (hint, _) in fields.items()})


def typed_dict_fields(annotation: Any) -> dict[str, tuple[Any, bool]] | None:
    """Return the type of each item of a TypedDict, and whether the item is required, by name.

    ``None`` when its annotations use names that only a type checker can resolve.
    """
    try:
        hints = field_types(annotation)
    except HandlerError:
        return None
    # Where annotations are kept as text, __required_keys__ ignores the item's own qualifier.
    qualified = {typing.Required: True, typing.NotRequired: False}
    required = (typing.get_origin(annotation) or annotation).__required_keys__
    return {name: (hint, qualified.get(typing.get_origin(hint), name in required)) for name, hint in hints.items()}


def _once(annotation: object, making: _Making, forms: tuple[Form, ...], make: Callable[[], Conversion]) -> Conversion:
    """Return the conversion of a type that may contain itself.

    Within the type, its own conversion is looked up when values are converted, because it is not complete before.

    :param forms: its forms, as far as they are known before it is made.
    """
    recursive = making.recursive
    if annotation in recursive:
        convert, encode = (partial(_apply, recursive, annotation, way) for way in ("convert", "encode"))
        return recursive[annotation] or Conversion(convert, encode, type_name(annotation), forms)
    recursive[annotation] = None
    conversion = recursive[annotation] = make()
    return conversion


def _apply(recursive: Mapping[object, Conversion | None], annotation: object, way: str, value: Any) -> Any:
    convert = getattr(recursive[annotation], way)
    return value if convert is None else convert(value)
