"""Logging for programs that run jobs: a filter that adds the job to each record, and formatters for text and JSON.

``asyncwork run`` sets these up by itself. A program that embeds a pool can use them in its own configuration::

    handler = logging.StreamHandler()
    handler.setFormatter(JsonFormatter())
    handler.addFilter(JobLogFilter())
"""

from __future__ import annotations

import logging
import os
import re
import sys
import time
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

from ._jobs.current_job import current_job
from ._jobs.error_text import describe_error, format_error, text_of, type_name_of

__all__ = ["JobLogFilter", "JsonFormatter", "TextFormatter", "guard_loggers"]

LOGGER_NAMES = ("asyncwork", "asyncwork.cli", "asyncwork.job", "asyncwork.web")

_SHORT_LEVELS = {"WARNING": "WARN", "CRITICAL": "CRIT"}
_COLOURS = {"DEBUG": "2", "WARNING": "33", "ERROR": "31", "CRITICAL": "1;31"}  # as in ESC [ … m
# The attributes that every record has; any other was passed as `extra`.
_STANDARD_FIELDS = {*vars(logging.LogRecord("", 0, "", 0, "", None, None)), "message", "asctime", "taskName"}
_JOB_FIELDS = {"job_name", "job_id"}
_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


class JobLogFilter(logging.Filter):
    """Adds ``job_name`` and ``job_id`` to every log record. Both are empty outside of jobs.

    Add it to handlers: a filter of a logger does not see the records of the loggers below it.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Add the two fields unless the record has them; let every record through."""
        if not hasattr(record, "job_id"):
            job = current_job.get()
            record.job_name = "" if job is None else job.name
            record.job_id = "" if job is None else job.id
        return True


class TextFormatter(logging.Formatter):
    """Formats records as lines to read: ``12:00:01.123 INFO  asyncwork.job  message  job=send_email id=0123…``.

    :param terminal: whether a person reads the lines on a terminal as they are written. Adds colours, unless
        ``NO_COLOR`` is set or ``TERM`` is ``dumb``, and leaves out the date.
    """

    def __init__(self, *, terminal: bool = False) -> None:
        super().__init__()
        self._clock = "%H:%M:%S" if terminal else "%Y-%m-%d %H:%M:%S"
        self._colourful = terminal and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"

    def format(self, record: logging.LogRecord) -> str:
        """Return the line. Further lines of a message are indented, so that they cannot pass for other records."""
        at = f"{time.strftime(self._clock, time.localtime(record.created))}.{int(record.msecs):03}"
        first, _, more = _message(record).partition("\n")
        parts = [f"{first}{self._fields(record)}", more, _exception(self, record), record.stack_info or ""]
        text = escape_controls("\n".join(filter(None, parts))).rstrip("\n").replace("\n", "\n    ")
        return f"{at} {self._level(record.levelname)} {record.name}  {text}"

    def _level(self, name: str) -> str:
        short = f"{_SHORT_LEVELS.get(name, name):<5}"
        colour = _COLOURS.get(name) if self._colourful else None
        return short if colour is None else f"\x1b[{colour}m{short}\x1b[0m"

    def _fields(self, record: logging.LogRecord) -> str:
        fields = {"job": getattr(record, "job_name", ""), "id": getattr(record, "job_id", ""), **_extra(record)}
        texts = [(name, _text(value)) for name, value in fields.items() if value != ""]
        words = [f"{name}={value if value and ' ' not in value else repr(value)}" for name, value in texts]
        return "  " + " ".join(words) if words else ""


class JsonFormatter(logging.Formatter):
    """Formats each record as one JSON object in one line.

    It has ``ts``, ``level``, ``logger`` and ``message``; ``job_name`` and ``job_id`` while a job runs; what was passed
    as ``extra``; ``exception`` and ``stack`` where there is one.
    """

    def format(self, record: logging.LogRecord) -> str:
        """Return the JSON object."""
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


def escape_controls(text: str) -> str:
    r"""Escape the characters that would control a terminal, such as ``\x1b``. Line breaks and tabs are kept."""
    return _CONTROLS.sub(lambda found: ascii(found[0])[1:-1], text)


def guard_loggers() -> None:
    """Keep what log handlers and filters raise from the code that logs.

    Handlers and filters are user code, and logging passes on whatever they raise: to a worker, the heartbeat, or the
    stop of a pool. This changes the class of all loggers of asyncwork to one that raises nothing. The first failure is
    reported on standard error. Importing a pool, a client or an enqueuer calls this.
    """
    # asyncio's logger too, because an exception of its handlers would leave the event loop.
    for name in (*LOGGER_NAMES, "asyncio"):
        logger = logging.getLogger(name)
        kind = type(logger)
        if not issubclass(kind, _Guarded):
            logger.__class__ = type(kind.__name__, (_Guarded, kind), {})


class _Guarded:
    """Mixin for the class of a logger; catches what its handlers and filters raise."""

    # Whether a lost record was reported already, by any logger.
    reported = False

    def _log(self, level: int, msg: object, args: Any, *more: Any, stacklevel: int = 1, **options: Any) -> None:
        try:
            # One more frame, because each record would otherwise name this function as its origin.
            super()._log(level, msg, args, *more, stacklevel=stacklevel + 1, **options)  # type: ignore[misc]
        except BaseException as error:
            _report(msg, args, error)


def _report(msg: object, args: object, error: BaseException) -> None:
    if _Guarded.reported:
        return
    _Guarded.reported = True
    # Printed, because logging is what failed.
    with suppress(BaseException):
        text = text_of(msg % args if isinstance(msg, str) and args else msg)
        why = f"a log handler or filter failed ({describe_error(error)})"
        print(f"asyncwork: {why}, and log lines are lost. This is reported once. Lost: {text}", file=sys.stderr)


def _message(record: logging.LogRecord) -> str:
    try:
        return record.getMessage()
    except BaseException as error:
        # logging would print a traceback between the lines, and drop the message.
        return f"{_repr(record.msg)} cannot be formatted with {_repr(record.args)}: {text_of(error)}"


def _exception(formatter: logging.Formatter, record: logging.LogRecord) -> str:
    if record.exc_info and record.exc_info[0]:
        try:
            return formatter.formatException(record.exc_info)
        except BaseException:  # the error, or one that caused it, cannot be formatted
            return format_error(record.exc_info[1], record.exc_info[2]).rstrip("\n")
    return record.exc_text or ""


def _extra(record: logging.LogRecord) -> dict[str, Any]:
    return {
        name: value for name, value in vars(record).items() if name not in _STANDARD_FIELDS and name not in _JOB_FIELDS
    }


def _encode(fields: dict[str, Any]) -> str:
    # Imported on first use, because only JSON logs need it and help texts should not wait for it.
    import orjson

    try:
        return orjson.dumps(fields, default=_text, option=orjson.OPT_NON_STR_KEYS).decode()
    except TypeError:
        # orjson writes no lone surrogate, no integer beyond 64 bits, and no list within itself.
        plain = {name: value if isinstance(value, str) else _repr(value) for name, value in fields.items()}
        writable = {name: value.encode("utf-8", "backslashreplace").decode() for name, value in plain.items()}
        return orjson.dumps(writable).decode()


def _text(value: object) -> str:
    try:
        return str.__str__(str(value))
    except BaseException:
        return f"<{type_name_of(value)}>"


def _repr(value: object) -> str:
    try:
        return repr(value)
    except BaseException:
        return f"<{type_name_of(value)}>"
