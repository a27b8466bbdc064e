"""Encode job arguments as JSON, and decode payloads, without changing a value.

orjson does the work wherever it is exact. Values that it would alter (NaN, integers beyond 64 bits, enums, UUIDs) or
refuse (lone surrogates, deep nesting) take a slower way through the standard library, or raise an error that names
the key.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Collection, Iterable, Mapping
from typing import Any, NoReturn

import orjson

from ..errors import ArgumentEncodingError, PayloadError
from .validation import check_args, type_with_article
from .walk import CONTAINERS, groups

# By default orjson writes these types as something that does not decode to the value that was passed.
_OPTIONS = orjson.OPT_PASSTHROUGH_DATACLASS | orjson.OPT_PASSTHROUGH_DATETIME | orjson.OPT_PASSTHROUGH_SUBCLASS

# orjson reads and writes these types exactly. It also writes a float exactly, unless it is NaN or infinite, and reads
# one exactly, unless it was an integer beyond 64 bits.
_EXACT = frozenset({str, int, bool, type(None)})
_PLAIN = _EXACT | {float, *CONTAINERS}

_BEYOND_64_BITS = 2.0**63


def encode_args(args: Mapping[str, object] | None) -> bytes:
    """Return a job's arguments as compact JSON; ``None`` gives ``null``.

    The JSON decodes to equal values, except that tuples become lists, and ``IntEnum`` and ``StrEnum`` members become
    plain integers and strings.

    :raises ArgumentEncodingError: when ``args`` is not a mapping, or holds what JSON cannot: a key that is not a
        string, NaN, an infinity, any other type, itself, an integer of thousands of digits, or more than 800 levels of
        nesting. The message names the key.
    """
    if args is None:
        return b"null"
    if type(args) is not dict:
        return _encode_args_slowly(args)
    try:
        encoded = orjson.dumps(args, None, _OPTIONS)
    except TypeError:
        return _encode_args_slowly(args)
    for value in args.values():
        if type(value) not in _EXACT:
            return encoded if _is_written_exactly(args.values(), encoded) else _encode_args_slowly(args)
    return encoded


def encode_value(value: object) -> bytes:
    """Return any value as compact JSON, as :func:`encode_args` writes an argument.

    :raises ArgumentEncodingError: when JSON cannot hold it. The message calls it ``value``.
    """
    if type(value) in _EXACT:
        try:
            return orjson.dumps(value)
        except TypeError:
            pass  # a lone surrogate, or an integer beyond 64 bits
    try:
        return encode_args({"": value})[len(b'{"":') : -1]
    except ArgumentEncodingError as error:
        raise ArgumentEncodingError(str(error).replace('args[""]', "value", 1)) from None


def encode_string(text: str) -> bytes:
    """Return a text as a JSON string. Lone surrogates are escaped, so they decode unchanged."""
    try:
        return orjson.dumps(text)
    except TypeError:
        return _utf8(_ENCODER.encode(text))


def decode(raw: bytes) -> Any:
    """Return the value of a JSON document, integers of any size included.

    As in Go, each byte in a string that is not UTF-8 becomes U+FFFD. Unlike in Go, an escaped lone surrogate stays.

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

    Integers beyond 64 bits are exact only in ``args``; no other field of a job may hold one. In ``name``, ``id`` and
    ``unique_key`` each lone surrogate becomes U+FFFD, as in Go, because they become keys and fields in Redis, which
    hold UTF-8.

    :raises PayloadError: as :func:`decode` does, when the document is not an object, and when ``t``, ``fails`` or
        ``failed_at`` is an integer beyond 64 bits.
    """
    try:
        job = orjson.loads(raw)
    except orjson.JSONDecodeError:
        return _as_job(_decode_slowly(raw))
    if type(job) is not dict:
        return _as_object(job)
    args = job.get("args")
    if args is not None:
        values = args.values() if type(args) is dict else (args,)
        for value in values:
            if type(value) not in _EXACT:
                return _as_job(_decode_slowly(raw)) if _may_have_lost_digits(values) else job
    # The types alone are enough for nearly every job, at a tenth of the cost of searching the bytes for digits.
    return job


def replace_surrogates(text: str) -> str:
    """Return a text that UTF-8 can hold: each lone surrogate becomes U+FFFD, as in Go."""
    return text if text.isascii() else _SURROGATE.sub("\ufffd", text)


def reject_constant(name: str) -> NoReturn:
    """Refuse NaN and the infinities, which Python's decoder accepts and JSON does not have.

    :raises ValueError: always.
    """
    raise ValueError(f"it holds {name}")


def _is_written_exactly(values: Collection[object], encoded: bytes) -> bool:
    if not all(_PLAIN.issuperset(map(type, group)) for group in groups(values)):
        return False
    # orjson writes NaN and infinities as null.
    return b"null" not in encoded or all(_are_finite(group) for group in groups(values))


def _are_finite(values: Iterable[object]) -> bool:
    return all(math.isfinite(value) for value in values if type(value) is float)


_ENCODER = json.JSONEncoder(ensure_ascii=False, check_circular=False, allow_nan=False, separators=(",", ":"))


def _encode_args_slowly(args: Mapping[str, object]) -> bytes:
    if not isinstance(args, Mapping):
        raise ArgumentEncodingError(f"args: a mapping of names to values is needed, not {type_with_article(args)}")
    plain = args if isinstance(args, dict) else dict(args)
    check_args(plain)
    try:
        return _utf8(_ENCODER.encode(plain))
    except RecursionError:
        raise ArgumentEncodingError("args: nested deeper than the interpreter can follow") from None


def _utf8(text: str) -> bytes:
    # Only lone surrogates have no UTF-8, and a backslash escape is how JSON spells one.
    return text.encode("utf-8", "backslashreplace")


def _may_have_lost_digits(values: Collection[object]) -> bool:
    """Return whether a float among ``values``, at any depth, may have been an integer beyond 64 bits."""
    return any(abs(value) >= _BEYOND_64_BITS for group in groups(values) for value in group if type(value) is float)


def _finite(number: str) -> float:
    value = float(number)
    if math.isinf(value):
        raise ValueError(f"it holds {number:.40}, too large for a double")
    return value


_EXACT_DECODER = json.JSONDecoder(parse_float=_finite, parse_constant=reject_constant)

# How surrogateescape marks a byte that is not UTF-8. Like Go, replace each such byte, not each run of them.
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
        raise PayloadError("nested deeper than the interpreter can follow") from None
    except ValueError as error:
        raise PayloadError(f"not JSON: {error}") from error


def _as_job(value: object) -> dict[str, Any]:
    """Return the fields of a job that was decoded slowly, which accepts what orjson does not."""
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
    raise PayloadError(f"not a JSON object but {'null' if value is None else type_with_article(value)}")
