"""Texts of errors and other values of user code, whose own methods may raise anything or return anything.

Nothing here raises. Special methods are called only if nothing else has the text, and each call is guarded against
``BaseException``. Everything else is read without calling what a class or a metaclass may have redefined.
"""

from __future__ import annotations

import traceback
from types import TracebackType

_NAME = type.__dict__["__name__"]
_TRACEBACK = BaseException.__dict__["__traceback__"]


def type_name_of(value: object) -> str:
    """Return the name of a value's class."""
    name: str = _NAME.__get__(type(value))
    return name


def is_of(error: BaseException, *kinds: type[BaseException]) -> bool:
    """Return whether an error is of one of these classes. ``isinstance`` would also read its ``__class__`` property."""
    return issubclass(type(error), kinds)


def text_of(value: object) -> str:
    """Return ``str(value)``, or the reason in angle brackets when ``str`` fails."""
    try:
        return _plain(str(value))
    except BaseException as error:
        return f"<str() failed: {type_name_of(error)}{_reason(error)}>"


def _reason(error: BaseException) -> str:
    try:
        message = _plain(str(error))
    except BaseException:
        return ""
    return f": {message}" if message else ""


def _plain(text: str) -> str:
    # Return a plain str, because a subclass may have methods that raise.
    return str.__str__(text)


def describe_error(error: BaseException) -> str:
    """Return an error's class and message, such as ``ValueError: no such customer``."""
    name, message = type_name_of(error), text_of(error)
    return f"{name}: {message}" if message else name


def traceback_of(error: BaseException) -> TracebackType | None:
    """Return an error's traceback."""
    trace: TracebackType | None = _TRACEBACK.__get__(error)
    return trace


def format_error(error: BaseException, trace: TracebackType | None, limit: int | None = None) -> str:
    """Return a traceback as text that ends with the error.

    If the error cannot be formatted, the text is its frames and what :func:`describe_error` returns.

    :param limit: the limit of :func:`traceback.format_exception`.
    """
    try:
        return "".join(traceback.format_exception(type(error), error, trace, limit=limit, chain=False))
    except BaseException:  # such as a SyntaxError whose line number is text
        return f"{_format_frames(trace, limit)}{describe_error(error)}\n"


def _format_frames(trace: TracebackType | None, limit: int | None) -> str:
    try:
        return "".join(["Traceback (most recent call last):\n", *traceback.format_tb(trace, limit)])
    except BaseException:
        return ""
