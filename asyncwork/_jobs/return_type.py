"""The return type of a handler: writes a result as JSON and reads it again, by the annotation."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from ..errors import HandlerError
from .argument_types import conversion
from .conversions import ANY, Conversion
from .function_kinds import label_of
from .signature import read_return


def return_conversion(function: Callable[..., Any]) -> Conversion:
    """Return how what a function returns, or its coroutine, is written as JSON and read again.

    :raises HandlerError: when no JSON value can ever be of the annotated type.
    """
    annotation = read_return(function)
    if typing.get_origin(annotation) in (Coroutine, Awaitable):
        annotation = typing.get_args(annotation)[-1]
    if annotation is inspect.Signature.empty:
        return ANY
    try:
        return conversion(annotation)
    except HandlerError as error:
        raise HandlerError(f"{label_of(function)}: what it returns cannot be kept. {error}") from None
