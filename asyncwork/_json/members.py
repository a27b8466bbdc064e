"""Read and change the fields of a payload as bytes, without re-encoding their values."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping

from ..errors import PayloadError
from .codec import decode, encode_string, reject_constant

# The order in which Go writes them.
_FIELDS = ("name", "id", "t", "args", "unique", "unique_key", "fails", "err", "failed_at")


def field_name(name: str) -> str:
    """Return the field of a job that a name in a payload means. As in Go, upper and lower case are alike.

    The name of no field is returned unchanged.
    """
    if name in _FIELDS:
        return name
    # Go, too, reads a long s and a Kelvin sign as an s and a k.
    folded = name.casefold()
    return folded if folded in _FIELDS else name


def fields(raw: bytes) -> dict[str, bytes]:
    """Return the fields of a job in their order, each value as its bytes in ``raw``.

    When a name is repeated, the last value counts, as in Python and Go. When a field is spelled in several ways, such
    as ``t`` and ``T``, the last one counts as well, but as in Go ``null`` leaves the value before it, and objects in
    ``args`` are merged. A value that is nested deeper than the interpreter can follow is not checked to be JSON; only
    its end is found.

    :raises PayloadError: when ``raw`` is no JSON object.
    """
    found: dict[str, bytes] = {}
    respelled: set[str] = set()
    for spelled, value in _members(raw):
        field = field_name(spelled)
        if field != spelled:
            respelled.add(field)
        found[field] = _merge(field, found, value) if field in respelled else value
    return found


def splice(raw: bytes, changes: Mapping[str, bytes | None]) -> bytes:
    """Return a payload with some fields set to other JSON, or removed where the change is ``None``.

    The fields come in Go's order, followed by any other members. Values that are not changed keep their bytes.

    :raises PayloadError: when ``raw`` is no JSON object.
    """
    merged = {**fields(raw), **changes}
    names = [name for name in _FIELDS if name in merged]
    names += [name for name in merged if name not in _FIELDS]
    members = ((name, merged[name]) for name in names)
    written = [encode_string(name) + b":" + value for name, value in members if value is not None]
    return b"{" + b",".join(written) + b"}"


def _members(raw: bytes) -> list[tuple[str, bytes]]:
    # Latin-1 gives one character per byte, so offsets are those of the bytes, and bytes that are not UTF-8 do no
    # harm. Everything that structures JSON is ASCII.
    text = raw.decode("latin-1")
    try:
        return [(decode(raw[name]), raw[value]) for name, value in _member_slices(text)]
    except ValueError as error:
        raise PayloadError(f"not a JSON object: {error}") from error


def _merge(field: str, found: Mapping[str, bytes], value: bytes) -> bytes:
    """Return the value of a field that is spelled in another way, given the value found before it."""
    before = found.get(field)
    if before is None or (value == b"null" and field != "args"):
        return value if before is None else before
    if field != "args" or not (before.startswith(b"{") and value.startswith(b"{")):
        return value
    members = {**dict(_members(before)), **dict(_members(value))}
    return b"{" + b",".join(encode_string(name) + b":" + each for name, each in members.items()) + b"}"


# Values are scanned only to find where they end, so numbers are not converted.
_SCANNER = json.JSONDecoder(parse_int=str, parse_float=str, parse_constant=reject_constant)
_BLANK = r"[ \t\n\r]*"
_OPENING = re.compile(_BLANK + r"\{" + _BLANK)
_COLON = re.compile(_BLANK + ":" + _BLANK)
_COMMA = re.compile(_BLANK + "," + _BLANK)
_CLOSING = re.compile(_BLANK + r"\}" + _BLANK + r"\Z")
# A whole string, whose brackets are text; the opening or closing of a list or object; or the quote of a string that
# does not end.
_BRACKET = re.compile(r'"(?:[^"\\]++|\\.)*+"|[][{}"]', re.DOTALL)


def _member_slices(text: str) -> Iterator[tuple[slice, slice]]:
    """Yield the slices of each member's name and value in the text of an object."""
    position = _expect(_OPENING, text, 0, "an opening brace")
    if _CLOSING.match(text, position):
        return
    while True:
        name = _scan(text, position)
        if text[name.start] != '"':
            raise json.JSONDecodeError("Expecting a name in double quotes", text, position)
        value = _scan(text, _expect(_COLON, text, name.stop, "a colon"))
        yield name, value
        comma = _COMMA.match(text, value.stop)
        if comma is None:
            _expect(_CLOSING, text, value.stop, "a comma or the closing brace")
            return
        position = comma.end()


def _scan(text: str, start: int) -> slice:
    try:
        _, end = _SCANNER.raw_decode(text, start)
    except RecursionError:
        end = _end_of_nested(text, start)
    return slice(start, end)


def _end_of_nested(text: str, start: int) -> int:
    """Return where a list or object ends. Unlike the scanner this does not recurse, and it checks brackets only."""
    depth = 0
    for match in _BRACKET.finditer(text, start):
        if match[0] in "[{":
            depth += 1
        elif match[0] in "]}":
            depth -= 1
            if depth == 0:
                return match.end()
        elif match[0] == '"':
            raise json.JSONDecodeError("Unterminated string starting at", text, match.start())
    raise json.JSONDecodeError("Expecting a closing bracket", text, len(text))


def _expect(pattern: re.Pattern[str], text: str, position: int, what: str) -> int:
    match = pattern.match(text, position)
    if match is None:
        raise json.JSONDecodeError(f"Expecting {what}", text, position)
    return match.end()
