"""Settings of a pool that the environment may hold, and environment variables that the code overrules."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from typing import NamedTuple

from .. import _environment
from .._jobs.times import seconds_of
from .._redis.urls import mask
from ..errors import UsageError
from ..options import PoolOptions, check_version_label, read_concurrency, read_grace


class OverruledVariable(NamedTuple):
    """An environment variable whose value is not used, because the code or the command line has another value.

    :ivar option: the option of ``asyncwork run`` for the same setting.
    :ivar variable: the variable's name.
    :ivar value: the variable's value, without a password.
    :ivar used: the value that is used, without a password.
    """

    option: str
    variable: str
    value: str
    used: str


def concurrency_of(value: int | None) -> int:
    """Return how many jobs run at once: the value, else the environment's, else 10.

    :raises UsageError: when the variable counts and its value is not valid.
    """
    return _environment.choose(value, _environment.CONCURRENCY, read_concurrency, 10)


def grace_of(value: float | timedelta | None) -> float:
    """Return the grace period in seconds: the value, else the environment's, else 25.

    :raises UsageError: when the one that counts is not valid.
    """
    given = None if value is None else seconds_of(value, "grace")
    return _environment.choose(given, _environment.GRACE, read_grace, 25.0)


def version_label_of(value: str | None) -> str:
    """Return the label of the application's version: the value, else the environment's, else nothing.

    :raises UsageError: when the one that counts is not valid.
    """
    given = None if value is None else check_version_label(value)
    return _environment.choose(given, _environment.VERSION_LABEL, check_version_label, "")


def overruled_variables(options: PoolOptions) -> list[OverruledVariable]:
    """Return the environment variables that hold another value than a pool uses. Invalid values are left out."""
    settings: list[tuple[str, str, object, Callable[[str], object]]] = [
        ("redis", _environment.REDIS, options.url, str),
        ("namespace", _environment.NAMESPACE, options.namespace, str),
        ("concurrency", _environment.CONCURRENCY, options.concurrency, read_concurrency),
        ("grace", _environment.GRACE, options.grace, read_grace),
        ("version-label", _environment.VERSION_LABEL, options.version_label, check_version_label),
    ]
    overruled = []
    for option, name, used, reader in settings:
        value = _environment.variable(name)
        with suppress(UsageError):
            if value is not None and reader(value) != used:
                shown = mask if option == "redis" else str
                overruled.append(OverruledVariable(option, name, shown(value), shown(str(used))))
    return overruled
