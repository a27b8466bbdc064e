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

from .._jobs.enqueue_options import EnqueueOptions
from .._jobs.job_call import JobCall
from .._jobs.names import suggestion
from .._jobs.times import epoch_second
from .._json import codec
from ..client import Client
from ..enqueuer import Enqueuer
from ..errors import PayloadError, RedisUnavailable, UsageError
from ..logging import escape_controls
from ..models import EnqueuedJob
from . import logs, settings
from .summary import duration


def enqueue(options: argparse.Namespace) -> int:
    """Run the command; return the exit code.

    :raises UsageError: when the name, the arguments, the time or another option is invalid.
    :raises RedisUnavailable: when Redis refuses the job, or cannot be reached.
    """
    url, namespace = settings.redis_options(options)
    args = None if options.arguments is None else _read_arguments(options.arguments)
    # The time is read once, because the clock may reach the next second in between.
    now = int(time.time())
    run_at: int | None = None
    if options.delay is not None:
        run_at = now + math.ceil(settings.read("--in", options.delay, settings.seconds))
    elif options.at is not None:
        run_at = settings.read("--at", options.at, _read_time)
    due = "" if run_at is None or run_at <= now else _describe_time(run_at, now)
    enqueuer = Enqueuer(url, namespace=namespace, clock=lambda: now)
    client = Client(url, namespace=namespace)
    new = EnqueueOptions(at=run_at, unique=options.unique)
    job, problem = asyncio.run(_enqueue_and_check(enqueuer, client, JobCall(options.job, args, new)))
    if job.duplicate:
        line = f"duplicate: {options.job} with these arguments is already waiting; nothing was enqueued"
    elif problem:
        line = f"{job.id} {job.name} {f'is due {due}, and ' if due else ''}waits for a pool that handles it"
    else:
        line = f"{job.id} {job.name} runs {due or 'as soon as a worker is free'}"
    print(escape_controls(line))
    if problem:
        logs.complain(options, problem)
    return 0


async def _enqueue_and_check(enqueuer: Enqueuer, client: Client, call: JobCall) -> tuple[EnqueuedJob, str]:
    """Enqueue a job; return it, and why no running pool handles it, or empty."""
    async with enqueuer:
        job = await enqueuer.enqueue_call(call)
    name = job.name
    try:
        async with client:
            handled = [each.name for each in await client.queues() if each.pools]
    except RedisUnavailable:
        # The job is enqueued. A user who may write to Redis need not be allowed to read.
        return job, ""
    if name in handled:
        return job, ""
    if not handled:
        return job, f"no pool is running in namespace {client.namespace!r}: start one with `asyncwork run APP`"
    return job, f"no running pool handles {name!r}{suggestion(name, handled)}"


def _read_arguments(text: str) -> dict[str, Any]:
    """Parse the arguments of a job. Numbers stay exact, including integers of any size."""
    try:
        raw = os.fsencode(text)
        raw.decode()
        args = codec.decode(raw)
    except UnicodeDecodeError as error:
        raise UsageError(f"the arguments are not UTF-8: byte {error.start} is {error.object[error.start]:#x}") from None
    except PayloadError as error:
        raise UsageError(f"the arguments are {error}{_point_at(error.__cause__)}") from None
    if not isinstance(args, dict):
        raise UsageError(
            "the arguments must be a JSON object with the names of the handler's parameters, such as "
            f"""'{{"address": "a@example.com"}}', not {text[:40]}"""
        )
    return args


def _point_at(error: BaseException | None) -> str:
    """Return the line of JSON that has the error, and below it a caret at the column."""
    if not isinstance(error, json.JSONDecodeError):
        return ""
    line = error.doc.split("\n")[error.lineno - 1]
    # A terminal has at least 80 columns.
    start = max(0, error.colno - 1 - 50)
    part = line[start : start + 70].replace("\t", " ")
    return f"\n    {part}\n    {' ' * (error.colno - 1 - start)}^"


def _read_time(text: str) -> int:
    """Parse epoch seconds, or a date and time with a UTC offset; return the epoch second."""
    try:
        when: datetime | float = float(text)
    except ValueError:
        try:
            when = datetime.fromisoformat(text)
        except ValueError:
            raise UsageError(
                f"{text!r} is not a time: write 2030-01-01T09:00:00+01:00, 2030-01-01T08:00:00Z, or epoch seconds"
            ) from None
    if isinstance(when, datetime) and when.tzinfo is None:
        raise UsageError(f"{text!r} has no UTC offset: add it, as in {text}+01:00 or {text}Z")
    return epoch_second(when)


def _describe_time(run_at: int, now: int) -> str:
    try:
        local = datetime.fromtimestamp(run_at).astimezone()
    except (ValueError, OverflowError, OSError):
        raise UsageError(f"epoch second {run_at} is after the year 9999: is the number in milliseconds?") from None
    return f"at {local.isoformat()}, in {duration(run_at - now)}"
