"""``asyncwork enqueue``: puts one job into Redis."""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import os
import time
from datetime import datetime
from typing import Any

from .._jobs.names import suggestion
from .._json import codec
from ..client import Client
from ..enqueuer import Enqueuer, epoch_second
from ..errors import PayloadError, RedisUnusable, UsageError
from ..models import EnqueuedJob
from . import logs, settings
from .summary import duration

_DESCRIPTION = """\
Put one job into Redis, for a pool of the same namespace to run. It need not run now, nor have a handler here.

Prints a line: the job's id, its name, and when it runs; or that it waits, when no running pool serves that name. Then
standard error tells more.
"""

_EPILOG = """\
exit codes:
  0  enqueued, whether or not a pool serves it; or a duplicate of a unique job: then the line begins with `duplicate:`
  2  bad usage, such as arguments that are not JSON
  3  Redis cannot be reached, or refuses

examples:
  asyncwork enqueue send_email '{"address": "a@example.com", "subject": "hello"}'
  asyncwork enqueue calculate_caches
  asyncwork enqueue send_email '{"address": "a@example.com"}' --in 300
  asyncwork enqueue send_email '{"address": "a@example.com"}' --at 2030-01-01T09:00:00+01:00
  asyncwork enqueue export '{"rows": 100}' --unique --namespace my_app
"""


def add_command(commands: Any) -> None:
    """Add the command to the parser's."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "enqueue",
        help="put a job into Redis",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.set_defaults(command=enqueue)
    add = parser.add_argument
    add("job", metavar="NAME", help="the job's name")
    add("arguments", metavar="JSON", nargs="?", help="its arguments by name, a JSON object; none without")
    when = parser.add_mutually_exclusive_group()
    when.add_argument("--in", dest="delay", metavar="SECONDS", help="run it so many seconds from now")
    when.add_argument("--at", metavar="TIME", help="run it at a time: ISO 8601 with an offset, or epoch seconds")
    add("--unique", action="store_true", help="unless a unique job of the same name and arguments waits already")
    settings.add_place(parser)


def enqueue(options: argparse.Namespace) -> int:
    """Do what the options say; return the exit code.

    :raises UsageError: when the name, the arguments, the time or another option cannot be right.
    :raises RedisUnusable: when Redis refuses or cannot be reached.
    """
    url, namespace = settings.place(options)
    args = None if options.arguments is None else _read_arguments(options.arguments)
    # One moment for all that is reckoned with it: the clock may come to another second meanwhile.
    now = int(time.time())
    run_at: int | None = None
    if options.delay is not None:
        run_at = now + math.ceil(settings.read("--in", options.delay, settings.seconds))
    elif options.at is not None:
        run_at = settings.read("--at", options.at, _read_time)
    shown = "as soon as a worker is free" if run_at is None or run_at <= now else _show(run_at, now)
    enqueuer = Enqueuer(url, namespace=namespace, clock=lambda: now)
    client = Client(url, namespace=namespace)
    delay = None if run_at is None else run_at - now
    job, unserved = asyncio.run(_enqueue_and_look(enqueuer, client, options.job, args, options.unique, delay))
    if job is None:
        print(f"duplicate: {options.job} waits already with these arguments; nothing was enqueued")
    elif unserved:
        due = "" if run_at is None or run_at <= now else f"is due {shown}, and "
        print(f"{job.id} {job.name} {due}waits until a pool serves it")
    else:
        print(f"{job.id} {job.name} runs {shown}")
    if unserved:
        logs.complain(options, unserved)
    return 0


async def _enqueue_and_look(
    enqueuer: Enqueuer, client: Client, name: str, args: dict[str, Any] | None, unique: bool, delay: int | None
) -> tuple[EnqueuedJob | None, str]:
    """Enqueue a job; return it, and why nobody will run it, as far as the pools that run now are concerned."""
    job = await _enqueue(enqueuer, name, args, unique, delay)
    try:
        async with client:
            served = [each.name for each in await client.queues() if each.pools]
    except RedisUnusable:
        # The job is enqueued. Who may write need not be allowed to look.
        return job, ""
    if name in served:
        return job, ""
    if not served:
        return job, f"no pool is running in namespace {client.namespace!r}"
    return job, f"no running pool serves {name!r}{suggestion(name, served)}"


async def _enqueue(
    enqueuer: Enqueuer, name: str, args: dict[str, Any] | None, unique: bool, delay: int | None
) -> EnqueuedJob | None:
    async with enqueuer:
        if delay is None:
            return await (enqueuer.enqueue_unique(name, args) if unique else enqueuer.enqueue(name, args))
        # A time that is past is now.
        delay = max(0, delay)
        if unique:
            return await enqueuer.enqueue_unique_in(name, delay, args)
        return await enqueuer.enqueue_in(name, delay, args)


def _read_arguments(text: str) -> dict[str, Any]:
    """Return a job's arguments; what they hold is exact, integers of any size included."""
    try:
        raw = os.fsencode(text)
        raw.decode()
        args = codec.decode(raw)
    except UnicodeDecodeError as error:
        raise UsageError(f"the arguments are not UTF-8: byte {error.start} is {error.object[error.start]:#x}") from None
    except PayloadError as error:
        raise UsageError(f"the arguments are {error}{_pointer(error.__cause__)}") from None
    if not isinstance(args, dict):
        raise UsageError(
            "the arguments must be a JSON object, with the names of the handler's parameters: "
            f"""'{{"address": "a@example.com"}}', not {text[:40]}"""
        )
    return args


def _pointer(error: BaseException | None) -> str:
    """Return the line of the JSON that is wrong, and below it a sign at the place."""
    if not isinstance(error, json.JSONDecodeError):
        return ""
    line = error.doc.split("\n")[error.lineno - 1]
    # So much of it as fits on a terminal.
    start = max(0, error.colno - 1 - 50)
    part = line[start : start + 70].replace("\t", " ")
    return f"\n    {part}\n    {' ' * (error.colno - 1 - start)}^"


def _read_time(text: str) -> int:
    """Return an epoch second, of which there may be so many or of a date and time with an offset."""
    try:
        when: datetime | float = float(text)
    except ValueError:
        try:
            when = datetime.fromisoformat(text)
        except ValueError:
            raise UsageError(
                f"{text!r} is no time: write 2030-01-01T09:00:00+01:00, 2030-01-01T08:00:00Z, or epoch seconds"
            ) from None
    if isinstance(when, datetime) and when.tzinfo is None:
        raise UsageError(f"{text!r} may be the time of any zone: write its offset, as in {text}+01:00 or {text}Z")
    return epoch_second(when)


def _show(run_at: int, now: int) -> str:
    try:
        local = datetime.fromtimestamp(run_at).astimezone()
    except (ValueError, OverflowError, OSError):
        raise UsageError(f"epoch second {run_at} is in no year that there will be: are these milliseconds?") from None
    return f"at {local.isoformat()}, in {duration(run_at - now)}"
