"""``asyncwork jobs signal``: sends an event to a job."""

from __future__ import annotations

import argparse
import asyncio

from .._jobs.printable import printable
from .._json import codec
from ..errors import JobEndedError, PayloadError, UsageError
from .errors import NothingMatches
from .job_selection import query_of
from .session import Session


def signal_job(options: argparse.Namespace) -> int:
    """Run the verb; return the exit code.

    :raises UsageError: when the id, the name or the value is invalid, or conditions are given.
    :raises NothingMatches: when the job has ended, or has the event already.
    :raises RedisUnavailable: when Redis refuses, or cannot be reached.
    :raises OutputError: when standard output cannot be written.
    """
    if query_of(options) or options.all or options.limit is not None:
        raise UsageError("signal takes the id of a job, the name of an event and its value, and no conditions")
    if options.event is None:
        raise UsageError("EVENT is missing: the name of the event")
    try:
        value = None if options.value is None else codec.decode(options.value.encode("utf-8", "surrogateescape"))
    except PayloadError as error:
        raise UsageError(f'the value must be JSON, such as 5, \'"text"\' or \'{{"by": "ada"}}\': {error}') from None
    session = Session(options)
    asyncio.run(_send(session, options.location, options.event, value))
    return 0


async def _send(session: Session, job_id: str, event: str, value: object) -> None:
    async with session.client:
        try:
            is_recorded = await session.client.signal(job_id, event, value)
        except JobEndedError as error:
            raise NothingMatches(str(error)) from None
    if not is_recorded:
        raise NothingMatches(
            f"job {printable(job_id)} has event {printable(event)} already, or goes on without it: nothing was changed"
        )
    done = f"event {printable(event)} was sent to job {printable(job_id)}"
    session.print_lines([done], done)
