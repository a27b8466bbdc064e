"""Keeps what an application does with log records from ending what logs them.

Handlers and filters are user code, and logging lets through whatever they raise: into a worker, the heartbeat, the stop
of a pool. All of asyncwork's loggers, and asyncio's, are therefore of a class that lets
nothing through.
"""

from __future__ import annotations

import logging
import sys
from contextlib import suppress
from typing import Any

from ._jobs.error_text import describe_error, text_of

NAMES = ("asyncwork", "asyncwork.cli", "asyncwork.job", "asyncwork.web")


class _Told:
    """Whether it was told already that records are lost."""

    yes = False


class _Guarded:
    """What is put before the class of a logger."""

    def _log(self, level: int, msg: object, args: Any, *more: Any, stacklevel: int = 1, **options: Any) -> None:
        try:
            # One more frame, or each line would seem to be logged here.
            super()._log(level, msg, args, *more, stacklevel=stacklevel + 1, **options)  # type: ignore[misc]
        except BaseException as error:
            _tell(msg, args, error)


def _tell(msg: object, args: object, error: BaseException) -> None:
    if _Told.yes:
        return
    _Told.yes = True
    # Past logging, which is what has failed.
    with suppress(BaseException):
        text = text_of(msg % args if isinstance(msg, str) and args else msg)
        why = f"a log handler or filter failed ({describe_error(error)})"
        print(f"asyncwork: {why}; this is told once, whatever else is lost. Lost: {text}", file=sys.stderr)


def guard_loggers() -> None:
    """Let no handler or filter raise into what logs by one of these; the first time is told on standard error."""
    # asyncio's, too: what a handler of its records raises leaves the event loop.
    for name in (*NAMES, "asyncio"):
        logger = logging.getLogger(name)
        kind = type(logger)
        if not issubclass(kind, _Guarded):
            logger.__class__ = type(kind.__name__, (_Guarded, kind), {})
