"""Binding: a call of a handler, made into the arguments of a job."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .._json.walk import CONTAINERS, subscript
from ..errors import ArgumentEncodingError, UsageError
from .conversions import Encoder
from .enqueue_options import OptionsDict
from .handler import Handler
from .mismatch import Mismatch, NotWritable, names_of, path_text, wrong_type
from .names import suggestion
from .parameters import reserved_name


def bind_arguments(handler: Handler, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
    """Return the job arguments for a call of a handler: by name, without defaults.

    Values of types that JSON lacks, such as a ``datetime``, become JSON where the handler is annotated with the type.

    :raises UsageError: when Python would refuse the call with a ``TypeError``.
    :raises ArgumentEncodingError: when such a value has no JSON, such as a ``datetime`` without a time zone. The
        message names its path.
    """
    bound = _name_arguments(handler, args, kwargs)
    for key, parameter in handler.parameters.items():
        if parameter.required and key not in bound:
            raise UsageError(f"{handler.name}: argument {key!r} is missing")
    return _encode_all(handler, bound)


def bind_some_arguments(handler: Handler, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """Return some arguments of a call of a handler as its jobs hold them, by name.

    :raises UsageError: when the handler does not take one of them.
    :raises ArgumentEncodingError: as :func:`bind_arguments`.
    """
    return _encode_all(handler, _name_arguments(handler, args, kwargs))


def _name_arguments(handler: Handler, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    if len(args) > len(handler.parameters):
        raise UsageError(
            f"{handler.name} takes {len(handler.parameters)} arguments by position, {len(args)} were given"
        )
    bound = dict(zip(handler.parameters, args, strict=False))
    for key, value in kwargs.items():
        if key in bound:
            raise UsageError(f"{handler.name}: argument {key!r} was given twice")
        # The function repeats the conditions. A call of it for each argument would cost as much as all of this.
        if key not in handler.parameters or key in handler.reserved:
            _check_name(handler, key)
        bound[key] = value
    return bound


def _encode_all(handler: Handler, args: dict[str, Any]) -> dict[str, Any]:
    """Make the values of arguments into JSON values, in place."""
    for key, value in args.items():
        parameter = handler.parameters.get(key, handler.rest)
        if parameter is not None and parameter.encode is not None:
            args[key] = _encoded(parameter.encode, key, value)
    return args


def check_types(handler: Handler, args: Mapping[str, Any]) -> None:
    """Check job arguments, as :func:`bind_arguments` returns them, against the types that a handler takes.

    :raises UsageError: when one is of another type.
    """
    for key, value in args.items():
        parameter = handler.parameters.get(key, handler.rest)
        if parameter is not None and parameter.convert is not None:
            try:
                parameter.convert(value)
            except Mismatch as error:
                raise UsageError(f"{handler.name}: {wrong_type(key, error)}") from error.__cause__


def _check_name(handler: Handler, key: str) -> None:
    if key not in handler.parameters and not handler.takes_any:
        takes = names_of(handler.parameters, "no arguments") + suggestion(key, handler.parameters)
        if key in OptionsDict.__optional_keys__:
            takes += f". For the option of that name, write task.options({key}=…)"
        raise UsageError(f"{handler.name} takes no argument {key!r}; it takes {takes}")
    if key in handler.reserved:
        raise UsageError(f"{handler.name}: {reserved_name(key)}")


def _encoded(encode: Encoder, key: str, value: Any) -> Any:
    try:
        return encode(value)
    except NotWritable as error:
        raise ArgumentEncodingError(f"{path_text(key, error)}: {error.reason}") from error.__cause__
    except RecursionError:
        if isinstance(value, CONTAINERS):  # the JSON encoder reports where the value contains itself
            return value
        raise ArgumentEncodingError(f"args{subscript(key)}: it contains itself, or is nested too deep") from None
