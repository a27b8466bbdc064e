"""Conversions of unions: the first member that fits, after those that need no conversion."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ..errors import HandlerError
from .conversions import Conversion
from .json_forms import Form, find_overlap, kind_of
from .mismatch import Mismatch, NotWritable


def union(members: Sequence[Conversion], exact: frozenset[type], name: str) -> Conversion:
    """Return the conversion of a union.

    Members are tried in their order. If several are classes with fields, the one whose fields are most like an
    object's keys comes first.

    :param exact: member types whose values are kept. ``float | int`` must not convert the int 1 to a float.
    :raises HandlerError: when two members share a form in JSON, and one of them is a type that JSON lacks.
    """
    _check(members, name)
    readers = [each for each in members if each.convert is not None]
    order = _ranked(readers) if any(each.converted for each in members) else None

    def convert(value: Any) -> Any:
        if type(value) in exact:
            return value
        mismatches = []
        for one in readers if order is None else order(value):
            assert one.convert is not None
            try:
                return one.convert(value)
            except Mismatch as error:
                mismatches.append((one, error))
        raise _mismatch(name, value, mismatches)

    writers = [each for each in members if each.encode is not None]
    forms = tuple(form for each in members for form in each.forms)
    reads_all = len(readers) < len(members)
    return Conversion(None if reads_all else convert, _encoder(writers) if writers else None, name, forms)


def _check(members: Sequence[Conversion], name: str) -> None:
    overlap = find_overlap([member.forms for member in members])
    if overlap is None:
        return
    one, other, form = overlap
    both = f"{members[one].name} and {members[other].name}"
    if form.kind == "object" and form.keys is not None:
        remedy = "give each a field that distinguishes them, such as kind: Literal['a'] and kind: Literal['b']"
    else:
        remedy = "take one of them, or a parameter for each"
    raise HandlerError(f"{name} is ambiguous, because {both} cannot be distinguished in JSON: {remedy}")


def _ranked(readers: list[Conversion]) -> Callable[[Any], list[Conversion]] | None:
    """Return what sorts the members for a value, or ``None`` if they need no sorting."""
    keys = [next((form.keys for form in each.forms if form.keys is not None), None) for each in readers]
    if sum(each is not None for each in keys) < 2:
        return None

    def ranked(value: Any) -> list[Conversion]:
        if type(value) is not dict:
            return readers
        distances = [len(each ^ value.keys()) if each is not None else 0 for each in keys]
        return [readers[index] for index in sorted(range(len(readers)), key=distances.__getitem__)]

    return ranked


def _mismatch(name: str, value: Any, mismatches: list[tuple[Conversion, Mismatch]]) -> Mismatch:
    """Return the error of the member that the value comes closest to, or one that names all members."""
    kind = kind_of(value)
    close = [error for member, error in mismatches if any(form.kind in (kind, "any") for form in member.forms)]
    if len(close) == 1:
        return close[0]
    deepest = max(close, key=lambda error: len(error.path), default=None)
    return deepest if deepest is not None and deepest.path else Mismatch(name, value)


def _encoder(writers: list[Conversion]) -> Callable[[Any], Any]:
    checked = [_is_checked(each.forms) for each in writers]

    def encode(value: Any) -> Any:
        refusal: NotWritable | None = None
        written = value
        for one, check in zip(writers, checked, strict=True):
            assert one.encode is not None
            try:
                encoded = one.encode(value)
            except NotWritable as error:
                refusal = refusal or error
                continue
            if encoded is value:
                continue
            if not check or _reads(one, encoded):
                return encoded
            written = encoded if written is value else written
        if written is value and refusal is not None:
            raise refusal
        return written

    return encode


def _is_checked(forms: tuple[Form, ...]) -> bool:
    """Return whether the JSON of a member is read again before it is taken.

    A container is written whatever its items are: ``list[UUID] | list[date]`` would write dates as UUIDs.
    """
    return any(form.converted and form.keys is None and form.kind in ("list", "object") for form in forms)


def _reads(member: Conversion, encoded: Any) -> bool:
    try:
        if member.convert is not None:
            member.convert(encoded)
    except Mismatch:
        return False
    return True
