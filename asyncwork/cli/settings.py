"""Values of options, and of the environment variables for those that are not given."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import TypeVar

from .. import _environment
from .._environment import number, read
from .._jobs.times import seconds_of
from ..enqueuer import Enqueuer
from ..errors import UsageError
from .usage.log_options import LOG_FORMATS, LOG_LEVELS

T = TypeVar("T")

__all__ = ["choose", "level", "log_format", "log_options", "read", "redis_options", "seconds", "url"]


def redis_options(options: argparse.Namespace) -> tuple[str | None, str]:
    """Return the URL of Redis and the namespace; ``None`` for the default Redis.

    :raises UsageError: when the URL of Redis is invalid.
    """
    return choose("--redis", options.redis, _environment.REDIS, url), _environment.namespace_of(options.namespace)


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


def url(text: str) -> str:
    """Check the URL of a Redis, and return it."""
    # The namespace is one that a cluster accepts too.
    Enqueuer(text, namespace="{work}")
    return text


def seconds(text: str) -> float:
    """Parse a duration in seconds."""
    return seconds_of(number(text, float, "a number of seconds"), "it")


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
