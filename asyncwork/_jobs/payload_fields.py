"""The fields of a payload: which ones there are, and whether gocraft/work accepts them."""

from __future__ import annotations

from typing import Any

from .._json import codec, members
from ..errors import PayloadError

_ARGS_TYPES = (dict, type(None))
_FIELD_TYPES: dict[str, type] = {
    "name": str,
    "id": str,
    "t": int,
    "unique": bool,
    "unique_key": str,
    "fails": int,
    "err": str,
    "failed_at": int,
}
# gocraft/work knows none of those after `args`.
_KNOWN_FIELDS = frozenset({*_FIELD_TYPES, "args", "traceback", "expires", "timeout", "trace", "hold", "cost"})
_ZEROES: dict[str, Any] = {"name": "", "id": "", "t": 0, "args": None}


def time_or_none(value: object) -> float | None:
    """Return a time in a payload, epoch seconds; ``None`` if another program has written something else there."""
    return value if (type(value) is int or type(value) is float) and value > 0 else None


def are_plain(fields: dict[str, Any]) -> bool:
    """Return whether the fields beyond the four that every payload has need no other spelling and have their types.

    A payload for which this is false may be a job all the same.
    """
    get = fields.get
    return (
        type(get("fails", 0)) is int
        and type(get("err", "")) is str
        and type(get("failed_at", 0)) is int
        and type(get("unique", False)) is bool
        and type(get("unique_key", "")) is str
        and (_KNOWN_FIELDS.issuperset(fields) or not _are_respelled(fields))
    )


def _are_respelled(fields: dict[str, Any]) -> bool:
    """Return whether a field has another spelling that gocraft/work accepts, such as ``T`` for ``t``."""
    return any(members.field_name(name) != name for name in fields.keys() - _KNOWN_FIELDS)


def checked_fields(raw: bytes, fields: dict[str, Any]) -> dict[str, Any]:
    """Return the fields of a payload by gocraft/work's names; those that are absent or null have their zero values.

    :raises PayloadError: when gocraft/work refuses the payload.
    """
    if _are_respelled(fields):
        fields = {name: codec.decode(value) for name, value in members.fields(raw).items()}
    for name, kind in _FIELD_TYPES.items():
        value = fields.get(name)
        if value is not None and type(value) is not kind:
            raise PayloadError(f'not a job: "{name}" must be {kind.__name__}, found {type(value).__name__}')
    args = fields.get("args")
    if type(args) not in _ARGS_TYPES:
        raise PayloadError(f'not a job: "args" must be an object or null, found {type(args).__name__}')
    for name, zero in _ZEROES.items():
        if fields.get(name) is None:
            fields[name] = zero
    return fields
