"""Rules that keep jobs from being enqueued too often: unique jobs, debounced and throttled ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Literal

from ._jobs.printable import shown
from ._jobs.times import positive_seconds_of
from .errors import UsageError

# Until when a job keeps others out: until a worker starts it, until it has ended, or until it has succeeded.
Until = Literal["start", "done", "success"]
# The treatment of a job that is enqueued while another one holds its key.
Conflict = Literal["drop", "replace", "raise", "after"]

_UNTIL = ("start", "done", "success")
_CONFLICTS = ("drop", "replace", "raise", "after")


@dataclass(frozen=True, slots=True)
class Unique:
    """Keeps a job out while another one of its name, with the same values of some arguments, holds their key.

    :param by: the names of these arguments; one that is left out counts as its default. ``None`` for all arguments, as
        they are passed.
    :param until: until when a job holds the key: ``"start"``, when a worker starts it, and 24 hours at most, as
        gocraft/work's unique jobs; ``"done"``, when it has ended, also when it is dead; ``"success"``, when it has
        succeeded or is gone: a dead job holds the key until it is retried and succeeds, or is deleted.
    :param conflict: what becomes of a job that is kept out. ``"drop"``: it is not enqueued. ``"replace"``: the job that
        waits gets its arguments; one that has begun, or waits for a retry, keeps its own. ``"raise"``: enqueueing
        raises :class:`UniqueConflictError`. ``"after"``: as ``"replace"`` while the holder waits; once that has begun,
        one job is enqueued that starts when the holder has ended, with the newest arguments.
    :raises UsageError: when a value is not valid, or ``until="start"`` is to be combined with ``conflict="after"``.
    """

    by: Sequence[str] | None = None
    until: Until = "start"
    conflict: Conflict = "drop"

    def __post_init__(self) -> None:
        if self.by is not None:
            object.__setattr__(self, "by", _check_by(self.by, "Unique"))
        _check_word(self.until, "until", _UNTIL)
        _check_word(self.conflict, "conflict", _CONFLICTS)
        if self.until == "start" and self.conflict == "after":
            raise UsageError(
                "Unique(conflict='after') needs until='done' or until='success': a job that is unique until it starts "
                "keeps nothing waiting while it runs"
            )
        if self.until == "start" and self.conflict == "replace" and self.by is None:
            raise UsageError(
                "Unique(conflict='replace') needs by=…: jobs that are unique by all arguments have none to exchange"
            )


@dataclass(frozen=True, slots=True)
class Debounce:
    """Runs a job once things are quiet: each job of a burst replaces the arguments of the one that waits, and puts off
    its start.

    :param wait: how long after the newest one it starts: seconds, or a ``timedelta``. The time is rounded up to a
        whole second.
    :param by: the names of the arguments whose values distinguish bursts; ``None`` for all arguments.
    :param max_wait: how long after the first one it starts at the latest; ``None`` for no limit.
    :raises UsageError: when a time is not more than 0 seconds, or ``max_wait`` is less than ``wait``.
    """

    wait: float | timedelta
    by: Sequence[str] | None = None
    max_wait: float | timedelta | None = None

    def __post_init__(self) -> None:
        wait = positive_seconds_of(self.wait, "Debounce(…)")
        object.__setattr__(self, "wait", wait)
        if self.by is not None:
            object.__setattr__(self, "by", _check_by(self.by, "Debounce"))
        if self.max_wait is not None:
            most = positive_seconds_of(self.max_wait, "Debounce(max_wait=…)")
            if most < wait:
                raise UsageError(f"Debounce: max_wait ({most:g} s) must not be less than the wait ({wait:g} s)")
            object.__setattr__(self, "max_wait", most)


@dataclass(frozen=True, slots=True)
class Throttle:
    """Lets a job start once in a period: the first one at once, and of those that follow within the period only the
    newest, at its end, or none.

    :param per: the period: seconds, or a ``timedelta``.
    :param by: the names of the arguments whose values have a period of their own; ``None`` for all arguments.
    :param trailing: whether the newest of those that follow starts at the end of the period, rounded up to a whole
        second.
    :raises UsageError: when the period is not more than 0 seconds, or another value is not valid.
    """

    per: float | timedelta
    by: Sequence[str] | None = None
    trailing: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "per", positive_seconds_of(self.per, "Throttle(per=…)"))
        if self.by is not None:
            object.__setattr__(self, "by", _check_by(self.by, "Throttle"))
        if not isinstance(self.trailing, bool):
            raise UsageError(f"Throttle: trailing must be True or False, not {shown(self.trailing)}")


def check_rules(unique: object, debounce: object, throttle: object) -> None:
    """Check the three options by which jobs are kept from being enqueued too often.

    :raises UsageError: when one is not valid, or there are several.
    """
    for value, name, kind in ((debounce, "debounce", Debounce), (throttle, "throttle", Throttle)):
        if value is not None and not isinstance(value, kind):
            raise UsageError(f"{name} must be a {kind.__name__}(…), not {shown(value)}")
    given = [("unique", unique not in (None, False)), ("debounce", debounce), ("throttle", throttle)]
    names = [name for name, value in given if value]
    if len(names) > 1:
        raise UsageError(f"{' and '.join(names)} exclude each other: pass one of them")


def _check_by(by: object, rule: str) -> tuple[str, ...]:
    if isinstance(by, str):
        raise UsageError(f"{rule}: by must be the names of arguments, such as ({by!r},) with a comma, not {shown(by)}")
    if not isinstance(by, Sequence) or not by or not all(isinstance(each, str) for each in by):
        raise UsageError(
            f"{rule}: by must be the names of one or more arguments, such as ('user_id',), not {shown(by)}"
        )
    if len(set(by)) < len(by):
        raise UsageError(f"{rule}: by names an argument twice: {shown(by)}")
    return tuple(sorted(by))


def _check_word(value: object, option: str, words: Sequence[str]) -> None:
    if not isinstance(value, str) or value not in words:
        listed = ", ".join(map(repr, words[:-1]))
        raise UsageError(f"Unique: {option} must be {listed} or {words[-1]!r}, not {shown(value)}")
