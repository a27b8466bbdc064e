"""The bytes that Go's ``json.Encoder`` writes, which unique keys have to be equal to."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from decimal import Decimal
from operator import itemgetter

import orjson

from ..errors import ArgumentsError

# Go's decoder refuses what is nested deeper.
_MAX_DEPTH = 10_000
_LONGEST_PATH = 20

# Of these orjson writes what Go does, but for the escapes of _RESPELLED.
_ALIKE = frozenset({str, int, bool, type(None)})


def encode(value: object) -> bytes:
    """Return what Go's ``json.Encoder`` writes for ``value``, without the newline at the end.

    Where Go's releases differ (backspace and form feed), it is the spelling of those before Go 1.22. A lone
    surrogate, which no Go string can hold, becomes U+FFFD, as it does when Go decodes it.

    :raises ArgumentsError: when ``value`` holds what JSON cannot: a key that is no string, NaN, an infinity,
        any other type, itself, or more than 10,000 levels of nesting; or an integer of more digits than the
        interpreter converts (4,300 by default). The message names the key.
    """
    if type(value) is dict and _ALIKE.issuperset(map(type, value.values())):
        try:
            return _respell(orjson.dumps(value, option=orjson.OPT_SORT_KEYS))
        except TypeError:
            # A key that is no plain string, an integer beyond 64 bits or a surrogate: the long way decides.
            pass
    return _respell(_Writer().write(value))


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
    """Turn orjson's escapes into Go's. What differs can only stand in strings, so it is sought everywhere."""
    if any(mark in encoded for mark in (b"\\", b"<", b">", b"&", b"\xe2\x80")):
        return _RESPELLED.sub(lambda match: _SPELLINGS.get(match[0], match[0]), encoded)
    return encoded


class _Unfit(Exception):
    """Why a value cannot be written."""


class _Level:
    """A list or object that is being written, and where in it the writer is."""

    __slots__ = ("close", "container", "items", "key", "lead")

    def __init__(self, container: dict[object, object] | list[object] | tuple[object, ...]) -> None:
        self.container = container
        self.key: str | int = 0
        self.lead = b""
        self.items: Iterator[tuple[str | int, object]]
        if isinstance(container, dict):
            self.items, self.close = iter(_members(container)), b"}"
        else:
            self.items, self.close = enumerate(container), b"]"


class _Writer:
    """Writes one value. It does not recurse: what comes in may be nested without end."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._levels: list[_Level] = []
        self._within: set[int] = set()

    def write(self, value: object) -> bytes:
        try:
            self._put(value)
            while self._levels:
                self._continue(self._levels[-1])
        except _Unfit as unfit:
            raise ArgumentsError(f"{self._path()}: {unfit}") from None
        return b"".join(self._parts)

    def _continue(self, level: _Level) -> None:
        """Write from where a level was left up to the next list or object in it, or to its end."""
        for key, value in level.items:
            level.key = key
            self._parts.append(level.lead)
            level.lead = b","
            if isinstance(key, str):
                self._parts += (orjson.dumps(key), b":")
            if self._put(value):
                return
        self._parts.append(level.close)
        self._within.remove(id(level.container))
        self._levels.pop()

    def _put(self, value: object) -> bool:
        """Write a scalar, or open a list or object and return ``True``."""
        if not isinstance(value, (dict, list, tuple)):
            self._parts.append(_scalar(value))
            return False
        if id(value) in self._within:
            raise _Unfit("it contains itself")
        if len(self._levels) == _MAX_DEPTH:
            raise _Unfit(f"it is nested more than {_MAX_DEPTH} levels deep")
        level = _Level(value)
        self._parts.append(b"{" if isinstance(value, dict) else b"[")
        self._within.add(id(value))
        self._levels.append(level)
        return True

    def _path(self) -> str:
        steps = [_step(level.key) for level in self._levels[:_LONGEST_PATH]]
        more = "…" if len(self._levels) > _LONGEST_PATH else ""
        return f"args{''.join(steps)}{more}"


def _step(key: str | int) -> str:
    return f"[{orjson.dumps(key).decode()}]"


def _members(mapping: dict[object, object]) -> list[tuple[str, object]]:
    members: dict[str, object] = {}
    for key, value in mapping.items():
        if not isinstance(key, str):
            raise _Unfit(f"the key {key!r} is of type {type(key).__name__}; JSON has only strings")
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
    raise _Unfit(f"a value of type {type(value).__name__} is not JSON")


def _integer(value: int) -> bytes:
    try:
        # An enum member's own repr is its name.
        return int.__repr__(value).encode()
    except ValueError:
        raise _Unfit("an integer of so many digits is not converted to text") from None


def _go_string(value: str) -> str:
    """Return a string as Go would hold it, and a plain one if it is of a subclass, such as an enum."""
    text = str.__str__(value)
    if text.isascii():
        return text
    try:
        text.encode()
    except UnicodeEncodeError:
        # UTF-16 joins two halves that belong together, as Go's decoder does; each that is left is replaced.
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text


def _go_float(value: float) -> str:
    if not math.isfinite(value):
        raise _Unfit(f"{float.__repr__(value)} is not JSON")
    # Both languages write the fewest digits that read back the same; only the layout differs.
    text = float.__repr__(value).removesuffix(".0")
    if "e" not in text:
        return text
    if 1e-6 <= abs(value) < 1e21:
        return format(Decimal(text), "f")
    return text.replace("e-0", "e-")
