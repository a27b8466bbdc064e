"""Reads the jobs that are enqueued in a namespace, and describes them in failed assertions."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from .._jobs.binding import bind_some_arguments
from .._jobs.location import JOB_SETS, JobSet, queue_location, queue_name
from .._jobs.names import Named, job_name, suggestion
from .._json.codec import decode, encode_args
from .._redis.fair_listing import FairListing
from .._redis.namespace import Namespace
from .._redis.protocol import decode as decode_text
from ..errors import PayloadError, UsageError
from ..job import Job
from ..task import Task
from .records import JobRun, ListedJob

# Jobs that a message lists, and characters of a value.
_MOST_LISTED = 20
_LONGEST_VALUE = 80

# Jobs that are read of a fair queue.
_MOST_FAIR = 100_000

_MISSING = object()


async def list_jobs(namespace: Namespace, names: Iterable[str]) -> list[ListedJob]:
    """Return the jobs in the queues, by name, and then those that are scheduled, to be retried and dead.

    :param names: names whose queues are read, besides the registered ones.
    :raises RedisError, OSError: when Redis refuses or cannot be reached.
    """
    client, keys = namespace.redis.client(), namespace.keys
    registered = map(decode_text, await client.smembers(keys.known_jobs))
    queues = sorted({*names, *registered})
    async with client.pipeline(transaction=False) as pipe:
        for name in queues:
            pipe.lrange(keys.queue(name), 0, -1)
        for job_set in JOB_SETS:
            pipe.zrange(getattr(keys, job_set.value), 0, -1, withscores=True)
        replies = await pipe.execute()
    found: list[ListedJob] = []
    listing = FairListing(namespace)
    for name, payloads in zip(queues, replies, strict=False):
        if await listing.is_fair(name):
            members, _ = await listing.next_to_run(name, 0, _MOST_FAIR)
            found += _read(queue_location(name), [(each.raw, None) for each in members])
        else:
            found += _read(queue_location(name), [(payload, None) for payload in reversed(payloads)])
    sets = dict(zip(JOB_SETS, replies[len(queues) :], strict=True))
    for job_set in (JobSet.SCHEDULED, JobSet.RETRY, JobSet.DEAD):
        found += _read(job_set.value, [(payload, int(score)) for payload, score in sets[job_set]])
    return found


def _read(location: str, members: Iterable[tuple[bytes, int | None]]) -> list[ListedJob]:
    found = []
    for payload, at in members:
        try:
            job = Job.decode(payload)
        except PayloadError:
            continue  # Not a job: a pool quarantines it.
        found.append(ListedJob(job.name, job.id, job.args, location, at, job.fails, job.err))
    return found


class Wanted:
    """A job that a test expects, or does not.

    :param task: its task or its name.
    :param args: some of its arguments by position, of a task.
    :param kwargs: some by name. With a task, an argument that a job lacks counts as its default.
    :raises UsageError: when the task does not take one of the arguments, the name is not valid, or arguments by
        position are given with a name.
    :raises ArgumentEncodingError: when JSON cannot hold a value.
    """

    def __init__(self, task: str | Named, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        self.name: str = job_name(task)
        if isinstance(task, Task):
            self.args: dict[str, Any] = _as_json(bind_some_arguments(task._handler, args, kwargs))
            self._defaults = _defaults_of(task, self.args)
        elif args:
            raise UsageError(f"pass the arguments of {self.name!r} by name: only a task knows their positions")
        else:
            self.args, self._defaults = _as_json(kwargs), {}

    def matches(self, job: ListedJob) -> bool:
        """Return whether a job is the one."""
        return job.name == self.name and not self.differences(job)

    def differences(self, job: ListedJob | JobRun) -> list[str]:
        """Return the arguments in which a job differs."""
        return [key for key, value in self.args.items() if self._value_of(job, key) != value]

    def _value_of(self, job: ListedJob | JobRun, key: str) -> Any:
        return job.args.get(key, self._defaults.get(key, _MISSING))

    def missing(self, jobs: Sequence[ListedJob], ran: Sequence[JobRun], now: float) -> str:
        """Return the message for a job that is not enqueued.

        :param now: epoch seconds.
        """
        lines = [f"{self} is not enqueued", *_enqueued_lines(jobs, now)]
        names = {job.name for job in jobs}
        same = [job for job in jobs if job.name == self.name and job.location != JobSet.DEAD]
        if same:
            nearest = min(same, key=lambda job: len(self.differences(job)))
            for key in self.differences(nearest):
                found = self._value_of(nearest, key)
                actual = "missing" if found is _MISSING else _short(found)
                lines.append(f"nearest: {key} is {actual}, not {_short(self.args[key])}")
        elif (similar := suggestion(self.name, names).removeprefix(". ")) and self.name not in names:
            lines.append(similar)
        attempts = [run for run in ran if run.name == self.name]
        lines += [f"it ran already: {described(run)}, {run.outcome}" for run in attempts[:_MOST_LISTED]]
        return "\n".join(lines)

    def present(self, found: Sequence[ListedJob], now: float) -> str:
        """Return the message for jobs that are enqueued and should not be.

        :param now: epoch seconds.
        """
        return "\n".join([f"{self} is enqueued", *_enqueued_lines(found, now)])

    def __str__(self) -> str:
        return _call(self.name, self.args)


def described(job: ListedJob | JobRun) -> str:
    """Return a job as it was called."""
    return _call(job.name, job.args)


def _enqueued_lines(jobs: Sequence[ListedJob], now: float) -> list[str]:
    if not jobs:
        return ["no job is enqueued"]
    lines = ["enqueued:", *(f"  {described(job)}, {_where(job, now)}" for job in jobs[:_MOST_LISTED])]
    return [*lines, f"  … and {len(jobs) - _MOST_LISTED} more"] if len(jobs) > _MOST_LISTED else lines


def _where(job: ListedJob, now: float) -> str:
    if queue_name(job.location):
        return "in its queue"
    if job.location == JobSet.DEAD:
        return f"dead: {job.err}" if job.err else "dead"
    due = f"due in {(job.at or 0) - now:.0f} s" if (job.at or 0) > now else "due"
    return f"{job.location}, {due}" + (f", after: {job.err}" if job.err else "")


def _call(name: str, args: Mapping[str, Any]) -> str:
    return f"{name}({', '.join(f'{key}={_short(value)}' for key, value in args.items())})"


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= _LONGEST_VALUE else text[: _LONGEST_VALUE - 1] + "…"


def _as_json(args: Mapping[str, Any]) -> dict[str, Any]:
    """Return arguments as they are after a way through JSON."""
    return decode(encode_args(dict(args))) or {}


def _defaults_of(task: Task[..., ..., Any], names: Iterable[str]) -> dict[str, Any]:
    parameters = inspect.signature(task.function).parameters
    defaults = {name: parameters[name].default for name in names if name in parameters}
    given = {name: value for name, value in defaults.items() if value is not inspect.Parameter.empty}
    return _as_json(bind_some_arguments(task._handler, (), given))
