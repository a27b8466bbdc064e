"""Encode JSON as Go's ``json.Encoder`` does, because unique keys must be byte for byte those of Go."""

from __future__ import annotations

import math
import re
from decimal import Decimal
from operator import itemgetter

import orjson

from ..errors import ArgumentEncodingError
from .walk import CONTAINERS, NotJson, Walk

# Go's decoder refuses deeper nesting.
_MAX_DEPTH = 10_000

# orjson writes these types as Go does, except for the escapes in _RESPELLED.
_ALIKE = frozenset({str, int, bool, type(None)})


def encode(value: object, root: str = "args") -> bytes:
    """Return what Go's ``json.Encoder`` writes for ``value``, without the newline at the end.

    Where Go's releases differ (backspace and form feed), this is the spelling before Go 1.22. A lone surrogate, which
    no Go string can hold, becomes U+FFFD, as when Go decodes it.

    :param root: what the message of an error calls ``value``.
    :raises ArgumentEncodingError: when ``value`` holds what JSON cannot: a key that is not a string, NaN, an infinity,
        any other type, itself, or more than 10,000 levels of nesting; or an integer of more digits than the
        interpreter converts (4,300 by default). The message names the key.
    """
    if type(value) is dict and _ALIKE.issuperset(map(type, value.values())):
        try:
            return _respell(orjson.dumps(value, option=orjson.OPT_SORT_KEYS))
        except TypeError:
            # A key that is not a plain string, an integer beyond 64 bits or a surrogate: orjson cannot write these.
            pass
    return _respell(_write(value, root))


_RESPELLED = re.compile(rb"\\.|[<>&]|\xe2\x80[\xa8\xa9]")
_SPELLINGS = {
    b"<": rb"\u003c",
    b">": rb"\u003e",
    b"&": rb"\u0026",
    b"\xe2\x80\xa8": rb"\u2028",
    b"\xe2\x80\xa9": rb"\u2029",
    rb"\b": rb"\u0008",
    rb"\f": rb"\u000c",
}


def _respell(encoded: bytes) -> bytes:
    """Return JSON with orjson's escapes turned into Go's. They occur only within strings, so no parsing is needed."""
    if any(mark in encoded for mark in (b"\\", b"<", b">", b"&", b"\xe2\x80")):
        return _RESPELLED.sub(lambda match: _SPELLINGS.get(match[0], match[0]), encoded)
    return encoded


def _write(value: object, root: str) -> bytes:
    walk = Walk(_MAX_DEPTH, _members)
    try:
        if not isinstance(value, CONTAINERS):
            return _scalar(value)
        parts = [_enter(walk, value)]
        for level in walk:
            is_object = isinstance(level.container, dict)
            for key, item in level.items:
                level.key = key
                if is_object:
                    parts += (orjson.dumps(key), b":")
                if isinstance(item, CONTAINERS):
                    parts.append(_enter(walk, item))
                    break
                parts += (_scalar(item), b",")
            else:
                walk.leave()
                if parts[-1] == b",":
                    parts.pop()
                parts += (b"}" if is_object else b"]", b",")
    except NotJson as error:
        raise ArgumentEncodingError(f"{walk.path(root)}: {error}") from None
    return b"".join(parts[:-1])


def _enter(walk: Walk, container: dict[object, object] | list[object] | tuple[object, ...]) -> bytes:
    walk.enter(container)
    return b"{" if isinstance(container, dict) else b"["


def _members(mapping: dict[object, object]) -> list[tuple[str, object]]:
    members: dict[str, object] = {}
    for key, value in mapping.items():
        if not isinstance(key, str):
            raise NotJson(f"the key {key!r} is of type {type(key).__name__}; JSON has only strings")
        members[_go_string(key)] = value
    # Code points sort as their UTF-8 bytes do.
    return sorted(members.items(), key=itemgetter(0))


def _scalar(value: object) -> bytes:
    if value is None:
        return b"null"
    if isinstance(value, bool):
        return b"true" if value else b"false"
    if isinstance(value, str):
        return orjson.dumps(_go_string(value))
    if isinstance(value, int):
        return _integer(value)
    if isinstance(value, float):
        return _go_float(value).encode()
    raise NotJson(f"a value of type {type(value).__name__} is not JSON")


def _integer(value: int) -> bytes:
    try:
        # An enum member's own repr is its name.
        return int.__repr__(value).encode()
    except ValueError:
        raise NotJson("an integer of so many digits is not converted to text") from None


def _go_string(value: str) -> str:
    """Return a string as Go would hold it. An instance of a subclass, such as an enum, becomes a plain string."""
    text = str.__str__(value)
    if text.isascii():
        return text
    try:
        text.encode()
    except UnicodeEncodeError:
        # As in Go's decoder, two halves that belong together are joined, and each other one is replaced.
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text


def _go_float(value: float) -> str:
    if not math.isfinite(value):
        raise NotJson(f"{float.__repr__(value)} is not JSON")
    # Both languages write the fewest digits that read back the same; only the layout differs.
    text = float.__repr__(value).removesuffix(".0")
    if "e" not in text:
        return text
    if 1e-6 <= abs(value) < 1e21:
        return format(Decimal(text), "f")
    return text.replace("e-0", "e-")
