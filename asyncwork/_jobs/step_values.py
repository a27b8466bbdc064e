"""The values of steps and events: written as JSON, and read again by their annotations."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from contextlib import suppress
from typing import Any
from weakref import WeakKeyDictionary

from .._json import codec
from ..errors import ArgumentEncodingError, PayloadError, StepError
from .argument_types import conversion
from .conversions import ANY, Conversion
from .error_text import describe_error
from .mismatch import Mismatch, NotWritable, path_below, wrong_type
from .return_type import return_conversion
from .signature import AnnotatedParameter, read_signature
from .step_fields import read
from .step_names import RESULT_LIMIT

_REPEATED = "The job is dead, because another attempt would run the step again, as a retry by hand does"


def conversion_of(function: Callable[..., Any]) -> Conversion:
    """Return how what a function returns is written and read.

    :raises HandlerError: when no JSON value can ever be of the annotated type, or it is not a function.
    """
    # A bound method is a new object each time, but its function is not.
    key = getattr(function, "__func__", function)
    try:
        return _known[key]
    except (KeyError, TypeError):  # some can neither be hashed nor be referred to weakly
        found = _read_conversion(function)
    with suppress(TypeError):
        _known[key] = found
    return found


# By function, weakly: a function of a handler may hold whatever the handler holds.
_known: WeakKeyDictionary[Any, Conversion] = WeakKeyDictionary()


def _read_conversion(function: Callable[..., Any]) -> Conversion:
    try:
        inspect.signature(function)
    except ValueError:  # one that is written in C
        return ANY
    return return_conversion(function)


def position_conversion(source: Callable[..., Any]) -> Conversion:
    """Return how the position of a cursor is written and read: by the annotation of the first parameter of its source.

    :raises HandlerError: when no JSON value can ever be of that type, or it is not a function.
    """
    parameters: list[AnnotatedParameter] = read_signature(source)
    annotation = parameters[0][1] if parameters else Any
    if parameters and annotation is not parameters[0][0].empty:
        return conversion(annotation)
    return ANY


def encode_result(name: str, value: object, returns: Conversion) -> bytes:
    """Return what a step has returned, as JSON.

    :raises StepError: when JSON cannot hold it, or it is too long.
    """
    try:
        encoded = codec.encode_value(value if returns.encode is None else returns.encode(value))
    except NotWritable as error:
        problem = f"result{path_below(error)}: {error.reason}"
    except ArgumentEncodingError as error:
        problem = str(error)
    except Exception as error:  # a class of the application may raise anything
        problem = describe_error(error)
    else:
        if len(encoded) <= RESULT_LIMIT:
            return encoded
        problem = f"its JSON has {len(encoded)} bytes, and at most {RESULT_LIMIT} are kept: return where it is stored"
    raise StepError(f"step {name!r} has run, and what it returned cannot be recorded: {problem}. {_REPEATED}")


def decode_result(name: str, value: bytes, returns: Conversion) -> Any:
    """Return what a step has returned, from the value of its field.

    :raises StepError: when it cannot be read, or is of another type than the step's function returns.
    """
    return _converted(f"step {name!r}", value, 2, returns)


def decode_event(name: str, value: bytes, wanted: Any) -> Any:
    """Return what an event has brought, from the value of its field.

    :param wanted: its type.
    :raises StepError: when it cannot be read, or is of another type.
    :raises HandlerError: when no JSON value can ever be of that type.
    """
    return _converted(f"event {name!r}", value, 1, ANY if wanted is Any else conversion(wanted))


def decode_position(name: str, value: bytes, positions: Conversion) -> tuple[float, Any, bool]:
    """Return when a cursor was moved, epoch seconds, its position, and whether there are no more rows.

    :raises StepError: when it cannot be read, or is of another type.
    """
    position = _converted(f"cursor {name!r}", value, 1, positions)
    return float(read(value)[0]), position, len(read(value)) > 2


def _converted(label: str, value: bytes, index: int, wanted: Conversion) -> Any:
    try:
        found = read(value)[index]
        return found if wanted.convert is None else wanted.convert(found)
    except Mismatch as error:
        reason = wrong_type("value", error).removeprefix("argument 'value' ")
        raise StepError(f"what is recorded of {label} {reason}") from error
    except (PayloadError, IndexError) as error:
        raise StepError(f"what is recorded of {label} cannot be read: {error}") from error
