"""Waits for the results of many jobs at once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine, Iterable
from datetime import timedelta
from typing import Any, TypeVar, overload

from ._jobs.printable import shown
from ._jobs.times import seconds_of
from ._redis.job_record import check_enqueued
from .errors import RedisUnavailable, ResultTimeout, UsageError
from .models.enqueued_job import EnqueuedJob

V = TypeVar("V")


@overload
async def gather(*jobs: EnqueuedJob[Coroutine[Any, Any, V]], timeout: float | timedelta | None = None) -> list[V]: ...
@overload
async def gather(*jobs: EnqueuedJob[V], timeout: float | timedelta | None = None) -> list[V]: ...
async def gather(*jobs: EnqueuedJob[Any], timeout: float | timedelta | None = None) -> list[Any]:
    """Wait until all jobs have ended; return what their handlers returned, in the order of the jobs.

    :param timeout: seconds for all of them, or a ``timedelta``; ``None`` waits as long as it takes.
    :raises NoResultError, RedisUnavailable, UsageError: as :meth:`EnqueuedJob.result`, as soon as it is raised for one
        of them.
    """
    # Checked first, because an error must leave no wait behind.
    seconds = None if timeout is None else seconds_of(timeout, "timeout")
    only: object = jobs[0] if len(jobs) == 1 else None
    if isinstance(only, Iterable) and not isinstance(only, str):
        raise UsageError("each job must be an argument of its own: gather(*jobs), not gather(jobs)")
    _check(jobs)
    waits = [asyncio.ensure_future(job.result()) for job in jobs]
    try:
        async with asyncio.timeout(seconds):
            return await asyncio.gather(*waits)
    except TimeoutError:
        left = sum(not each.done() or each.cancelled() for each in waits)
        raise ResultTimeout(f"{left} of {len(waits)} jobs have not ended after {seconds:g} s (timeout=…)") from None
    finally:
        for each in waits:
            each.cancel()


async def as_completed(
    jobs: Iterable[EnqueuedJob[V]], *, timeout: float | timedelta | None = None
) -> AsyncIterator[EnqueuedJob[V]]:
    """Yield jobs in the order in which they end, however they do. ``job.result()`` then returns or raises at once, also
    when the result is not kept any more.

    :param timeout: seconds for all of them, or a ``timedelta``; ``None`` waits as long as it takes.
    :raises ResultTimeout: when some have not ended in time.
    :raises RedisUnavailable: when Redis refuses the user or the password.
    :raises UsageError: when the results of a type are not kept.
    """
    # Checked first, because an error must leave no wait behind.
    seconds = None if timeout is None else seconds_of(timeout, "timeout")
    if not isinstance(jobs, Iterable):
        raise UsageError(f"jobs must be an iterable of them, as in as_completed([job]), not {shown(jobs)}")
    jobs = _check(tuple(jobs))
    loop, ended = asyncio.get_running_loop(), asyncio.Queue[asyncio.Task[V]]()
    deadline = None if seconds is None else loop.time() + seconds
    waits = {loop.create_task(job.result()): job for job in jobs}
    for each in waits:
        each.add_done_callback(ended.put_nowait)
    try:
        for number in range(len(waits)):
            try:
                async with asyncio.timeout_at(deadline):
                    first = await ended.get()
            except TimeoutError:
                text = f"{len(waits) - number} of {len(waits)} jobs have not ended after {seconds:g} s (timeout=…)"
                raise ResultTimeout(text) from None
            if isinstance(first.exception(), (RedisUnavailable, UsageError)):
                first.result()
            yield waits[first]
    finally:
        for each in waits:
            each.cancel()


def _check(jobs: tuple[EnqueuedJob[V], ...]) -> tuple[EnqueuedJob[V], ...]:
    for job in jobs:
        check_enqueued(job)
    return jobs
