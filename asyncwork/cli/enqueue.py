"""``asyncwork enqueue``: puts one job into Redis, and waits for its result if that is requested."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import time
from datetime import datetime
from typing import Any, NamedTuple

from .._environment import number
from .._jobs.enqueue_options import EnqueueOptions
from .._jobs.job_call import JobCall
from .._jobs.names import suggestion
from .._jobs.tenants import tenant_text
from .._jobs.times import epoch_second
from .._json import codec
from ..client import Client
from ..enqueuer import Enqueuer
from ..errors import (
    JobFailed,
    NoResultError,
    PayloadError,
    RedisUnavailable,
    ResultTimeout,
    UniqueConflictError,
    UsageError,
)
from ..models.enqueued_job import EnqueuedJob
from ..unique import Unique
from . import logs, settings, streams
from .enqueue_rules import Rules, describe_duplicate, read_rules
from .errors import FAILED, NOT_ENDED
from .times import duration

_FOR_A_POOL = "for a pool that handles it"


class _Obstacle(NamedTuple):
    """A reason why a job does not run yet.

    :ivar until: what it waits for, after the word ``waits``.
    """

    until: str
    problem: str


def enqueue(options: argparse.Namespace) -> int:
    """Run the command; return the exit code.

    :raises UsageError: when the name, the arguments, the time or another option is invalid, or the result of a job is
        to be waited for whose type keeps none.
    :raises RedisUnavailable: when Redis refuses the job, or cannot be reached.
    :raises QueueFull: when as many jobs of its tenant wait as may.
    :raises OutputError: when standard output cannot be written.
    """
    url, namespace = settings.redis_options(options)
    args = None if options.arguments is None else read_arguments(options.arguments)
    new = _read_options(options)
    wait = None if not options.wait else settings.read("--wait", options.wait, settings.seconds)
    # The time is read once, because the clock may reach the next second in between.
    now = int(time.time())
    run_at = new.run_at(now)
    due = "" if run_at is None else _describe_time(run_at, now)
    enqueuer = Enqueuer(url, namespace=namespace, clock=lambda: now)
    client = Client(url, namespace=namespace)
    call = JobCall(options.job, args, new)
    if options.wait is not None:
        return asyncio.run(_enqueue_and_wait(options, enqueuer, client, call, wait))
    try:
        job, obstacle = asyncio.run(_enqueue_and_check(enqueuer, client, call))
    except UniqueConflictError as error:
        logs.complain(options, str(error))
        return FAILED
    if job.duplicate:
        line = describe_duplicate(job, Rules(new.unique, new.debounce, new.throttle))
    else:
        position = "is at the front of its queue, and " if new.front else ""
        if obstacle is not None:
            state = f"is due {due}, and " if due else position
            line = f"{job.id} {job.name} {state}waits {obstacle.until}"
        else:
            if job.run_at > max(now, job.enqueued_at):
                due = _describe_time(job.run_at, now)
            free = "a worker is free"
            if isinstance(new.unique, Unique) and new.unique.conflict == "after":
                free += " and no other job holds its key"
            line = f"{job.id} {job.name} {f'runs {due}' if due else f'{position}runs as soon as {free}'}"
    streams.print_result(line, line if job.duplicate else f"job {job.id} {job.name} is enqueued")
    if obstacle is not None:
        logs.complain(options, obstacle.problem)
    return 0


def _read_options(options: argparse.Namespace) -> EnqueueOptions:
    """Read when and where the job is enqueued.

    :raises UsageError: when a value is invalid, or two options exclude each other.
    """
    given = {"--delay": options.delay is not None, "--at": options.at is not None, "--front": options.front}
    if len(flags := [flag for flag, is_given in given.items() if is_given]) > 1:
        raise UsageError(
            f"{', '.join(flags)} exclude each other: write --delay or --at for a job that runs later, or --front for "
            "one that runs before those in its queue"
        )
    rules = read_rules(options, _read_key)
    return EnqueueOptions(
        delay=None if options.delay is None else settings.read("--delay", options.delay, settings.seconds),
        at=None if options.at is None else settings.read("--at", options.at, _read_time),
        unique=rules.unique,
        id=None if options.id is None else settings.read("--id", options.id, _read_id),
        front=options.front,
        timeout=None if options.timeout is None else settings.read("--timeout", options.timeout, settings.seconds),
        expires=None if options.expires is None else settings.read("--expires", options.expires, settings.seconds),
        debounce=rules.debounce,
        throttle=rules.throttle,
        cost=None if options.cost is None else settings.read("--cost", options.cost, _read_cost),
        partition=None if options.partition is None else settings.read("--partition", options.partition, _read_tenant),
    )


def _read_cost(text: str) -> int:
    return number(text, int, "a whole number")


def _read_tenant(text: str) -> str:
    return tenant_text(text, "it")


async def _enqueue_and_check(enqueuer: Enqueuer, client: Client, call: JobCall) -> tuple[EnqueuedJob, _Obstacle | None]:
    """Enqueue a job; return it, and what keeps it from running, if there is anything."""
    async with enqueuer:
        job = await enqueuer.enqueue_call(call)
    name = job.name
    try:
        async with client:
            queues = await client.queues()
            states = {each.state for each in await client.heartbeats() if name in each.job_names}
    except RedisUnavailable:
        # The job is enqueued. A user who may write to Redis need not be allowed to read.
        return job, None
    handled = [each.name for each in queues if each.pools]
    if not handled:
        problem = f"no pool is running in namespace {client.namespace!r}: start one with `asyncwork run APP`"
        return job, _Obstacle(_FOR_A_POOL, problem)
    if name not in handled:
        return job, _Obstacle(_FOR_A_POOL, f"no running pool handles {name!r}{suggestion(name, handled)}")
    if any(each.paused for each in queues if each.name == name):
        problem = f"the queue {name!r} is paused: its jobs run when it is unpaused, for example in the web UI"
        return job, _Obstacle("until its queue is unpaused", problem)
    if states and states <= {"quiet", "stopping"}:
        problem = f"each pool that handles {name!r} is {' or '.join(sorted(states))}, so no job is fetched"
        return job, _Obstacle("for a pool that fetches it", problem)
    return job, None


async def _enqueue_and_wait(
    options: argparse.Namespace, enqueuer: Enqueuer, client: Client, call: JobCall, timeout: float | None
) -> int:
    """Enqueue a job, wait for its result and print it; return the exit code.

    :param timeout: seconds; ``None`` waits as long as it takes.
    :raises UsageError: when its type keeps no results.
    """
    try:
        job, obstacle = await _enqueue_and_check(enqueuer, client, call)
    except UniqueConflictError as error:
        logs.complain(options, str(error))
        return FAILED
    if obstacle is not None:
        logs.complain(options, obstacle.problem)
    async with enqueuer:
        try:
            result = await job.result(timeout)
        except UsageError as error:
            raise UsageError(f"job {job.id} {job.name} is enqueued, but {error}") from None
        except ResultTimeout as error:
            logs.complain(options, str(error).replace("timeout=…", "--wait"))
            return NOT_ENDED
        except NoResultError as error:
            logs.complain(options, str(error), error.traceback if isinstance(error, JobFailed) else "")
            return FAILED
    streams.print_result(codec.encode_value(result).decode(), f"job {job.id} {job.name} is done")
    return 0


def read_arguments(text: str) -> dict[str, Any]:
    """Parse the arguments of a job.

    :raises UsageError: when they are no JSON object in UTF-8.
    """
    args = _read_json(text, "the arguments are")
    if not isinstance(args, dict):
        raise UsageError(
            "the arguments must be a JSON object with the names of the handler's parameters, such as "
            f"""'{{"address": "a@example.com"}}', not {text[:40]}"""
        )
    return args


def _read_key(text: str) -> dict[str, Any]:
    key = _read_json(text, "the key is")
    if not isinstance(key, dict):
        raise UsageError(f"""the key must be a JSON object, such as '{{"user": 7}}', not {text[:40]}""")
    return key


def _read_json(text: str, what_is: str) -> Any:
    """Parse JSON of the command line. Numbers stay exact, including integers of any size.

    :param what_is: what it is, as the subject of a message with its verb.
    :raises UsageError: when it is not JSON in UTF-8.
    """
    try:
        raw = os.fsencode(text)
        raw.decode()
        return codec.decode(raw)
    except UnicodeDecodeError as error:
        raise UsageError(f"{what_is} not UTF-8: byte {error.start} is {error.object[error.start]:#x}") from None
    except PayloadError as error:
        raise UsageError(f"{what_is} {error}{_point_at(error.__cause__)}") from None


def _read_id(text: str) -> str:
    EnqueueOptions(id=text)
    return text


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
    local = datetime.fromtimestamp(run_at).astimezone()
    return f"at {local.isoformat()}, in {duration(run_at - now)}"
