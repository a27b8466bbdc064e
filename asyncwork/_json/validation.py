"""Check that arguments can be written as JSON and read again, and name what cannot be."""

from __future__ import annotations

import datetime
import decimal
import enum
import math
import os
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import is_dataclass

from ..errors import ArgumentEncodingError
from .walk import CONTAINERS, Level, NotJson, Walk

# The arguments must be read again by an interpreter that may be 1000 calls deep in all.
_MAX_DEPTH = 800

# They write values as the conversions of annotated arguments do, in asyncwork/_jobs/standard_types.py. The first that
# fits counts: a datetime is a date as well.
_REMEDIES: tuple[tuple[type | tuple[type, ...], str], ...] = (
    (datetime.datetime, "pass value.isoformat(), with a time zone"),
    ((datetime.date, datetime.time), "pass value.isoformat()"),
    (datetime.timedelta, "pass value.total_seconds()"),
    ((uuid.UUID, decimal.Decimal, os.PathLike), "pass str(value)"),
    (enum.Enum, "pass value.value"),
    ((bytes, bytearray, memoryview), "pass base64.b64encode(value).decode()"),
    ((set, frozenset), "pass sorted(value)"),
    (Mapping, "pass dict(value)"),
    (Iterable, "pass list(value)"),
)


def check_args(args: dict[str, object]) -> None:
    """Check a job's arguments.

    :raises ArgumentEncodingError: for the first value that JSON cannot hold. The message names its path and what to
        pass instead.
    """
    walk = Walk(_MAX_DEPTH)
    try:
        walk.enter(args)
        for level in walk:
            _check_items(walk, level)
    except NotJson as error:
        raise ArgumentEncodingError(f"{walk.path()}: {error}") from None


def type_with_article(value: object) -> str:
    """Return the name of a value's type for a sentence, such as ``an int``."""
    name = type(value).__name__
    return f"an {name}" if name[:1] in "AEIOaeio" else f"a {name}"


def _check_items(walk: Walk, level: Level) -> None:
    """Check the items of a level up to the next list or object, which the walk enters, or to their end."""
    for key, value in level.items:
        if not isinstance(key, str) and isinstance(level.container, dict):
            walk.leave()
            raise NotJson(f"the key {key!r} is {type_with_article(key)}, and JSON has only strings")
        level.key = key
        if isinstance(value, CONTAINERS):
            walk.enter(value)
            return
        if problem := _problem(value):
            raise NotJson(problem)
    walk.leave()


def _problem(value: object) -> str | None:
    """Return why JSON cannot hold a value that is not a container, or ``None``."""
    if value is None or isinstance(value, str):
        return None
    if isinstance(value, int):
        return _integer_problem(value)
    if isinstance(value, float):
        return None if math.isfinite(value) else f"{float(value)!r} is not JSON; pass None or a string"
    return f"{type_with_article(value)} is not JSON; {_remedy(value)}"


def _integer_problem(value: int) -> str | None:
    try:
        int.__repr__(value)
    except ValueError:
        # The interpreter limits the digits that it converts, so it would refuse to read the number again, too.
        return "an integer of thousands of digits cannot be read again; pass hex(value)"
    return None


def _remedy(value: object) -> str:
    if is_dataclass(value) and not isinstance(value, type):
        return "pass dataclasses.asdict(value)"
    if hasattr(value, "model_dump"):
        return "pass value.model_dump(mode='json', by_alias=True)"
    if hasattr(value, "__struct_config__"):
        return "pass msgspec.to_builtins(value, str_keys=True)"
    if hasattr(value, "__attrs_attrs__"):
        return "pass attrs.asdict(value)"
    remedies = (remedy for kind, remedy in _REMEDIES if isinstance(value, kind))
    return next(remedies, "pass strings, numbers, booleans, None, lists and dicts of them")
