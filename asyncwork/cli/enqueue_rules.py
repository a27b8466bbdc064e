"""Reads what keeps a job from being enqueued too often, from the command line of ``asyncwork enqueue``."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from ..errors import UsageError
from ..models.enqueued_job import EnqueuedJob
from ..unique import Conflict, Debounce, Throttle, Unique, Until
from . import settings

# How JSON begins, and the names of arguments do not.
_NO_NAMES = re.compile(r"\s*[\[{\"]")


class Rules(NamedTuple):
    """One of these, or none.

    :ivar unique: also a JSON object to be unique by, as gocraft/work's jobs.
    """

    unique: bool | Mapping[str, Any] | Unique | None = None
    debounce: Debounce | None = None
    throttle: Throttle | None = None


def read_rules(options: argparse.Namespace, read_key: Callable[[str], dict[str, Any]]) -> Rules:
    """Read the options by which a job is unique, debounced or throttled.

    :param read_key: reads a JSON object.
    :raises UsageError: when a value is invalid, or two options exclude each other.
    """
    if options.unique and options.unique_by is not None:
        raise UsageError(
            "--unique and --unique-by exclude each other: write --unique to compare all arguments, or "
            "--unique-by to compare only its JSON or the arguments with its names"
        )
    is_unique = options.unique or options.unique_by is not None
    flags = {
        "--unique" if options.unique_by is None else "--unique-by": is_unique,
        "--debounce": options.debounce is not None,
        "--throttle": options.throttle is not None,
    }
    if len(given := [flag for flag, is_given in flags.items() if is_given]) > 1:
        instead = "" if options.unique_by is None else f"; {given[-1]} has its arguments from --by"
        raise UsageError(f"{' and '.join(given)} exclude each other: write one of them{instead}")
    for flag, value, needed, has in (
        ("--until", options.until, "--unique or --unique-by", is_unique),
        ("--conflict", options.conflict, "--unique or --unique-by", is_unique),
        ("--max-wait", options.max_wait, "--debounce", flags["--debounce"]),
        ("--trailing", options.trailing or None, "--throttle", flags["--throttle"]),
        ("--by", options.by, "--debounce or --throttle", flags["--debounce"] or flags["--throttle"]),
    ):
        if value is not None and not has:
            raise UsageError(f"{flag} needs {needed}")
    if is_unique:
        return Rules(unique=_read_unique(options, read_key))
    by = None if options.by is None else _names(options.by, "--by")
    if options.debounce is not None:
        wait = settings.read("--debounce", options.debounce, settings.seconds)
        most = None if options.max_wait is None else settings.read("--max-wait", options.max_wait, settings.seconds)
        return Rules(debounce=Debounce(wait, by, most))
    if options.throttle is not None:
        per = settings.read("--throttle", options.throttle, settings.seconds)
        return Rules(throttle=Throttle(per, by, options.trailing))
    return Rules()


def _read_unique(
    options: argparse.Namespace, read_key: Callable[[str], dict[str, Any]]
) -> bool | Mapping[str, Any] | Unique:
    modes: dict[str, Any] = {}
    until: Until | None = options.until
    conflict: Conflict | None = options.conflict
    if until is not None:
        modes["until"] = until
    if conflict is not None:
        modes["conflict"] = conflict
    text: str | None = options.unique_by
    if text is not None and _NO_NAMES.match(text):
        if modes:
            raise UsageError(
                "--until and --conflict need the names of arguments, such as --unique-by user_id, not a JSON object"
            )
        return settings.read("--unique-by", text, read_key)
    if text is not None:
        return Unique(_names(text, "--unique-by"), **modes)
    return Unique(**modes) if modes else True


def _names(text: str, flag: str) -> list[str]:
    names = [each.strip() for each in text.split(",")]
    if not all(names):
        raise UsageError(f"{flag} must be the names of arguments with commas between them, such as user_id,month")
    return names


def describe_duplicate(job: EnqueuedJob, rules: Rules) -> str:
    """Return the line about a job that was not enqueued."""
    # A unique key that gocraft/work wrote does not name the job.
    which = f"{job.id} {job.name}" if job.id else f"a job {job.name}"
    if rules.throttle is not None and not job.replaced:
        return f"duplicate: {which} has started within the period; nothing was enqueued"
    if isinstance(rules.unique, Unique) and rules.unique.until != "start" and not job.replaced:
        return f"duplicate: {which} holds its key; nothing was enqueued"
    if job.replaced:
        return f"duplicate: {which} with this key is already waiting, and will run with the new arguments"
    return f"duplicate: {which} with these arguments is already waiting; nothing was enqueued"
