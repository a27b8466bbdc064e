"""Log lines on standard error: for people, or as a JSON object each. Both tell which job a line belongs to."""

from __future__ import annotations

import argparse
import logging
import os
import re
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from typing import Any

import orjson

from .._jobs.error_text import format_error, text_of, type_name_of
from ..running import JobFilter

FORMATS = ("text", "json")

_SHORT = {"WARNING": "WARN", "CRITICAL": "CRIT"}
_COLOURS = {"DEBUG": "2", "WARNING": "33", "ERROR": "31", "CRITICAL": "1;31"}  # as in ESC [ … m
# What a record has without anybody's doing; anything else was passed as `extra`.
_COMMON = {*vars(logging.LogRecord("", 0, "", 0, "", None, None)), "message", "asctime", "taskName"}
_OURS = {"job_name", "job_id"}
# A terminal would obey some of these. Line breaks and tabs are kept.
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def set_up(level: str, form: str) -> logging.Handler:
    """Have everything that is logged in this process written to standard error; return what writes it.

    :param level: below which nothing is.
    :param form: ``text`` or ``json``.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter(form))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    _add_job_filter(root)
    root.setLevel(level)
    logging.captureWarnings(True)
    if form == "json" and hasattr(sys.stderr, "reconfigure"):
        sys.stderr.reconfigure(encoding="utf-8")  # JSON is, whatever the locale
    return handler


def _add_job_filter(root: logging.Logger) -> None:
    # On the handlers: a filter of a logger does not see what is logged by the loggers below it.
    for handler in root.handlers:
        if not any(isinstance(each, JobFilter) for each in handler.filters):
            handler.addFilter(JobFilter())


@contextmanager
def set_up_unless_the_app_does(level: str, form: str, *, level_given: bool, form_given: bool) -> Iterator[None]:
    """Set up logging as :func:`set_up` does; an app that is imported meanwhile keeps what it makes of the root logger.

    :param level_given: whether the level is an option of the command line, which counts more than the app's level.
    :param form_given: whether the format is one, which counts more than the app's handlers for the terminal.
    """
    ours, root, basic_config = set_up(level, form), logging.getLogger(), logging.basicConfig

    def basic_config_without_ours(**options: Any) -> None:
        # It does nothing if the root logger has a handler.
        root.removeHandler(ours)
        basic_config(**options)

    logging.basicConfig = basic_config_without_ours
    try:
        yield
    finally:
        logging.basicConfig = basic_config
    others = [each for each in root.handlers if each is not ours]
    if form_given:
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


def keep_ours() -> None:
    """Undo what ``logging.config`` does by default when an app calls it: to silence every logger that exists."""
    for name, logger in logging.getLogger().manager.loggerDict.items():
        if name.partition(".")[0] == "asyncwork" and isinstance(logger, logging.Logger):
            logger.disabled = False


def formatter(form: str) -> logging.Formatter:
    """Return what makes lines of records."""
    return JsonFormatter() if form == "json" else TextFormatter(sys.stderr.isatty())


def at_once(form: str, level: int, message: str, exception: str = "") -> None:
    """Write a line past everything that an app may have done to logging. A signal handler may do this at any time."""
    record = logging.LogRecord("asyncwork.cli", level, "", 0, message, None, None)
    record.exc_text = exception
    # Nobody may read it any more: that is no reason not to do what it tells.
    with suppress(OSError):
        os.write(2, (formatter(form).format(record) + "\n").encode("utf-8", "backslashreplace"))


def complain(options: argparse.Namespace, message: str, trace: str = "") -> None:
    """Say why a command ends without having done what it was told to."""
    if getattr(options, "log_format", "text") == "json":
        at_once("json", logging.CRITICAL, message, trace)
    else:
        with suppress(OSError):
            print(f"{trace}asyncwork {options.name}: {message}", file=sys.stderr)


class TextFormatter(logging.Formatter):
    """Lines for people: ``12:00:01.123 INFO  asyncwork.job  message  job=send_email id=0123…``.

    :param terminal: whether they are read as they come: colours then, and no dates.
    """

    def __init__(self, terminal: bool) -> None:
        super().__init__()
        self._clock = "%H:%M:%S" if terminal else "%Y-%m-%d %H:%M:%S"
        self._colourful = terminal and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"

    def format(self, record: logging.LogRecord) -> str:
        """Return the line; what does not fit into one follows indented, so that it cannot pass for other lines."""
        at = f"{time.strftime(self._clock, time.localtime(record.created))}.{int(record.msecs):03}"
        first, _, more = _message(record).partition("\n")
        parts = [f"{first}{self._fields(record)}", more, _exception(self, record), record.stack_info or ""]
        text = _CONTROL.sub(lambda found: ascii(found[0])[1:-1], "\n".join(filter(None, parts)))
        shown = text.rstrip("\n").replace("\n", "\n    ")
        return f"{at} {self._level(record.levelname)} {record.name}  {shown}"

    def _level(self, name: str) -> str:
        short = f"{_SHORT.get(name, name):<5}"
        colour = _COLOURS.get(name) if self._colourful else None
        return short if colour is None else f"\x1b[{colour}m{short}\x1b[0m"

    def _fields(self, record: logging.LogRecord) -> str:
        fields = {"job": getattr(record, "job_name", ""), "id": getattr(record, "job_id", ""), **_extra(record)}
        texts = [(name, _text(value)) for name, value in fields.items() if value != ""]
        shown = [f"{name}={value if value and ' ' not in value else repr(value)}" for name, value in texts]
        return "  " + " ".join(shown) if shown else ""


class JsonFormatter(logging.Formatter):
    """One JSON object: ``ts, level, logger, message``; ``job_name, job_id`` while a job runs; what was passed as
    ``extra``; ``exception`` and ``stack`` where there is one."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the object, in one line."""
        at = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        fields: dict[str, Any] = {
            "ts": at.replace("+00:00", "Z"),
            "level": record.levelname,
            "logger": record.name,
            "message": _message(record),
            "job_name": getattr(record, "job_name", ""),
            "job_id": getattr(record, "job_id", ""),
            "exception": _exception(self, record),
            "stack": record.stack_info,
        }
        return _encode(_extra(record) | {name: value for name, value in fields.items() if value or name == "message"})


def _message(record: logging.LogRecord) -> str:
    try:
        return record.getMessage()
    except BaseException as error:
        # Left to logging, this would be a traceback between the lines, and the message would be lost.
        return f"{_repr(record.msg)} cannot be formatted with {_repr(record.args)}: {text_of(error)}"


def _repr(value: object) -> str:
    try:
        return repr(value)
    except BaseException:
        return f"<{type_name_of(value)}>"


def _exception(formatter: logging.Formatter, record: logging.LogRecord) -> str:
    if record.exc_info and record.exc_info[0]:
        try:
            return formatter.formatException(record.exc_info)
        except BaseException:  # an error that cannot be formatted, or one that is its cause
            return format_error(record.exc_info[1], record.exc_info[2]).rstrip("\n")
    return record.exc_text or ""


def _extra(record: logging.LogRecord) -> dict[str, Any]:
    return {name: value for name, value in vars(record).items() if name not in _COMMON and name not in _OURS}


def _encode(fields: dict[str, Any]) -> str:
    try:
        return orjson.dumps(fields, default=_text, option=orjson.OPT_NON_STR_KEYS).decode()
    except TypeError:
        # Something that orjson cannot write: a lone surrogate, an integer beyond 64 bits, a list within itself.
        plain = {name: value if isinstance(value, str) else _repr(value) for name, value in fields.items()}
        writable = {name: value.encode("utf-8", "backslashreplace").decode() for name, value in plain.items()}
        return orjson.dumps(writable).decode()


def _text(value: object) -> str:
    try:
        return str.__str__(str(value))
    except BaseException:
        return f"<{type_name_of(value)}>"
