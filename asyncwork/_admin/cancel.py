"""Cancel jobs, wherever they are.

A job is marked before it is searched for, and no marked job starts. So it cannot escape while it moves: what is found
waiting is deleted, and what runs is ended by its pool.
"""

from __future__ import annotations

import math
import re
import time
from collections.abc import Collection, Sequence
from datetime import timedelta
from typing import NamedTuple, TypeAlias

from .._jobs.ids import GIVEN_IDS, may_be_given
from .._jobs.location import BUSY, JobSet, check_location, queue_location, queue_name
from .._jobs.membership import is_flow, is_settlement, member_of
from .._jobs.names import is_utf8
from .._jobs.printable import shown
from .._jobs.times import seconds_of
from .._redis.cancels import CancelMark, Cancels
from .._redis.deletions import Deletions
from .._redis.flow_store import FlowStore
from .._redis.inspector import Inspector
from .._redis.job_record import MOST_ALIASES, newer_id
from .._redis.job_scan import JobScan
from .._redis.located_payload import LocatedPayload
from .._redis.namespace import Namespace
from .._redis.running_jobs import RunningJobs, id_among
from .._redis.wake_channel import wake_pools
from ..errors import PayloadError, UsageError
from ..job import Job
from ..models.actions import ActionResult, CancelResult
from ..models.job_record import JobRecord
from ..models.job_status import JobState
from ..models.pools import Observation
from .arguments import check_arguments
from .query import JobQuery

# Seconds for which a job is searched for.
CANCEL_SECONDS = 5.0
# Scheduled jobs and retries move to queues, and those are read after them.
_WAITING_SETS = (JobSet.SCHEDULED, JobSet.RETRY)
# The id of an instance of a periodic job.
_INSTANCE_ID = re.compile(r"periodic:.+:[0-9]{1,12}", re.DOTALL)

# A job that runs, as its pool has written it, and as it may be shown.
RunningJob: TypeAlias = tuple[Observation, JobRecord]


class _Found(NamedTuple):
    """The marked jobs that a search has found.

    :ivar deleted: the ids of those that were waiting, and are deleted now.
    :ivar running: the ids of those that are in progress, or were.
    :ivar complete: whether all locations were read.
    """

    deleted: set[str]
    running: set[str]
    complete: bool


class JobCanceller:
    """Cancels jobs of a namespace.

    Every method raises RedisError or OSError when Redis refuses or cannot be reached, and UsageError for an argument
    that cannot be right.
    """

    def __init__(self, namespace: Namespace, inspector: Inspector) -> None:
        self._namespace = namespace
        self._inspector = inspector
        self._deletions = Deletions(namespace)
        self._cancels = Cancels(namespace)
        self._running = RunningJobs(namespace)
        self._flows = FlowStore(namespace)

    async def cancel(self, job_id: str, reason: str, who: str, seconds: float | timedelta) -> CancelResult:
        """Cancel the job with an id."""
        if not (isinstance(job_id, str) and _can_be_marked(job_id)):
            raise UsageError(
                f"the id of a job is {GIVEN_IDS}, or that of an instance of a periodic job, not {shown(job_id)}"
            )
        mark, deadline = new_mark(reason, who), time.monotonic() + seconds_of(seconds, "seconds")
        await self._refuse_waiting_node(job_id)
        result = CancelResult.GONE
        for _ in range(MOST_ALIASES):
            result = await self._cancel_one(job_id, deadline, mark)
            if result is not CancelResult.GONE or (newer := await newer_id(self._namespace, job_id)) is None:
                break
            job_id = newer
        return result

    async def _refuse_waiting_node(self, job_id: str) -> None:
        # It is in no location yet, so it would be taken for gone, and run all the same.
        node = member_of(job_id)
        if node is not None and is_flow(node.batch_id) and await self._flows.waits(node.batch_id, node.number):
            raise UsageError(
                f"node {job_id} waits for others of its flow, and cannot be cancelled alone: cancel the flow, "
                f"client.cancel_batch({node.batch_id!r}), or one of the nodes before it"
            )

    async def _cancel_one(self, job_id: str, deadline: float, mark: CancelMark) -> CancelResult:
        await self._cancels.mark([job_id], mark)
        found = await self._settle([job_id], deadline, mark)
        if found.deleted:
            return CancelResult.NOW
        return CancelResult.ASKED if found.running or not found.complete else CancelResult.GONE

    async def _settle(self, job_ids: Collection[str], deadline: float, mark: CancelMark) -> _Found:
        """Delete those of the marked jobs that wait, and remove the marks of those that are nowhere.

        A marked job can move on, but not start. A pool that stops returns it to its queue, so all is read twice.
        """
        left, deleted, running = set(job_ids), set[str](), set[str]()
        for _ in range(2):
            running |= await self._find_running(left)
            left -= running
            for location in await self._locations():
                if not left:
                    break
                found, complete = await self._delete(location, left, deadline, mark)
                deleted |= found
                left -= found
                if not complete:
                    return _Found(deleted, running, complete=False)
        running |= await self._find_running(left)
        left -= running
        # A mark that is gone was removed by a pool that has met the job meanwhile.
        running |= left - await self._cancels.clear(sorted(left))
        return _Found(deleted, running, complete=True)

    async def _find_running(self, job_ids: Collection[str]) -> set[str]:
        found = set(await self._running.find(job_ids)) if job_ids else set()
        if found:
            # Only now, because a job that ends at once would not be found.
            await wake_pools(self._namespace)
        return found

    async def _locations(self) -> list[str]:
        return [*_WAITING_SETS, *map(queue_location, await self._inspector.names())]

    async def _delete(
        self, location: str, job_ids: Collection[str], deadline: float, mark: CancelMark
    ) -> tuple[set[str], bool]:
        """Delete the jobs with these ids from a location; return the ids of those that were there, and whether all of
        the location was read in time.
        """
        wanted, found = {job_id.encode() for job_id in job_ids}, set[str]()
        # Ascending, because what arrives meanwhile, such as another attempt, has a higher score.
        scan = JobScan(self._inspector, location, newest_first=False)
        while (members := await scan.step()) and len(found) < len(wanted):
            chosen = [(each, job_id) for each in members if (job_id := id_among(each.raw, wanted))]
            found |= await self._delete_members(location, chosen, mark)
            scan.mark_seen(
                members, await self._inspector.gone(location, [each for each, _ in chosen]) if chosen else ()
            )
            if not scan.ended and time.monotonic() >= deadline:
                return found, False
            if scan.ended:
                break
        return found, True

    async def _delete_members(
        self, location: str, chosen: Sequence[tuple[LocatedPayload, str]], mark: CancelMark
    ) -> set[str]:
        """Delete marked jobs from a location, each given with its id, and their marks; return the ids of those that
        were there.
        """
        deleted = {job_id for member, job_id in chosen if await self._delete_now(location, [member], mark)}
        await self._cancels.clear(sorted(deleted))
        return deleted

    async def _delete_now(self, location: str, members: Sequence[LocatedPayload], mark: CancelMark) -> int:
        return await self._deletions.delete(location, members, state=JobState.CANCELLED, reason=str(mark))

    async def cancel_members(self, location: str, members: Sequence[LocatedPayload], mark: CancelMark) -> int:
        """Cancel jobs that were waiting in a location; return how many are deleted, or are asked to end."""
        jobs = [each for each in members if not is_settlement(each.raw)]
        chosen = [(member, job_id) for member in jobs if (job_id := _read_id(member.raw)) is not None]
        # A job with another id cannot be marked. It is deleted if it still waits.
        ids = [job_id for _, job_id in chosen if _can_be_marked(job_id)]
        await self._cancels.mark(ids, mark)
        deleted = await self._delete_now(location, [member for member, _ in chosen], mark)
        if deleted == len(chosen):
            await self._cancels.clear(ids)
            return deleted
        # Some have moved on meanwhile. All are searched for again, because the reply does not say which.
        found = await self._settle(ids, math.inf, mark)
        return deleted + len(found.deleted) + len(found.running)

    async def cancel_running(self, running: Sequence[RunningJob], query: JobQuery, mark: CancelMark) -> ActionResult:
        """Ask for the end of the running jobs that match."""
        matching = [observed.job_id for observed, record in running if query.match(record)]
        ids = [job_id for job_id in matching if _can_be_marked(job_id)]
        await self._cancels.mark(ids, mark)
        found = await self._settle(ids, math.inf, mark)
        return ActionResult(len(found.running | found.deleted), len(running))


def new_mark(reason: str, who: str) -> CancelMark:
    """Return a mark of this moment.

    :raises UsageError: when an argument is not text.
    """
    check_arguments(reason=reason, who=who)
    return CancelMark.new(reason, who)


def check_cancellable(location: str) -> str:
    """Return a location whose jobs can be cancelled.

    :raises UsageError: when there are no such jobs.
    """
    if location == BUSY or check_location(location) in _WAITING_SETS or queue_name(location):
        return location
    raise UsageError(f"jobs can be cancelled in retry, scheduled, busy or queue:NAME; those in {location} have ended")


def check_waiting(location: str) -> str:
    """Return a location in which jobs wait.

    :raises UsageError: when it is another.
    """
    if location != BUSY:
        return check_cancellable(location)
    raise UsageError("running jobs have no refs: cancel them by their ids, or those that match")


def _can_be_marked(job_id: str) -> bool:
    return bool(may_be_given(job_id) or (_INSTANCE_ID.fullmatch(job_id) and is_utf8(job_id)))


def _read_id(raw: bytes) -> str | None:
    try:
        return Job.decode(raw).id
    except PayloadError:
        return None
