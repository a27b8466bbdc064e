"""The environment variables that hold what the code does not say.

One rule for pools, enqueuers, clients and the command line: an option of the command counts most, then what the code
says, then the environment, then the default. A variable is read when an object is made, not at import.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TypeVar

from .errors import UsageError

T = TypeVar("T")
N = TypeVar("N", int, float)

REDIS = "ASYNCWORK_REDIS"
NAMESPACE = "ASYNCWORK_NAMESPACE"
CONCURRENCY = "ASYNCWORK_CONCURRENCY"
GRACE = "ASYNCWORK_GRACE"

DEFAULT_NAMESPACE = "work"


def variable(name: str) -> str | None:
    """Return an environment variable, or ``None``. An empty one counts as not set, as deployment tools leave it."""
    return os.environ.get(name) or None


def read(source: str, text: str, reader: Callable[[str], T]) -> T:
    """Return the value of a text that was given as an option or a variable.

    :raises UsageError: when it cannot be right; the message names the option or the variable.
    """
    try:
        return reader(text)
    except UsageError as error:
        raise UsageError(f"{source}: {error}") from None


def choose(said: T | None, name: str, reader: Callable[[str], T], default: T) -> T:
    """Return what the code said, else the environment variable ``name``, else the default.

    :param said: ``None`` when the code says nothing.
    :raises UsageError: when the variable counts and cannot be right.
    """
    if said is not None:
        return said
    text = variable(name)
    return default if text is None else read(name, text, reader)


def namespace_of(said: str | None) -> str:
    """Return the namespace that an object works in.

    :raises UsageError: when it is not text.
    """
    namespace = choose(said, NAMESPACE, str, DEFAULT_NAMESPACE)
    if not isinstance(namespace, str):
        raise UsageError(f"namespace must be text, not {namespace!r}")
    return namespace


def number(text: str, kind: Callable[[str], N], wanted: str) -> N:
    """Read a number.

    :param kind: ``int`` or ``float``.
    :raises UsageError: when it is none; the message says that ``wanted`` is needed.
    """
    try:
        return kind(text)
    except ValueError:
        raise UsageError(f"{wanted} is needed, not {text!r}") from None
