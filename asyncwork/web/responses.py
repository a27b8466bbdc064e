"""JSON responses that can hold any value, including invalid UTF-8 and JSON text."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any

import orjson
from starlette.responses import Response

from .._jobs.names import is_utf8
from .._json import codec
from ..errors import PayloadError
from .formatting import escape_surrogates


class JsonResponse(Response):
    """JSON response for plain values, dataclasses, and ``bytes`` that are JSON text themselves."""

    def __init__(self, value: object, status: int = 200, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(encode_json(value), status, headers, "application/json; charset=utf-8")


def encode_json(value: object) -> bytes:
    """Return a value as JSON.

    Numbers in JSON text stay as they were written; infinities become null; lone surrogates are escaped.
    """
    try:
        return orjson.dumps(value, default=_embed)
    except TypeError:
        return orjson.dumps(_with_escaped_surrogates(value), default=_embed)


def _embed(value: object) -> orjson.Fragment | None:
    if not isinstance(value, bytes):
        raise TypeError(f"cannot encode {type(value).__name__} as JSON")
    if not value:
        return None
    try:
        codec.decode(value)
    except PayloadError:
        # A `redact` function may return invalid JSON, and some text exceeds the decoder's limits. Send it as a string,
        # because it would break the JSON around it.
        return orjson.Fragment(codec.encode_string(value.decode("utf-8", "backslashreplace")))
    return orjson.Fragment(value)


def _with_escaped_surrogates(value: object) -> Any:
    """Return a copy of a value that orjson can encode although it holds lone surrogates."""
    if isinstance(value, str):
        return value if is_utf8(value) else orjson.Fragment(codec.encode_string(value))
    if is_dataclass(value) and not isinstance(value, type):
        return {each.name: _with_escaped_surrogates(getattr(value, each.name)) for each in fields(value)}
    if isinstance(value, Mapping):
        # A key cannot be an `orjson.Fragment`.
        return {escape_surrogates(str(name)): _with_escaped_surrogates(each) for name, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_with_escaped_surrogates(each) for each in value]
    return value
