"""Searches all locations for jobs by their ids: one search for all ids that are asked for at the same time."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from typing import NamedTuple

from .._jobs.location import BUSY, JobSet, queue_location
from ..job import Job
from .inspector import Inspector
from .job_scan import JobScan
from .namespace import Namespace
from .running_jobs import RunningJobs, id_among


class FoundJob(NamedTuple):
    """A job, and where it was found: a location, or ``busy``."""

    job: Job
    location: str

    @property
    def is_dead(self) -> bool:
        """Whether it is among the dead jobs."""
        return self.location == JobSet.DEAD


class JobSearch:
    """The searches of one event loop.

    One runs at a time. Ids that are asked for meanwhile are looked for together by the next one, which starts after a
    pause as long as the search took, so that many callers do not keep Redis and the event loop busy.
    """

    def __init__(self, namespace: Namespace) -> None:
        self._inspector = Inspector(namespace)
        self._in_progress = RunningJobs(namespace)
        self._wanted = set[str]()
        self._next: asyncio.Future[dict[str, FoundJob]] | None = None
        self._searching: asyncio.Task[None] | None = None

    async def find(self, job_ids: Collection[str]) -> dict[str, FoundJob]:
        """Return those of some jobs that wait, run or are dead, by id.

        :raises RedisError, OSError: when Redis refuses or cannot be reached.
        """
        loop = asyncio.get_running_loop()
        self._wanted.update(job_ids)
        if self._next is None:
            self._next = loop.create_future()
        result = self._next
        if self._searching is None or self._searching.done():
            self._searching = loop.create_task(self._search_all(), name="asyncwork searching for jobs")
        found = await asyncio.shield(result)
        return {job_id: found[job_id] for job_id in job_ids if job_id in found}

    async def close(self) -> None:
        """End the search, and cancel the calls that wait for it."""
        if self._searching is not None:
            self._searching.cancel()
            await asyncio.wait([self._searching])
        if self._next is not None:
            self._next.cancel()
            self._next = None

    async def _search_all(self) -> None:
        loop = asyncio.get_running_loop()
        while self._next is not None:
            result, self._next = self._next, None
            wanted, self._wanted = self._wanted, set()
            began = loop.time()
            try:
                result.set_result(await self._search(wanted))
            except Exception as error:
                result.set_exception(error)
                # The tasks that wait for the result may all have been cancelled, and an error must not be logged as
                # never read.
                result.exception()
            except BaseException:
                result.cancel()
                raise
            await asyncio.sleep(loop.time() - began)

    async def _search(self, job_ids: Collection[str]) -> dict[str, FoundJob]:
        found = dict[str, FoundJob]()
        # By their UTF-8.
        left = {job_id.encode(errors="replace"): job_id for job_id in job_ids}
        # A job may move on while it is searched for, so all is read twice.
        for _ in range(2):
            await self._find_running(left, found)
            names = await self._inspector.names() if left else []
            # Scheduled jobs and retries move to queues, so those are read after them.
            for location in (JobSet.SCHEDULED, JobSet.RETRY, *map(queue_location, names), JobSet.DEAD):
                if left:
                    await self._scan(location, left, found)
        await self._find_running(left, found)
        return found

    async def _find_running(self, left: dict[bytes, str], found: dict[str, FoundJob]) -> None:
        for raw in (await self._in_progress.find(left.values()) if left else {}).values():
            _add(BUSY, raw, left, found)

    async def _scan(self, location: str, left: dict[bytes, str], found: dict[str, FoundJob]) -> None:
        """Search a location, the newest jobs first."""
        scan = JobScan(self._inspector, location)
        while left and not scan.ended and (members := await scan.step()):
            for member in members:
                if id_among(member.raw, left) is not None:
                    _add(str(location), member.raw, left, found)
            scan.mark_seen(members)


def _add(location: str, raw: bytes, left: dict[bytes, str], found: dict[str, FoundJob]) -> None:
    """Move the id of a job from those that are left to those that are found."""
    job = Job.decode(raw)
    if (job_id := left.pop(job.id.encode(errors="replace"), None)) is not None:
        found[job_id] = FoundJob(job, location)
