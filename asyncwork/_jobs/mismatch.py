"""Values that cannot be converted: where in an argument they are, and the messages about them."""

from __future__ import annotations

from collections.abc import Iterable

from .._json.walk import subscript


class ConversionError(Exception):
    """A value cannot be converted.

    :ivar path: the keys and indexes that lead from the argument to the value, the innermost first.
    """

    def __init__(self) -> None:
        super().__init__()
        self.path: list[object] = []


class Mismatch(ConversionError):
    """A JSON value is not of the annotated type.

    :ivar wanted: the type, and its form in JSON if the type alone does not say it.
    :ivar found: the JSON value.
    :ivar reason: what is wrong with it, if that is not its type.
    """

    def __init__(self, wanted: str, found: object, reason: str = "") -> None:
        super().__init__()
        self.wanted = wanted
        self.found = found
        self.reason = reason


class NotWritable(ConversionError):
    """A value of the annotated type cannot be written as JSON.

    :ivar reason: why, and what to pass instead.
    """

    def __init__(self, reason: str) -> None:
        super().__init__()
        self.reason = reason


def missing(key: str, annotation: object) -> str:
    """Return the message for an argument that a job lacks."""
    return f"argument {key!r} is missing: wanted {type_name(annotation)}"


def wrong_type(key: str, mismatch: Mismatch) -> str:
    """Return the message for an argument whose value, or a value in it, is of another type."""
    where = f" at {path_text(key, mismatch)}" if mismatch.path else ""
    reason = f": {mismatch.reason}" if mismatch.reason else ""
    found = _describe(mismatch.found)
    return f"argument {key!r} has the wrong type{where}: wanted {mismatch.wanted}, found {found}{reason}"


def path_text(key: str, error: ConversionError) -> str:
    """Return where a value is in a job's arguments, such as ``args["order"]["lines"][0]``."""
    return f"args{subscript(key)}{path_below(error)}"


def path_below(error: ConversionError) -> str:
    """Return where a value is in an argument or a result, such as ``["lines"][0]``."""
    return "".join(map(subscript, reversed(error.path)))


def type_name(annotation: object) -> str:
    """Return an annotation as its author would write it."""
    if annotation is None or annotation is type(None):
        return "None"
    return annotation.__name__ if isinstance(annotation, type) else str(annotation).replace("typing.", "")


def names_of(names: Iterable[str], none: str = "nothing") -> str:
    """Return names in a list for a message, or another text if there are none."""
    return ", ".join(names) or none


def _describe(value: object) -> str:
    """Return the type and a short form of a value, for messages."""
    text = repr(value)
    if len(text) > 60:
        text = text[:57] + "…"
    return "null" if value is None else f"{type(value).__name__} {text}"
