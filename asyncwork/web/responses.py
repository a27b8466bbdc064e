"""Answers in JSON, whatever the values hold."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any

import orjson
from starlette.responses import Response

from .._json import codec
from ..errors import PayloadError


class JsonResponse(Response):
    """An answer of a value: plain ones, dataclasses, and ``bytes`` that are JSON text themselves."""

    def __init__(self, value: object, status: int = 200, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(encode(value), status, headers, "application/json; charset=utf-8")


def encode(value: object) -> bytes:
    """Return a value as JSON.

    Numbers in texts of JSON stay as they were written; infinities are null; lone surrogates are escaped.
    """
    try:
        return orjson.dumps(value, default=_embed)
    except TypeError:
        return orjson.dumps(_writable(value), default=_embed)


def _embed(value: object) -> orjson.Fragment | None:
    if not isinstance(value, bytes):
        raise TypeError(f"no JSON can be made of {type(value).__name__}")
    if not value:
        return None
    try:
        codec.decode(value)
    except PayloadError:
        # Made by somebody's `redact`, or too much for our reader: it must not break all that stands around it.
        return orjson.Fragment(codec.encode_string(value.decode("utf-8", "backslashreplace")))
    return orjson.Fragment(value)


def _writable(value: object) -> Any:
    """Return what orjson can write of a value that holds text which UTF-8 cannot."""
    if isinstance(value, str):
        return value if _is_utf8(value) else orjson.Fragment(codec.encode_string(value))
    if is_dataclass(value) and not isinstance(value, type):
        return {each.name: _writable(getattr(value, each.name)) for each in fields(value)}
    if isinstance(value, Mapping):
        return {str(name).encode("utf-8", "replace").decode(): _writable(each) for name, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_writable(each) for each in value]
    return value


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
