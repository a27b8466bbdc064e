"""Values of options, and of the environment variables for those that are not given."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from .. import _environment
from .._environment import number, read
from .._jobs.printable import shown
from .._jobs.times import seconds_of
from ..enqueuer import Enqueuer
from ..errors import UsageError
from ..options import check_version_label
from . import logs
from .dev.record import find_record
from .usage.log_options import LOG_FORMATS, LOG_LEVELS

T = TypeVar("T")

__all__ = [
    "choose",
    "interval",
    "level",
    "log_format",
    "log_options",
    "read",
    "redis_options",
    "seconds",
    "url",
    "version_label",
]


def redis_options(options: argparse.Namespace) -> tuple[str | None, str]:
    """Return the URL of Redis and the namespace; ``None`` for the default Redis.

    Without an option or a variable, they are those of the development server that runs in this directory, if one does.

    :raises UsageError: when the URL of Redis is invalid.
    """
    chosen = choose("--redis", options.redis, _environment.REDIS, url)
    record = None if chosen is not None else find_record(Path.cwd())
    if record is None:
        return chosen, _environment.namespace_of(options.namespace)
    named = choose("--namespace", options.namespace, _environment.NAMESPACE, str)
    namespace = record.namespace if named is None else named
    text = f"using `asyncwork dev` of this directory, process {record.pid}, namespace {shown(namespace)}"
    if getattr(options, "log_format", "text") == "json":
        logs.write_now("json", logging.INFO, text)
    else:
        logs.complain(options, text)
    return record.url, namespace


def log_options(options: argparse.Namespace) -> tuple[str, str]:
    """Return the level and the format of the log. Also store the format in ``options``, for errors of the command.

    :raises UsageError: when one of them is invalid.
    """
    options.log_format = choose("--log-format", options.log_format, "ASYNCWORK_LOG_FORMAT", log_format) or "text"
    return choose("--log-level", options.log_level, "ASYNCWORK_LOG_LEVEL", level) or "INFO", options.log_format


def choose(flag: str, given: str | None, variable: str, reader: Callable[[str], T]) -> T | None:
    """Return the value of an option, or else of an environment variable; ``None`` when neither is set.

    An empty variable counts as not set, because deployment tools leave it so.

    :raises UsageError: when the value is invalid; the message names the option or the variable.
    """
    source, text = (flag, given) if given is not None else (variable, _environment.variable(variable))
    return None if text is None else read(source, text, reader)


def version_label(options: argparse.Namespace) -> str | None:
    """Return the version label of the application, or ``None``.

    :raises UsageError: when it is not valid.
    """
    return choose("--version-label", options.version_label, _environment.VERSION_LABEL, check_version_label)


def url(text: str) -> str:
    """Check the URL of a Redis, and return it."""
    # The namespace is one that a cluster accepts too.
    Enqueuer(text, namespace="{work}")
    return text


def seconds(text: str) -> float:
    """Parse a duration in seconds."""
    return seconds_of(number(text, float, "a number of seconds"), "it")


def interval(text: str) -> float:
    """Parse the seconds between two readings."""
    value = seconds(text)
    if not 0.1 <= value <= 86_400:
        raise UsageError(f"it must be from 0.1 to 86400 seconds, not {value:g}")
    return value


def log_format(text: str) -> str:
    """Check a log format, and return it."""
    if text not in LOG_FORMATS:
        raise UsageError(f"the log format must be one of {', '.join(LOG_FORMATS)}, not {text!r}")
    return text


def level(text: str) -> str:
    """Parse a log level, in upper or lower case."""
    if text.upper() not in LOG_LEVELS:
        raise UsageError(f"the log level must be one of {', '.join(LOG_LEVELS).lower()}, not {text!r}")
    return text.upper()
