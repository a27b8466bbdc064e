"""Forms of JSON values, by which the members of a union are distinguished when a handler is registered.

Two members may share a form if their values are the same in Python and JSON, such as ``str`` and ``Literal["a"]``. If
one of them is a type that JSON lacks, such as ``datetime``, the union is refused. Taking the first member that fits
would make the type of a value depend on its content: a ``str`` that happens to look like a date would arrive as a
``datetime``, on some days only.
"""

from __future__ import annotations

import enum
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any, Literal

from .mismatch import Mismatch

Kind = Literal["any", "null", "bool", "number", "text", "list", "object"]
# Formats of text that some texts have in common, such as "2026".
_SHARED_TEXTS = ({"base64", "decimal"},)


@dataclass(frozen=True, slots=True)
class Form:
    """A form that the JSON values of a type have.

    :ivar converted: whether Python's values are of a type that JSON lacks.
    :ivar format: the format of a text; empty for any text.
    :ivar choices: the only values there are; ``None`` if there are others.
    :ivar accepts: raises :exc:`Mismatch` for values that do not have this form; ``None`` if all of the kind have it.
    :ivar items: the forms of a list's items or of a mapping's values.
    :ivar keys: the keys of an object; ``None`` if it may have any.
    :ivar tags: the choices of those keys that have few.
    """

    kind: Kind
    converted: bool = False
    format: str = ""
    choices: frozenset[Any] | None = None
    accepts: Callable[[Any], Any] | None = None
    items: tuple[Form, ...] = ()
    keys: frozenset[str] | None = None
    tags: Mapping[str, frozenset[Any]] = field(default_factory=dict)


ANY_FORM = Form("any")
_KINDS: dict[type, Kind] = {
    type(None): "null",
    bool: "bool",
    int: "number",
    float: "number",
    str: "text",
    list: "list",
    dict: "object",
}


def kind_of(value: object) -> Kind:
    """Return the kind of a JSON value."""
    return _KINDS.get(type(value), "any")


def choices_of(annotation: Any) -> frozenset[Any] | None:
    """Return the JSON values of a ``Literal`` or an ``Enum``, or ``None`` for any other annotation."""
    if typing.get_origin(annotation) is typing.Annotated:
        annotation = typing.get_args(annotation)[0]
    if typing.get_origin(annotation) is Literal:
        return frozenset(typing.get_args(annotation))
    if isinstance(annotation, enum.EnumMeta):
        try:
            return frozenset(member.value for member in annotation)  # type: ignore[var-annotated]
        except TypeError:  # a value that is not hashable, which is refused elsewhere
            return None
    return None


def tags_of(annotations: Mapping[str, Any]) -> dict[str, frozenset[Any]]:
    """Return the choices of the fields that have few, by their keys in JSON."""
    choices = {key: choices_of(annotation) for key, annotation in annotations.items()}
    return {key: each for key, each in choices.items() if each is not None}


def find_overlap(members: list[tuple[Form, ...]]) -> tuple[int, int, Form] | None:
    """Return two members that cannot be distinguished, and the form that they share; ``None`` if there are none."""
    for (one, first), (other, second) in combinations(enumerate(members), 2):
        for left in first:
            for right in second:
                if _overlap(left, right):
                    return one, other, right if left.kind == "any" else left
    return None


def _overlap(one: Form, other: Form) -> bool:
    if not (one.converted or other.converted):
        return False
    if "any" in (one.kind, other.kind):
        return True
    if one.kind != other.kind:
        return False
    if one.kind == "list":
        return _any_overlap(one.items, other.items)
    if one.kind == "object":
        return _objects_overlap(one, other)
    return _scalars_overlap(one, other)


def _scalars_overlap(one: Form, other: Form) -> bool:
    if one.choices is not None:
        return _accepts_any(other, one.choices)
    if other.choices is not None:
        return _accepts_any(one, other.choices)
    formats = {one.format, other.format}
    return len(formats) == 1 or "" in formats or formats in _SHARED_TEXTS


def _accepts_any(form: Form, values: frozenset[Any]) -> bool:
    if form.choices is not None:
        return not form.choices.isdisjoint(values)
    if form.accepts is None:
        return True
    return any(_fits(form.accepts, value) for value in values if kind_of(value) == form.kind)


def _fits(accepts: Callable[[Any], Any], value: object) -> bool:
    try:
        accepts(value)
    except Mismatch:
        return False
    return True


def _objects_overlap(one: Form, other: Form) -> bool:
    if any(one.tags[key].isdisjoint(other.tags[key]) for key in one.tags.keys() & other.tags.keys()):
        return False
    if one.keys is not None and other.keys is not None:
        return one.keys == other.keys
    return _any_overlap(one.items, other.items) if one.items and other.items else True


def _any_overlap(ones: tuple[Form, ...], others: tuple[Form, ...]) -> bool:
    return any(_overlap(one, other) for one in ones for other in others)
