"""Exit codes of the commands, and the errors that they report besides those of asyncwork."""

from __future__ import annotations

from ..errors import UsageError

FAILED = 1
BAD_USAGE = 2
NO_REDIS = 3
NOT_PRINTED = 4
NOT_ENDED = 5
INTERRUPTED = 130  # as shells report a program that Ctrl-C ended


class OutputError(Exception):
    """A command has done its work, and cannot print the result; the message says what was done."""


class NothingMatches(Exception):
    """Nothing was shown or changed; the message says why."""


class AppError(UsageError):
    """The app cannot be loaded or started; the message says why.

    :ivar trace: the traceback of the exception that the app raised, or empty.
    :ivar code: the exit code of the command.
    """

    def __init__(self, message: str, trace: str = "", *, code: int = BAD_USAGE) -> None:
        super().__init__(message)
        self.trace = trace
        self.code = code
