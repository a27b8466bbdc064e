"""Checks that a value of a class comes back equal from its JSON, made when the value is enqueued.

A class may write less than it holds: a field that is excluded, an attribute that its constructor does not take, or the
fields of a subclass. Its constructor may also change what it reads. The job would then run with another value, so the
value is read back at once and compared. Only values of classes with fields pay for it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from datetime import datetime
from typing import Any

from .._json import codec
from ..errors import ArgumentEncodingError
from .conversions import Conversion
from .mismatch import Mismatch, NotWritable

# The types that JSON itself has. A field may hold such a value for a type that JSON lacks, such as "2026-01-31" for a
# date.
_JSON_TYPES = frozenset({str, int, float, bool, type(None), list, dict})
# Parts of a pydantic model beside its fields. They are no part of the path in a message.
_MODEL_PARTS = ("__pydantic_extra__", "__pydantic_private__")


def reading_back(conversion: Conversion) -> Conversion:
    """Return the conversion of a class, whose values are read back when they are encoded.

    Its encoding then raises :exc:`NotWritable` for a value that would not come back equal.
    """
    convert, encode_unchecked, name = conversion.convert, conversion.encode, conversion.name
    assert convert is not None
    assert encode_unchecked is not None

    def encode(value: Any) -> Any:
        encoded = encode_unchecked(value)
        if encoded is value:  # its JSON form, or a value of another type
            return value
        try:
            written = codec.encode_args({"": encoded})
        except ArgumentEncodingError:  # the job's own encoding reports it, with the whole path
            return encoded
        try:
            restored = convert(codec.decode(written)[""])
        except Mismatch as error:
            reason = error.reason or f"wanted {error.wanted}, found {type(error.found).__name__}"
            refusal = NotWritable(f"{name} cannot be read back from its own JSON: {reason}")
            refusal.path = error.path
            raise refusal from error.__cause__
        check_equal(name, value, restored)
        return encoded

    return dataclasses.replace(conversion, encode=encode)


def check_equal(name: str, value: object, restored: object) -> None:
    """Compare a value with what a job would get.

    :param name: its type, for the message.
    :raises NotWritable: when they differ.
    """
    found = _difference(value, restored)
    if found is None:
        return
    path, one, other = found
    kind, arrives = type(one).__name__, type(other).__name__
    # Without the values, because one that is excluded may be a secret.
    what = f"this {kind} would arrive as another {kind}" if kind == arrives else f"{kind} would arrive as {arrives}"
    refusal = NotWritable(
        f"{name} would not come back equal, because {what}. Let {name} write it so that it can be read back, or pass "
        "it as an argument of its own"
    )
    refusal.path = [each for each in path if each not in _MODEL_PARTS]
    raise refusal


# The path to two values that differ, the innermost step first, and the values.
_Difference = tuple[list[object], object, object]


def _difference(value: Any, restored: Any) -> _Difference | None:
    """Return where a value differs from what was read back; ``None`` if it does not.

    Within classes the fields are compared, because the class may compare by identity.
    """
    if _is_equal(value, restored):
        return None
    kind, other = type(value), type(restored)
    if kind in _JSON_TYPES and other not in _JSON_TYPES:
        return None
    # A list and a tuple are the same in JSON.
    if kind in (list, tuple) and other in (list, tuple) and len(value) == len(restored):
        return _first_difference(enumerate(zip(value, restored, strict=True)))
    if isinstance(value, dict) and isinstance(restored, dict) and value.keys() == restored.keys():
        return _first_difference((key, (each, restored[key])) for key, each in value.items())
    if kind is other and (names := _compared_names(value)) is not None:
        pairs = ((name, (getattr(value, name, None), getattr(restored, name, None))) for name in names)
        return _first_difference(pairs)
    return [], value, restored


def _first_difference(pairs: Iterable[tuple[object, tuple[Any, Any]]]) -> _Difference | None:
    for step, (one, other) in pairs:
        if (found := _difference(one, other)) is not None:
            found[0].append(step)
            return found
    return None


def _is_equal(value: Any, restored: Any) -> bool:
    try:
        if value == restored:
            return True
        if value != value and restored != restored:  # NaN
            return True
    except RecursionError:
        raise
    except Exception:  # it cannot be compared, such as an array
        return type(value) is type(restored)
    if isinstance(value, datetime) and isinstance(restored, datetime):
        # In the hour that a zone repeats, a datetime equals none of another zone.
        walls = (each.replace(tzinfo=None, fold=0) for each in (value, restored))
        return next(walls) == next(walls) and value.utcoffset() == restored.utcoffset()
    return False


def _compared_names(value: Any) -> Iterable[str] | None:
    """Return the attributes by which values of a class are compared; ``None`` if only the class can compare them."""
    kind = type(value)
    if (attributes := getattr(kind, "__attrs_attrs__", None)) is not None:
        return [each.name for each in attributes if each.eq]
    if dataclasses.is_dataclass(kind):
        return [each.name for each in dataclasses.fields(kind) if each.compare]
    if hasattr(kind, "__struct_config__"):
        return kind.__struct_fields__  # type: ignore[no-any-return]
    if hasattr(kind, "__pydantic_validator__"):
        fields = getattr(kind, "__pydantic_fields__", None) or kind.model_fields
        return [*fields, *_MODEL_PARTS]
    if isinstance(value, tuple) and hasattr(kind, "_fields"):
        return kind._fields  # type: ignore[no-any-return]
    equality: object = kind.__eq__
    return list(getattr(value, "__dict__", ())) if equality is object.__eq__ else None
