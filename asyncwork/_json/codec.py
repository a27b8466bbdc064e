"""JSON as text: job arguments to bytes and back, and payloads changed without re-encoding their values.

A value never changes on the way. orjson does the work wherever it is exact; what it would alter (NaN,
integers beyond 64 bits, enums, UUIDs) or refuse (lone surrogates, deep nesting) takes a slower way through
the standard library, or is an error that names the key.
"""

from __future__ import annotations

import datetime
import decimal
import enum
import json
import math
import os
import re
import uuid
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import is_dataclass
from typing import Any, NoReturn

import orjson

from ..errors import ArgumentsError, PayloadError

# What is written must be read again, by an interpreter that may be 1000 calls deep in all.
_MAX_DEPTH = 800
_LONGEST_PATH = 20

# Left to itself orjson would write these as something that does not decode back to what was passed.
_OPTIONS = orjson.OPT_PASSTHROUGH_DATACLASS | orjson.OPT_PASSTHROUGH_DATETIME | orjson.OPT_PASSTHROUGH_SUBCLASS

# What orjson reads and writes exactly. It writes a float exactly too, unless it is NaN or infinite; and reads
# one exactly, unless it was an integer beyond 64 bits.
_EXACT = frozenset({str, int, bool, type(None)})
_EXACT_OR_FLOAT = _EXACT | {float}
_CONTAINERS = (dict, list, tuple)
_PLAIN = _EXACT_OR_FLOAT | {*_CONTAINERS}

_BEYOND_64_BITS = 2.0**63

_FIELD_ORDER = ("name", "id", "t", "args", "unique", "unique_key", "fails", "err", "failed_at")


def encode_args(args: Mapping[str, object] | None) -> bytes:
    """Return a job's arguments as compact JSON; ``None`` gives ``null``.

    What is written decodes back to equal values; tuples come back as lists, ``IntEnum`` and ``StrEnum``
    members as plain integers and strings.

    :raises ArgumentsError: when ``args`` is no mapping, or holds what JSON cannot: a key that is no string,
        NaN, an infinity, any other type, itself, an integer of thousands of digits, or more than 800 levels
        of nesting. The message names the key.
    """
    if args is None:
        return b"null"
    if type(args) is not dict:
        return _encode_args_slowly(args)
    try:
        encoded = orjson.dumps(args, option=_OPTIONS)
    except TypeError:
        return _encode_args_slowly(args)
    for value in args.values():
        if type(value) not in _EXACT:
            return encoded if _is_written_exactly(args.values(), encoded) else _encode_args_slowly(args)
    return encoded


def encode_string(text: str) -> bytes:
    """Return a text as a JSON string. Lone surrogates are escaped, so that they come back unchanged."""
    try:
        return orjson.dumps(text)
    except TypeError:
        return _utf8(_ENCODER.encode(text))


def decode(raw: bytes) -> Any:
    """Return the value of a JSON document, integers of any size included.

    As Go does, it reads bytes in a string that are not UTF-8 as U+FFFD. Unlike Go, it keeps the escape of a
    lone surrogate.

    :raises PayloadError: when ``raw`` is not JSON, holds a float that is too large for a double or an integer
        of thousands of digits, or is nested deeper than the interpreter can follow.
    """
    try:
        value = orjson.loads(raw)
    except orjson.JSONDecodeError:
        return _decode_slowly(raw)
    if type(value) in _EXACT or not _may_have_lost_digits((value,)):
        return value
    return _decode_slowly(raw)


def decode_job(raw: bytes) -> dict[str, Any]:
    """Return the fields of a job's payload: :func:`decode` for a document that must be an object.

    Only in ``args`` are integers beyond 64 bits exact; no other field of a job may hold one. In ``name``, ``id`` and
    ``unique_key`` U+FFFD stands for each lone surrogate, as it does when Go reads them: they become keys and fields in
    Redis, which hold UTF-8.

    :raises PayloadError: as :func:`decode` does, when the document is no object, and when ``t``, ``fails`` or
        ``failed_at`` is an integer beyond 64 bits.
    """
    try:
        job = orjson.loads(raw)
    except orjson.JSONDecodeError:
        return _as_job(_decode_slowly(raw))
    if type(job) is not dict:
        return _as_object(job)
    args = job.get("args")
    values = args.values() if type(args) is dict else (args,)
    for value in values:
        if type(value) not in _EXACT:
            return _as_job(_decode_slowly(raw)) if _may_have_lost_digits(values) else job
    # The types alone settle nearly every job, at a tenth of the cost of looking for digits in the bytes.
    return job


def field_name(name: str) -> str:
    """Return which field of a job a name in its payload means, as Go takes it: in upper and lower case alike.

    A name that is that of no field is returned as it is.
    """
    if name in _FIELD_ORDER:
        return name
    # To Go, too, a long s and a Kelvin sign are an s and a k.
    folded = name.casefold()
    return folded if folded in _FIELD_ORDER else name


def replace_surrogates(text: str) -> str:
    """Return a text that UTF-8 can hold: U+FFFD stands for each lone surrogate, as it does when Go reads one."""
    return text if text.isascii() else _SURROGATE.sub("\ufffd", text)


def fields(raw: bytes) -> dict[str, bytes]:
    """Return the fields of a job in their order, each value as the bytes that stand in ``raw``.

    Of a name that is there twice, the last value counts, as it does when Python or Go decode it. Of a field that is
    there in several spellings, such as ``t`` and ``T``, also the last one counts, but as in Go ``null`` leaves what was
    there before it, and ``args`` are put together. Where a value is nested deeper than the interpreter can follow, only
    its end is looked for, and not whether it is JSON.

    :raises PayloadError: when ``raw`` is no JSON object.
    """
    found: dict[str, bytes] = {}
    respelled: set[str] = set()
    for spelled, value in _members(raw):
        field = field_name(spelled)
        if field != spelled:
            respelled.add(field)
        found[field] = _joined(field, found, value) if field in respelled else value
    return found


def _members(raw: bytes) -> list[tuple[str, bytes]]:
    # One character per byte: offsets are those of the bytes, and what is not UTF-8 does no harm. All that
    # structures JSON is ASCII.
    text = raw.decode("latin-1")
    try:
        return [(decode(raw[name]), raw[value]) for name, value in _member_slices(text)]
    except ValueError as error:
        raise PayloadError(f"not a JSON object: {error}") from error


def _joined(field: str, found: Mapping[str, bytes], value: bytes) -> bytes:
    """Return the value of a field that is there in another spelling, after what was found before it."""
    before = found.get(field)
    if before is None or (value == b"null" and field != "args"):
        return value if before is None else before
    if field != "args" or not (before.startswith(b"{") and value.startswith(b"{")):
        return value
    members = {**dict(_members(before)), **dict(_members(value))}
    return b"{" + b",".join(encode_string(name) + b":" + each for name, each in members.items()) + b"}"


def splice(raw: bytes, changes: Mapping[str, bytes | None]) -> bytes:
    """Return a payload with some fields set to other JSON, or removed where the change is ``None``.

    The fields come in Go's order and then whatever else there is; values that are not changed keep their
    bytes.

    :raises PayloadError: when ``raw`` is no JSON object.
    """
    merged = {**fields(raw), **changes}
    names = [name for name in _FIELD_ORDER if name in merged]
    names += [name for name in merged if name not in _FIELD_ORDER]
    members = ((name, merged[name]) for name in names)
    written = [encode_string(name) + b":" + value for name, value in members if value is not None]
    return b"{" + b",".join(written) + b"}"


def _is_written_exactly(values: Collection[object], encoded: bytes) -> bool:
    if not all(_PLAIN.issuperset(map(type, group)) for group in _groups(values)):
        return False
    # orjson writes NaN and infinities as null.
    return b"null" not in encoded or all(_are_finite(group) for group in _groups(values))


def _are_finite(values: Iterable[object]) -> bool:
    return all(math.isfinite(value) for value in values if type(value) is float)


def _groups(values: Collection[object]) -> Iterator[Collection[object]]:
    """Yield ``values`` and the values of every dict, list and tuple within them, at any depth."""
    pending = [values]
    while pending:
        group = pending.pop()
        yield group
        if not _EXACT_OR_FLOAT.issuperset(map(type, group)):
            pending += [value.values() for value in group if type(value) is dict]
            pending += [value for value in group if type(value) is list or type(value) is tuple]


_ENCODER = json.JSONEncoder(ensure_ascii=False, check_circular=False, allow_nan=False, separators=(",", ":"))


def _encode_args_slowly(args: Mapping[str, object]) -> bytes:
    if not isinstance(args, Mapping):
        raise ArgumentsError(f"args: a mapping of names to values is needed, not {_a(args)}")
    plain = args if isinstance(args, dict) else dict(args)
    _check(plain)
    try:
        return _utf8(_ENCODER.encode(plain))
    except RecursionError:
        raise ArgumentsError("args: nested deeper than the interpreter can follow") from None


def _utf8(text: str) -> bytes:
    # Only lone surrogates have no UTF-8; a backslash escape of one is how JSON spells it.
    return text.encode("utf-8", "backslashreplace")


class _Level:
    """A dict or list that is being walked through, and where in it the walk is."""

    __slots__ = ("container", "items", "key")

    def __init__(self, container: object) -> None:
        self.container = container
        self.key: object = None
        self.items: Iterator[tuple[object, object]]
        if isinstance(container, dict):
            self.items = iter(container.items())
        elif isinstance(container, (list, tuple)):
            self.items = enumerate(container)


def _check(args: dict[str, object]) -> None:
    """Raise for the first value that is not JSON. No recursion: what comes in may be nested without end."""
    levels = [_Level(args)]
    within = {id(args)}
    while levels:
        level = levels[-1]
        for key, value in level.items:
            level.key = key
            if isinstance(level.container, dict) and not isinstance(key, str):
                _refuse(levels[:-1], f"the key {key!r} is {_a(key)}, and JSON has only strings")
            if not isinstance(value, _CONTAINERS):
                if fault := _fault(value):
                    _refuse(levels, fault)
                continue
            if id(value) in within:
                _refuse(levels, "it contains itself")
            if len(levels) == _MAX_DEPTH:
                _refuse(levels, f"it is nested more than {_MAX_DEPTH} levels deep")
            levels.append(_Level(value))
            within.add(id(value))
            break
        else:
            within.remove(id(level.container))
            levels.pop()


def _refuse(levels: list[_Level], fault: str) -> NoReturn:
    steps = [_step(level.key) for level in levels[:_LONGEST_PATH]]
    more = "…" if len(levels) > _LONGEST_PATH else ""
    raise ArgumentsError(f"args{''.join(steps)}{more}: {fault}")


def _step(key: object) -> str:
    return f"[{encode_string(key).decode()}]" if isinstance(key, str) else f"[{key}]"


def _fault(value: object) -> str | None:
    """Return what is wrong with a value that is no container, or ``None``."""
    if value is None or isinstance(value, str):
        return None
    if isinstance(value, int):
        return _integer_fault(value)
    if isinstance(value, float):
        return None if math.isfinite(value) else f"{float(value)!r} is not JSON; pass None or a string"
    return f"{_a(value)} is not JSON; {_remedy(value)}"


def _integer_fault(value: int) -> str | None:
    try:
        int.__repr__(value)
    except ValueError:
        # The interpreter's guard against conversions that take forever would refuse to read it again, too.
        return "an integer of thousands of digits cannot be read again; pass hex(value)"
    return None


# The first that fits counts: a datetime is a date as well.
_REMEDIES: tuple[tuple[type | tuple[type, ...], str], ...] = (
    (datetime.datetime, "pass value.isoformat() or value.timestamp()"),
    ((datetime.date, datetime.time), "pass value.isoformat()"),
    (datetime.timedelta, "pass value.total_seconds()"),
    ((uuid.UUID, decimal.Decimal, os.PathLike), "pass str(value)"),
    (enum.Enum, "pass value.value"),
    ((bytes, bytearray, memoryview), "pass a string, such as base64.b64encode(value).decode()"),
    ((set, frozenset), "pass sorted(value)"),
    (Mapping, "pass dict(value)"),
    (Iterable, "pass list(value)"),
)


def _remedy(value: object) -> str:
    if is_dataclass(value) and not isinstance(value, type):
        return "pass dataclasses.asdict(value)"
    if hasattr(value, "model_dump"):
        return "pass value.model_dump(mode='json')"
    remedies = (remedy for kind, remedy in _REMEDIES if isinstance(value, kind))
    return next(remedies, "pass strings, numbers, booleans, None, lists and dicts of them")


def _a(value: object) -> str:
    name = type(value).__name__
    return f"an {name}" if name[:1] in "AEIOaeio" else f"a {name}"


def _may_have_lost_digits(values: Collection[object]) -> bool:
    """Say whether a float among ``values``, at any depth, may have been an integer beyond 64 bits."""
    return any(abs(value) >= _BEYOND_64_BITS for group in _groups(values) for value in group if type(value) is float)


def _finite(number: str) -> float:
    value = float(number)
    if math.isinf(value):
        raise ValueError(f"it holds {number:.40}, too large for a double")
    return value


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"it holds {name}")


_EXACT_DECODER = json.JSONDecoder(parse_float=_finite, parse_constant=_no_constant)

# How surrogateescape marks a byte that is not UTF-8. Go, too, replaces each such byte, not each run of them.
_STRAY_BYTE = re.compile("[\udc80-\udcff]")
_SURROGATE = re.compile("[\ud800-\udfff]")
# The fields of a job that become keys, fields and members in Redis.
_NAMING = ("name", "id", "unique_key")
_NUMBERS = ("t", "fails", "failed_at")


def _decode_slowly(raw: bytes) -> Any:
    text = _STRAY_BYTE.sub("\ufffd", raw.decode("utf-8", "surrogateescape"))
    try:
        return _EXACT_DECODER.decode(text)
    except RecursionError:
        raise _too_deep() from None
    except ValueError as error:
        raise PayloadError(f"not JSON: {error}") from error


def _as_job(value: object) -> dict[str, Any]:
    """Return the fields of a job that was read slowly, which lets through what orjson does not."""
    job = _as_object(value)
    for name in _NAMING:
        if isinstance(text := job.get(name), str):
            job[name] = replace_surrogates(text)
    for name in _NUMBERS:
        if type(number := job.get(name)) is int and not -_BEYOND_64_BITS <= number < _BEYOND_64_BITS:
            raise PayloadError(f'not a job: "{name}" must be an integer of 64 bits')
    return job


def _as_object(value: object) -> dict[str, Any]:
    if isinstance(value, dict):
        return value
    raise PayloadError(f"not a JSON object but {'null' if value is None else _a(value)}")


def _too_deep() -> PayloadError:
    return PayloadError("nested deeper than the interpreter can follow")


# The values are read only to find where they end, so numbers are not converted.
_SCANNER = json.JSONDecoder(parse_int=str, parse_float=str, parse_constant=_no_constant)
_BLANK = r"[ \t\n\r]*"
_OPENING = re.compile(_BLANK + r"\{" + _BLANK)
_COLON = re.compile(_BLANK + ":" + _BLANK)
_COMMA = re.compile(_BLANK + "," + _BLANK)
_CLOSING = re.compile(_BLANK + r"\}" + _BLANK + r"\Z")
# A string, whose brackets are text; what opens or closes a list or object; or the quote of a string without an end.
_BRACKET = re.compile(r'"(?:[^"\\]++|\\.)*+"|[][{}"]', re.DOTALL)


def _member_slices(text: str) -> Iterator[tuple[slice, slice]]:
    """Yield where each member's name and value stand in the text of an object."""
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
