"""Calls of a handler of chunks: one call for many jobs, which then end one by one."""

from __future__ import annotations

import math
import threading
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol, TypeAlias

import anyio.to_thread

from ..errors import HandlerError
from ..job import Job
from .attempt import Attempt, attempt_of
from .calling import Call, RunPlain, call_by_kind
from .function_kinds import is_async, label_of
from .printable import plural, shown

# The most ids that an error text names, because a chunk may have thousands.
_MOST_SHOWN = 3


@dataclass(frozen=True, slots=True)
class JobGroup:
    """The jobs of one call.

    :ivar attempt: that of the call; each job has its own beside it.
    """

    jobs: list[Job]
    attempt: Attempt = field(default_factory=Attempt)


class JobOutcome(NamedTuple):
    """The outcome of one job of a call.

    :ivar value: what the job returns.
    :ivar error: what it raises instead; ``None`` if it succeeds.
    """

    value: object = None
    error: BaseException | None = None


# Runs a handler for a group of jobs, given a context; returns the outcome of each, in their order.
GroupCall: TypeAlias = Callable[[Any, JobGroup], Awaitable[Sequence[JobOutcome]]]


class CallMember(Protocol):
    """A job that takes part in a call."""

    async def join(self, context: Any, job: Job) -> object:
        """Wait for the call; return what it has made of this job, or raise it."""


# The member whose job runs in this context; ``None`` outside of chunks, where a job has a call for itself.
member: ContextVar[CallMember | None] = ContextVar("asyncwork_chunk_member", default=None)


@dataclass(frozen=True, slots=True)
class Chunked:
    """How the jobs of a type are run in chunks.

    :ivar size: the most jobs of one call.
    :ivar wait: seconds after the first job of a chunk was taken until the call begins, however few jobs there are.
    :ivar call: runs a group of jobs.
    """

    size: int
    wait: float
    call: GroupCall


def _any_number_of_threads() -> anyio.CapacityLimiter:
    # A pool limits how many calls run at once.
    return anyio.CapacityLimiter(math.inf)


def make_group_call(
    function: Callable[..., Any],
    takes_context: bool,
    run_plain: RunPlain = anyio.to_thread.run_sync,
) -> GroupCall:
    """Return what runs a function for a group of jobs.

    :param takes_context: whether the context comes before the jobs.
    :param run_plain: runs the function if it is a plain one.
    """
    is_plain = not is_async(function)

    def pass_jobs(context: Any, group: Any) -> Any:
        if is_plain:
            # By this, each job finds that it runs in a thread.
            for job in group.jobs:
                attempt_of(job).thread = threading.get_ident()
        jobs = list(group.jobs)
        return function(context, jobs) if takes_context else function(jobs)

    call: Any = call_by_kind(function, pass_jobs, _any_number_of_threads, run_plain, lambda group: group.attempt)  # type: ignore[attr-defined]

    async def run(context: Any, group: JobGroup) -> Sequence[JobOutcome]:
        # The handler may replace them.
        ids = [job.id for job in group.jobs]
        try:
            returned = await call(context, group)
        finally:
            if is_plain:
                for job in group.jobs:
                    attempt_of(job).thread = None
        return read_outcomes(returned, ids, label_of(function))

    return run


def make_single_call(group_call: GroupCall) -> Call:
    """Return what runs one job: with others if it is the member of a chunk, else in a call for itself."""

    async def run(context: Any, job: Job) -> object:
        if (joining := member.get()) is not None:
            return await joining.join(context, job)
        return await run_alone(group_call, context, job)

    return run


async def run_alone(group_call: GroupCall, context: Any, job: Job) -> object:
    """Run one job in a call for itself; return what the handler has made of it, or raise it."""
    group = JobGroup([job], attempt_of(job))
    (outcome,) = await group_call(context, group)
    if outcome.error is not None:
        raise outcome.error
    return outcome.value


def read_outcomes(returned: object, ids: Sequence[str], label: str) -> list[JobOutcome]:
    """Return the outcome of each job, from what a handler of chunks has returned.

    :param ids: of its jobs.
    :param label: of the handler, for the error.
    :raises HandlerError: when it is neither ``None`` nor a mapping whose keys are ids of these jobs.
    """
    if returned is None:
        return [JobOutcome()] * len(ids)
    if not isinstance(returned, Mapping):
        raise HandlerError(
            f"{label} returned {type(returned).__name__}: {shown(returned)}. A handler of chunks returns None, or a "
            "mapping of job ids to what each job returns or the exception with which it fails"
        )
    outcomes: dict[object, JobOutcome] = {key: _outcome(value) for key, value in returned.items()}
    known = set(ids)
    if unknown := [key for key in outcomes if key not in known]:
        some = ", ".join(map(shown, unknown[:_MOST_SHOWN])) + (", …" if len(unknown) > _MOST_SHOWN else "")
        raise HandlerError(
            f"{label} returned {plural(len(unknown), 'key')} that none of its {plural(len(ids), 'job')} has as its id: "
            f"{some}. The keys must be the ids of the jobs, as in {{job.id: value}}"
        )
    done = JobOutcome()
    return [outcomes.get(each, done) for each in ids]


def _outcome(value: object) -> JobOutcome:
    if isinstance(value, type) and issubclass(value, BaseException):
        value = value()
    return JobOutcome(error=value) if isinstance(value, BaseException) else JobOutcome(value)
