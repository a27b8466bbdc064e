"""Environment variables: settings that the code leaves out.

Pools, enqueuers, clients and the command line share one order of precedence: an option of the command, then the code,
then the environment, then the default. A variable is read when an object is made, not at import.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TypeVar

from ._jobs.printable import shown
from .errors import UsageError

T = TypeVar("T")
N = TypeVar("N", int, float)

REDIS = "ASYNCWORK_REDIS"
NAMESPACE = "ASYNCWORK_NAMESPACE"
CONCURRENCY = "ASYNCWORK_CONCURRENCY"
GRACE = "ASYNCWORK_GRACE"
PROCESSES = "ASYNCWORK_PROCESSES"
LOOP = "ASYNCWORK_LOOP"
VERSION_LABEL = "ASYNCWORK_VERSION_LABEL"

DEFAULT_NAMESPACE = "work"


def variable(name: str) -> str | None:
    """Return an environment variable, or ``None``. An empty one counts as unset, because deployment tools set such."""
    return os.environ.get(name) or None


def read(source: str, text: str, reader: Callable[[str], T]) -> T:
    """Return the value of a text, read by ``reader``.

    :param source: the option or the variable that holds the text.
    :raises UsageError: when the text is not valid; the message names the source.
    """
    try:
        return reader(text)
    except UsageError as error:
        raise UsageError(f"{source}: {error}") from None


def choose(value: T | None, name: str, reader: Callable[[str], T], default: T) -> T:
    """Return the value in the code, else the environment variable ``name``, else the default.

    :param value: ``None`` when the code has no value.
    :raises UsageError: when the variable is used and not valid.
    """
    if value is not None:
        return value
    text = variable(name)
    return default if text is None else read(name, text, reader)


def namespace_of(value: str | None) -> str:
    """Return the namespace in the code, else the environment's, else the default.

    :raises UsageError: when it is not text.
    """
    namespace = choose(value, NAMESPACE, str, DEFAULT_NAMESPACE)
    if not isinstance(namespace, str):
        raise UsageError(f"namespace must be text, not {shown(namespace)}")
    return namespace


def number(text: str, kind: Callable[[str], N], wanted: str) -> N:
    """Return a text as a number.

    :param kind: ``int`` or ``float``.
    :param wanted: what the number is called in the message.
    :raises UsageError: when the text is not such a number.
    """
    try:
        return kind(text)
    except ValueError:
        raise UsageError(f"{wanted} is needed, not {shown(text)}") from None
