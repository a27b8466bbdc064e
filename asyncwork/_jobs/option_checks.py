"""Checks of values that are passed to asyncwork. Each raises an error that says what would be valid."""

from __future__ import annotations

from ..errors import UsageError
from .error_text import type_name_of
from .printable import shown

# The highest maximum of anything that users limit, such as the running jobs of a queue or of a shared limit.
HIGHEST_MAXIMUM = 2**31 - 1


def check_extra(value: object) -> None:
    """Check how unknown arguments are to be treated.

    :raises UsageError: when it is neither ``"ignore"`` nor ``"forbid"``.
    """
    if value not in ("ignore", "forbid"):
        raise UsageError(f"extra must be 'ignore' or 'forbid', not {shown(value)}")


def check_whole(value: object, what: str, low: int, high: int | None = None) -> None:
    """Check that a value is a whole number from ``low`` to ``high``.

    :param what: what the message calls it.
    :raises UsageError: when it is not.
    """
    span = f"from {low} to {high}" if high is not None else f"of {low} or more"
    if isinstance(value, bool) or not isinstance(value, int) or value < low or (high is not None and value > high):
        raise UsageError(f"{what} must be a whole number {span}, not {shown(value)}")


def check_chunk_fits(chunk: int, limit: int, option: str) -> None:
    """Check that as many jobs may run at once as a chunk has.

    :param chunk: how many jobs one call takes; 0 for one job a call.
    :param limit: how many jobs may run at once; 0 for any number.
    :param option: the name of the option that limits them.
    :raises UsageError: when no chunk could ever be full.
    """
    if 0 < limit < chunk:
        raise UsageError(
            f"{option} ({limit}) counts jobs, not calls, so no chunk of {chunk} could ever be full: pass {chunk} or "
            "more, or a smaller chunk"
        )


def check_maximum(value: object, what: str) -> None:
    """Check that a value is the highest number that there may be of something, such as jobs that run at once, or 0 for
    any number.

    :param what: what the message calls it.
    :raises UsageError: when it is not.
    """
    check_whole(value, what, 0, HIGHEST_MAXIMUM)


def check_type(value: object, what: str, kind: type | tuple[type, ...], wanted: str) -> None:
    """Check that a value is of a class.

    :param what: what the message calls it.
    :param wanted: what the message says that it must be.
    :raises UsageError: when it is not.
    """
    if not isinstance(value, kind):
        raise UsageError(f"{what} must be {wanted}, not {type_name_of(value)}: {shown(value)}")


def check_callable(value: object, what: str, wanted: str) -> None:
    """Check that a value can be called.

    :param what: what the message calls it.
    :param wanted: what the message says that it must do.
    :raises UsageError: when it cannot be called.
    """
    if not callable(value):
        raise UsageError(f"{what} must be a function that {wanted}, not {type_name_of(value)}: {shown(value)}")
