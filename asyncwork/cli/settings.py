"""Values of the command line and of the environment. An option counts more than a variable."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from typing import TypeVar

from ..enqueuer import Enqueuer
from ..errors import UsageError, check_delay
from ..options import PoolOptions
from .logs import FORMATS

T = TypeVar("T")

LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")


def add_place(parser: argparse.ArgumentParser) -> None:
    """Add the options that tell which namespace of which Redis is meant."""
    redis = "redis://, redis+sentinel://, redis+cluster://, … (environment: ASYNCWORK_REDIS)"
    parser.add_argument(
        "-n", "--namespace", metavar="NS", help="that of the pools (environment: ASYNCWORK_NAMESPACE; work)"
    )
    parser.add_argument("--redis", metavar="URL", help=redis)


def place(options: argparse.Namespace) -> tuple[str | None, str]:
    """Return which Redis and which namespace are meant; ``None`` for the usual Redis.

    :raises UsageError: when the URL of Redis cannot be right.
    """
    redis = choose("--redis", options.redis, "ASYNCWORK_REDIS", url)
    namespace = choose("--namespace", options.namespace, "ASYNCWORK_NAMESPACE", str)
    return redis, "work" if namespace is None else namespace


def choose(flag: str, given: str | None, variable: str, reader: Callable[[str], T]) -> T | None:
    """Return the value of an option, or else of an environment variable; ``None`` when there is neither.

    An empty variable is as good as none: that is what deployment tools make of a value that was not set.

    :raises UsageError: when it cannot be right; the message names the option or the variable.
    """
    source, text = (flag, given) if given is not None else (variable, os.environ.get(variable) or None)
    return None if text is None else read(source, text, reader)


def read(source: str, text: str, reader: Callable[[str], T]) -> T:
    """Return the value of a text that was given as an option or a variable.

    :raises UsageError: when it cannot be right; the message names the option or the variable.
    """
    try:
        return reader(text)
    except UsageError as error:
        raise UsageError(f"{source}: {error}") from None


def url(text: str) -> str:
    """Read the URL of a Redis."""
    # In a namespace that goes with any.
    Enqueuer(text, namespace="{work}")
    return text


def concurrency(text: str) -> int:
    """Read how many jobs run at once."""
    try:
        number = int(text)
    except ValueError:
        raise UsageError(f"a whole number is needed, not {text!r}") from None
    return PoolOptions(concurrency=number).concurrency


def seconds(text: str) -> float:
    """Read a duration."""
    try:
        number = float(text)
    except ValueError:
        raise UsageError(f"a number of seconds is needed, not {text!r}") from None
    return check_delay(number, "it")


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
