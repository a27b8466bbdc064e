"""Constraints in ``Annotated``, such as ``Annotated[int, Field(gt=0)]`` or ``PositiveInt``, which pydantic checks.

Those of pydantic and of annotated-types are applied to the converted value. pydantic is imported only for them.
"""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Callable, Iterable
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any
from uuid import UUID

from ..errors import HandlerError
from .conversions import Conversion
from .mismatch import Mismatch, NotWritable
from .read_back import check_equal

# Types whose own rules some constraints need, such as a pattern. Others are checked whatever the type is.
_PLAIN = frozenset(
    {int, float, str, bool, bytes, list, dict, tuple, set, frozenset}
    | {datetime, date, time, timedelta, Decimal, UUID, Path}
)


def constrained(inner: Conversion, annotation: Any) -> Conversion:
    """Return the conversion of an ``Annotated`` type, with its constraints.

    :param inner: the conversion of the type without them.
    :raises HandlerError: when pydantic is needed and not installed, or cannot apply a constraint to the type.
    """
    kind, *metadata = typing.get_args(annotation)
    constraints = tuple(_constraints(metadata))
    if not constraints:
        return inner
    base = typing.get_origin(kind) or kind
    base = base if isinstance(base, type) and base in _PLAIN else Any
    try:
        check_value = _cached_check(base, constraints, inner.name)
    except TypeError:  # a constraint that cannot be hashed
        check_value = _make_check(base, constraints, inner.name)

    optional = type(None) in typing.get_args(kind)

    def check(value: Any) -> Any:
        return value if value is None and optional else check_value(value)

    def convert(value: Any) -> Any:
        return check(value if inner.convert is None else inner.convert(value))

    def encode(value: Any) -> Any:
        encoded = value if inner.encode is None else inner.encode(value)
        try:
            restored = encoded if inner.convert is None else inner.convert(encoded)
        except Mismatch:  # a value of another type, which may be another member of a union
            return encoded
        try:
            checked = check(restored)
        except Mismatch as error:
            reason = f"{inner.name} has a constraint that this value violates: {error.reason}"
            raise NotWritable(reason) from error.__cause__
        check_equal(inner.name, value, checked)
        return encoded

    return dataclasses.replace(inner, convert=convert, encode=encode)


def _constraints(metadata: Iterable[Any]) -> Iterable[Any]:
    for each in metadata:
        package = type(each).__module__.partition(".")[0]
        if package == "pydantic" and hasattr(each, "discriminator"):  # Field(…): its constraints, without its settings
            yield from _constraints(each.metadata)
        elif package in ("pydantic", "annotated_types"):
            yield each


def _make_check(base: Any, constraints: tuple[Any, ...], name: str) -> Callable[[Any], Any]:
    """Return what raises :exc:`Mismatch` for a value that violates a constraint, and returns other values."""
    try:
        import pydantic
    except ImportError:
        raise HandlerError(
            f"{name} has constraints that only pydantic can check: {', '.join(map(repr, constraints))}. Install "
            "pydantic, or check the value in the handler"
        ) from None
    try:
        adapter = pydantic.TypeAdapter[Any](Annotated[(base, *constraints)])
    except Exception as error:  # of several classes, among them TypeError
        reason = str(error).partition("\n")[0]
        raise HandlerError(f"pydantic cannot apply the constraints of {name}: {reason}") from None

    def check(value: Any) -> Any:
        try:
            return adapter.validate_python(value)
        except pydantic.ValidationError as error:
            raise Mismatch(name, value, error.errors()[0]["msg"]) from error
        except TypeError as error:  # the constraint does not fit this member of a union
            raise Mismatch(name, value, str(error)) from error

    return check


_cached_check = lru_cache(maxsize=1024)(_make_check)
