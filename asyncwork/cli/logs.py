"""Logging of the commands to standard error, as text or as JSON."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from ..logging import JobLogFilter, JsonFormatter, TextFormatter, escape_controls

# Which child process of `--processes` this is: `child`, its number, and `pid`. Empty in all other processes.
_child: dict[str, int] = {}


class _ChildLogFilter(logging.Filter):
    """Adds to every log record which child process has written it."""

    def filter(self, record: logging.LogRecord) -> bool:
        vars(record).update(_child)
        return True


def name_child(number: int) -> None:
    """Have each log line of this process say which child it is.

    :param number: of the child, from 1.
    """
    _child.update(child=number, pid=os.getpid())


def set_up(level: str, log_format: str) -> logging.Handler:
    """Write all log records of this process to standard error; return the handler that writes them.

    :param level: the lowest level to write.
    :param log_format: ``text`` or ``json``.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(make_formatter(log_format))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    _add_job_filter(root)
    root.setLevel(level)
    logging.captureWarnings(True)
    if log_format == "json" and hasattr(sys.stderr, "reconfigure"):
        sys.stderr.reconfigure(encoding="utf-8")  # JSON is UTF-8, whatever the locale
    return handler


def _add_job_filter(root: logging.Logger) -> None:
    for handler in root.handlers:
        if not any(isinstance(each, JobLogFilter) for each in handler.filters):
            handler.addFilter(JobLogFilter())
        if not any(isinstance(each, _ChildLogFilter) for each in handler.filters):
            handler.addFilter(_ChildLogFilter())


@contextmanager
def set_up_unless_the_app_does(level: str, log_format: str, *, level_given: bool, format_given: bool) -> Iterator[None]:
    """Set up logging as :func:`set_up` does. An app imported within the context may configure the root logger itself.

    :param level_given: whether the level is an option of the command line, which overrides the level of the app.
    :param format_given: whether the format is one, which replaces the app's handlers for the terminal.
    """
    ours, root, basic_config = set_up(level, log_format), logging.getLogger(), logging.basicConfig

    def basic_config_without_ours(**options: Any) -> None:
        # basicConfig does nothing if the root logger has a handler.
        root.removeHandler(ours)
        basic_config(**options)

    logging.basicConfig = basic_config_without_ours
    try:
        yield
    finally:
        logging.basicConfig = basic_config
    others = [each for each in root.handlers if each is not ours]
    if format_given:
        root.handlers[:] = [*(each for each in others if not _is_on_terminal(each)), ours]
    elif not others:
        root.handlers[:] = [ours]
    elif any(map(_is_on_terminal, others)):
        root.handlers[:] = others
    if level_given:
        root.setLevel(level)
    _add_job_filter(root)


def _is_on_terminal(handler: logging.Handler) -> bool:
    streams = (sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__)
    return isinstance(handler, logging.StreamHandler) and any(handler.stream is each for each in streams)


def enable_own_loggers() -> None:
    """Enable asyncwork's loggers again. ``logging.config`` disables every existing logger by default."""
    for name, logger in logging.getLogger().manager.loggerDict.items():
        if name.partition(".")[0] == "asyncwork" and isinstance(logger, logging.Logger):
            logger.disabled = False


def make_formatter(log_format: str) -> logging.Formatter:
    """Return the formatter for ``text`` or ``json``."""
    return JsonFormatter() if log_format == "json" else TextFormatter(terminal=sys.stderr.isatty())


def write_now(log_format: str, level: int, message: str, exception: str = "") -> None:
    """Write a log line directly, whatever the app has done to logging. Safe to call in a signal handler."""
    record = logging.LogRecord("asyncwork.cli", level, "", 0, message, None, None)
    record.exc_text = exception
    vars(record).update(_child)
    # A closed standard error must not keep the caller from its work.
    with suppress(OSError):
        os.write(2, (make_formatter(log_format).format(record) + "\n").encode("utf-8", "backslashreplace"))


def complain(options: argparse.Namespace, message: str, trace: str = "") -> None:
    """Print why a command failed, as a log line if the log format is JSON."""
    if getattr(options, "log_format", "text") == "json":
        write_now("json", logging.CRITICAL, message, trace)
    else:
        with suppress(OSError):
            child = f"child {_child['child']}: " if _child else ""
            print(escape_controls(f"{trace}asyncwork {options.command}: {child}{message}"), file=sys.stderr)
