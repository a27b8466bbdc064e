"""Conversions of pydantic's and msgspec's classes, by their own library, because only it knows their settings.

Aliases, tags, validators and serializers of a class apply, and so do the library's formats within it: both write a
``timedelta`` as an ISO 8601 duration. Neither library is imported here, because a program that has such a class has
imported it.
"""

from __future__ import annotations

import json
import sys
import typing
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import orjson

from ..errors import HandlerError
from .class_types import is_instance
from .conversions import Conversion
from .field_types import field_types
from .json_forms import Form, tags_of
from .mismatch import Mismatch, NotWritable


def model_of(annotation: Any) -> Conversion | None:
    """Return the conversion of a class of pydantic or msgspec, or ``None`` for any other type.

    :raises HandlerError: when the library cannot use the class.
    """
    kind = typing.get_origin(annotation) or annotation
    if "pydantic" in sys.modules and hasattr(kind, "__pydantic_validator__"):
        return _pydantic(annotation, kind)
    if "msgspec" in sys.modules and hasattr(kind, "__struct_config__"):
        return _msgspec(annotation, kind)
    return None


def _pydantic(annotation: Any, kind: type) -> Conversion:
    try:
        adapter = sys.modules["pydantic"].TypeAdapter(annotation)
    except Exception as error:  # of several classes, among them NameError
        reason = str(error).partition("\n")[0]
        raise HandlerError(f"pydantic cannot read {kind.__name__}: {reason}") from None

    _refuse_secrets(kind, set())

    def convert(value: Any) -> Any:
        try:
            # Only when it reads JSON does pydantic accept the JSON form of each type in strict models.
            return adapter.validate_json(_to_json(value))
        except ValueError as error:
            raise _pydantic_mismatch(kind.__name__, value, error) from error

    def encode(value: Any) -> Any:
        if not is_instance(value, kind):
            return value
        try:
            # Without computed fields, which the model could not read again.
            return adapter.dump_python(value, mode="json", by_alias=True, round_trip=True)
        except ValueError as error:
            raise NotWritable(f"pydantic cannot write this {kind.__name__}: {error}") from error

    return Conversion(convert, encode, kind.__name__, (_pydantic_form(kind),))


def _to_json(value: Any) -> bytes:
    try:
        return orjson.dumps(value)
    except TypeError:  # a lone surrogate, an integer beyond 64 bits, or many levels
        return json.dumps(value).encode()


def _pydantic_mismatch(name: str, value: Any, error: Exception) -> Mismatch:
    """Return the first of the problems that pydantic lists."""
    problems = error.errors() if hasattr(error, "errors") else []
    if not problems:
        return Mismatch(name, value, str(error))
    first = problems[0]
    mismatch = Mismatch(name, first["input"], first["msg"])
    mismatch.path = list(reversed(first["loc"]))
    return mismatch


def _refuse_secrets(kind: Any, seen: set[Any]) -> None:
    """Refuse a class with a field that pydantic writes as asterisks, unless a serializer of its own writes the field.

    :param seen: classes that were checked.
    """
    decorators = getattr(kind, "__pydantic_decorators__", None)
    if kind in seen or decorators is None or decorators.model_serializers or _json_encoders(kind):
        return
    seen.add(kind)
    written = {name for each in decorators.field_serializers.values() for name in each.info.fields}
    for name, field in _pydantic_fields(kind).items():
        if name in written or "*" in written or field.exclude or _has_serializer(field.metadata):
            continue
        for part in _parts(field.annotation):
            if hasattr(part, "get_secret_value"):
                raise HandlerError(
                    f"{kind.__name__}.{name} is a {part.__name__}, which pydantic writes as '**********': take str and "
                    "pass a reference to the secret, or add a field_serializer that returns value.get_secret_value(), "
                    "which anyone who can read Redis can read"
                )
            _refuse_secrets(part, seen)


def _json_encoders(kind: Any) -> object:
    return getattr(kind, "model_config", getattr(kind, "__pydantic_config__", {})).get("json_encoders")


def _has_serializer(metadata: Iterable[Any]) -> bool:
    serializers = sys.modules["pydantic"].PlainSerializer, sys.modules["pydantic"].WrapSerializer
    return any(isinstance(each, serializers) for each in metadata)


def _parts(annotation: Any) -> Iterator[Any]:
    """Yield the classes in an annotation, except those that a serializer in ``Annotated`` writes."""
    if _has_serializer(getattr(annotation, "__metadata__", ())):
        return
    kind = typing.get_origin(annotation) or annotation
    if isinstance(kind, type):
        yield kind
    for each in typing.get_args(annotation):
        yield from _parts(each)


def _pydantic_fields(kind: Any) -> Mapping[str, Any]:
    return getattr(kind, "__pydantic_fields__", None) or getattr(kind, "model_fields", {})


def _pydantic_form(kind: Any) -> Form:
    fields = _pydantic_fields(kind)
    if hasattr(kind, "__pydantic_root_model__") and kind.__pydantic_root_model__:
        return Form("any", True)
    names = {name: field.serialization_alias or field.alias or name for name, field in fields.items()}
    tags = tags_of({names[name]: field.annotation for name, field in fields.items()})
    return Form("object", True, keys=frozenset(names.values()), tags=tags)


def _msgspec(annotation: Any, kind: Any) -> Conversion:
    msgspec = sys.modules["msgspec"]
    try:
        msgspec.json.Decoder(annotation)
    except Exception as error:  # TypeError, or NameError for an annotation that it cannot resolve
        raise HandlerError(f"msgspec cannot read {kind.__name__}: {error}") from None

    def convert(value: Any) -> Any:
        try:
            return msgspec.convert(value, annotation, str_keys=True)
        except UnicodeEncodeError as error:
            raise Mismatch(kind.__name__, value, "text that UTF-8 cannot hold, because of a lone surrogate") from error
        except msgspec.ValidationError as error:
            reason, _, where = str(error).partition(" - at `$")
            raise Mismatch(kind.__name__, value, f"{reason} at {where.strip('.`')}" if where else reason) from error

    def encode(value: Any) -> Any:
        if not is_instance(value, kind):
            return value
        try:
            return msgspec.to_builtins(value, str_keys=True)
        except (TypeError, ValueError, msgspec.MsgspecError) as error:
            raise NotWritable(f"msgspec cannot write this {kind.__name__}: {error}") from error

    return Conversion(convert, encode, kind.__name__, (_msgspec_form(annotation, kind),))


def _msgspec_form(annotation: Any, kind: Any) -> Form:
    config = kind.__struct_config__
    if config.array_like:
        return Form("list", True, items=(Form("any", True),))
    types = field_types(annotation)
    names = dict(zip(kind.__struct_fields__, kind.__struct_encode_fields__, strict=True))
    tags = tags_of({names[name]: hint for name, hint in types.items() if name in names})
    if config.tag_field is not None:
        tags[config.tag_field] = frozenset([config.tag])
    # Fields that have their default may be left out, so the keys do not distinguish classes.
    keys = None if config.omit_defaults else frozenset([*names.values(), *tags])
    return Form("object", True, keys=keys, tags=tags)
