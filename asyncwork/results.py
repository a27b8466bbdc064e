"""Waits for the results of many jobs at once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine, Iterable
from datetime import timedelta
from typing import Any, TypeVar, overload

from ._jobs.times import seconds_of
from .errors import ResultTimeout, UsageError
from .models import EnqueuedJob

V = TypeVar("V")


@overload
async def gather(*jobs: EnqueuedJob[Coroutine[Any, Any, V]], timeout: float | timedelta | None = None) -> list[V]: ...
@overload
async def gather(*jobs: EnqueuedJob[V], timeout: float | timedelta | None = None) -> list[V]: ...
async def gather(*jobs: EnqueuedJob[Any], timeout: float | timedelta | None = None) -> list[Any]:
    """Wait until all jobs have ended; return what their handlers returned, in the order of the jobs.

    :param timeout: seconds for all of them, or a ``timedelta``; ``None`` waits as long as it takes.
    :raises NoResultError, UsageError: as :meth:`EnqueuedJob.result`, as soon as it is raised for one of them.
    """
    # Checked first, because an error must leave no wait behind.
    seconds = None if timeout is None else seconds_of(timeout, "timeout")
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
    """Yield jobs in the order in which they end, however they do. ``job.result()`` then returns or raises at once.

    :param timeout: seconds for all of them, or a ``timedelta``; ``None`` waits as long as it takes.
    :raises ResultTimeout: when some have not ended in time.
    :raises UsageError: when the results of a type are not kept.
    """
    # Checked first, because an error must leave no wait behind.
    seconds = None if timeout is None else seconds_of(timeout, "timeout")
    waits = {asyncio.ensure_future(job.result()): job for job in jobs}
    loop = asyncio.get_running_loop()
    deadline = None if seconds is None else loop.time() + seconds
    pending = set(waits)
    try:
        while pending:
            left = None if deadline is None else max(0.0, deadline - loop.time())
            done, pending = await asyncio.wait(pending, timeout=left, return_when=asyncio.FIRST_COMPLETED)
            if not done:
                text = f"{len(pending)} of {len(waits)} jobs have not ended after {seconds:g} s (timeout=…)"
                raise ResultTimeout(text)
            for each in done:
                if isinstance(each.exception(), UsageError):
                    each.result()
                yield waits[each]
    finally:
        for each in pending:
            each.cancel()
