"""``asyncwork jobs``: shows the jobs of a location, or acts on those that match."""

from __future__ import annotations

import argparse
import asyncio

from .._admin.finished import FINISHED
from .._environment import number
from .._jobs.location import BUSY, JOB_SETS, QUARANTINE, check_location
from .._jobs.option_checks import check_whole
from .._jobs.printable import shown
from ..errors import UsageError
from . import settings
from .job_actions import ActionOnJobs
from .job_listing import JobListing
from .job_selection import Selection, query_of
from .job_signal import signal_job
from .session import Session

# Options that only some verbs have, by the verbs.
_ONLY = {
    "reason": ("cancel",),
    "yes": ("rm", "cancel", "retry"),
    "json": ("ls", "show", "errors", "find"),
}
_LISTED = 20


def jobs(options: argparse.Namespace) -> int:
    """Run the command; return the exit code.

    :raises UsageError: when the location or an option is invalid.
    :raises NothingMatches: when no job matches, the answer was no, or an event was not recorded.
    :raises RedisUnavailable: when Redis refuses, or cannot be reached.
    :raises OutputError: when standard output cannot be written.
    """
    verb: str = options.verb
    for name, verbs in _ONLY.items():
        if getattr(options, name) and verb not in verbs:
            raise UsageError(f"--{name} is for {', '.join(verbs)}")
    if verb == "signal":
        return signal_job(options)
    if options.event is not None:
        raise UsageError(f"{verb} takes a location only, not {shown(options.event)}")
    session, selection = Session(options), _selection(options)
    asyncio.run(_run(session, verb, selection, options))
    return 0


async def _run(session: Session, verb: str, selection: Selection, options: argparse.Namespace) -> None:
    async with session.client:
        if verb in ("retry", "rm", "cancel"):
            await ActionOnJobs(session, selection).run(verb, options.reason)
        else:
            await JobListing(session, selection, as_document=options.json).run(verb)


def _selection(options: argparse.Namespace) -> Selection:
    verb, query = options.verb, query_of(options)
    acts = verb in ("retry", "rm", "cancel")
    limit = settings.read("--limit", options.limit, _limit) if options.limit is not None else None
    if limit is not None and options.all:
        raise UsageError("--limit and --all exclude each other")
    if limit is None and not acts and not options.all:
        limit = _LISTED
    if verb == "find":
        if query:
            raise UsageError("find takes a text, and no other condition: use ls with a location")
        return Selection("", query, limit, options.location)
    location = options.location
    allowed = _allowed(verb)
    if location not in allowed and not (verb != "retry" and location.startswith("queue:")):
        queue = [] if verb == "retry" else ["queue:NAME"]
        raise UsageError(f"{verb} takes {', '.join([*allowed, *queue])}, not {shown(location)}")
    if location.startswith("queue:"):
        check_location(location)
    if acts and not (query or options.all or limit is not None):
        raise UsageError("say which jobs: by --name, --error, --text, --id, --arg, --limit or --all")
    return Selection(location, query, limit)


def _allowed(verb: str) -> tuple[str, ...]:
    match verb:
        case "retry":
            return JOB_SETS
        case "rm" | "errors":
            return (*JOB_SETS, QUARANTINE)
        case "cancel":
            return ("retry", "scheduled", BUSY)
        case _:
            return (*JOB_SETS, QUARANTINE, BUSY, FINISHED)


def _limit(text: str) -> int:
    limit = number(text, int, "a whole number")
    check_whole(limit, "the limit", 1, 100_000)
    return limit
