"""Takes one argument from a job, converted to a type."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..errors import ArgumentMismatchError
from .argument_types import conversion
from .mismatch import Mismatch, missing, wrong_type

# Stands for "no default", because None may be one.
MISSING: Any = object()


def take_argument(args: Mapping[str, Any], key: str, annotation: object, default: Any = MISSING) -> Any:
    """Return ``args[key]`` converted to ``annotation``, or ``default`` when the key is missing.

    :raises ArgumentMismatchError: when the key is missing without a default, or its value is of another type. The
        message names the key, the wanted and the found type.
    :raises HandlerError: when no JSON value can ever be of that type.
    """
    try:
        value = args[key]
    except KeyError:
        if default is MISSING:
            raise ArgumentMismatchError(missing(key, annotation)) from None
        return default
    convert = conversion(annotation).convert
    if convert is None:
        return value
    try:
        return convert(value)
    except Mismatch as error:
        raise ArgumentMismatchError(wrong_type(key, error)) from error.__cause__
