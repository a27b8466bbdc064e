"""Values of the command line, and of the environment for what only a command reads. An option counts more."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import TypeVar

from .. import _environment
from .._environment import number, read
from ..enqueuer import Enqueuer
from ..errors import UsageError, check_delay
from .logs import FORMATS

T = TypeVar("T")

__all__ = ["LEVELS", "add_place", "choose", "level", "place", "read", "seconds", "url"]

LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")


def add_place(parser: argparse.ArgumentParser) -> None:
    """Add the options that tell which namespace of which Redis is meant."""
    redis = "redis://, redis+sentinel://, redis+cluster://, … (environment: ASYNCWORK_REDIS)"
    namespace = "the prefix of every key in Redis (environment: ASYNCWORK_NAMESPACE; work)"
    parser.add_argument("-n", "--namespace", metavar="NS", help=namespace)
    parser.add_argument("--redis", metavar="URL", help=redis)


def place(options: argparse.Namespace) -> tuple[str | None, str]:
    """Return which Redis and which namespace are meant; ``None`` for the usual Redis.

    :raises UsageError: when the URL of Redis cannot be right.
    """
    return choose("--redis", options.redis, _environment.REDIS, url), _environment.namespace_of(options.namespace)


def choose(flag: str, given: str | None, variable: str, reader: Callable[[str], T]) -> T | None:
    """Return the value of an option, or else of an environment variable; ``None`` when there is neither.

    An empty variable is as good as none: that is what deployment tools make of a value that was not set.

    :raises UsageError: when it cannot be right; the message names the option or the variable.
    """
    source, text = (flag, given) if given is not None else (variable, _environment.variable(variable))
    return None if text is None else read(source, text, reader)


def url(text: str) -> str:
    """Read the URL of a Redis."""
    # In a namespace that goes with any.
    Enqueuer(text, namespace="{work}")
    return text


def seconds(text: str) -> float:
    """Read a duration."""
    return check_delay(number(text, float, "a number of seconds"), "it")


def log_options(options: argparse.Namespace) -> tuple[str, str]:
    """Return the level and the format of the log; the format is kept in the options, for what ends the command.

    :raises UsageError: when one of them cannot be right.
    """
    options.log_format = choose("--log-format", options.log_format, "ASYNCWORK_LOG_FORMAT", log_format) or "text"
    return choose("--log-level", options.log_level, "ASYNCWORK_LOG_LEVEL", level) or "INFO", options.log_format


def log_format(text: str) -> str:
    """Read a log format."""
    if text not in FORMATS:
        raise UsageError(f"a log format is one of {', '.join(FORMATS)}, not {text!r}")
    return text


def level(text: str) -> str:
    """Read a log level."""
    if text.upper() not in LEVELS:
        raise UsageError(f"a log level is one of {', '.join(LEVELS).lower()}, not {text!r}")
    return text.upper()
