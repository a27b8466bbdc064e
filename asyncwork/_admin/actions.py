"""Requeue, delete and restore jobs."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import TypeAlias

from .._jobs.location import JobSet, check_job_set, check_location
from .._jobs.membership import SETTLE_NAME
from .._jobs.option_checks import check_whole
from .._jobs.payload import with_time, without_failures
from .._jobs.times import seconds_of
from .._json.codec import replace_surrogates
from .._redis.batch_store import BatchStore
from .._redis.cancels import CancelMark
from .._redis.delayed import DelayedJobs, Scored
from .._redis.deletions import Deletions
from .._redis.inspector import Inspector
from .._redis.located_payload import LocatedPayload
from .._redis.namespace import Namespace
from .._redis.queue_settings import QueueSettings
from .._redis.slices import slices
from .._redis.undo import UNDO_FOR, UndoStore
from ..errors import PayloadError, UniqueConflictError, UsageError
from ..job import Job
from ..models.actions import ActionResult, Deletion
from .arguments import check_arguments
from .bulk import Action, BulkActions
from .cancel import JobCanceller
from .job_records import JobReaders
from .job_ref import JobRef
from .lookup import JobLookup
from .query import JobQuery

# Jobs moved by one command; keeps it far below 10 ms.
_SLICE = 100
# The most jobs of a location that is searched in one call, so that the deletion of those that match can be undone.
_MOST_UNDONE = 1000
# Deletions returned by one call.
_MOST_DELETIONS = 100

# A member, the name of its queue, and the payload to put there.
_Move: TypeAlias = tuple[bytes, str | None, bytes]


class JobActions:
    """Changes the jobs of a namespace.

    Every method raises RedisError or OSError when Redis refuses or cannot be reached, and UsageError for a location
    that is not one, or not a sorted set where jobs are requeued from, and for another argument that cannot be right.

    :param canceller: cancels jobs wherever they are.
    """

    def __init__(
        self,
        namespace: Namespace,
        inspector: Inspector,
        readers: JobReaders,
        lookup: JobLookup,
        canceller: JobCanceller,
    ) -> None:
        self._redis = namespace.redis
        self._inspector = inspector
        self._readers = readers
        self._lookup = lookup
        self._bulk = BulkActions(inspector, readers)
        self._settings = QueueSettings(namespace)
        self._deletions = Deletions(namespace)
        self._undo = UndoStore(namespace)
        self._delayed = DelayedJobs(namespace)
        self._batches = BatchStore(namespace)
        self._canceller = canceller

    # Some jobs

    async def retry(self, location: str, refs: Iterable[str]) -> ActionResult:
        """Put jobs of a sorted set on their queues.

        :raises UsageError: also when a ref is invalid, or one of the payloads is not a job.
        :raises UniqueConflictError: when none was moved, because other jobs hold their keys.
        """
        job_set = check_job_set(location)
        members = await self._by_ref(job_set, refs)
        moves = await self._moves(job_set, members)
        if len(moves) < len(members):
            raise UsageError("a payload that is not a job cannot be put on a queue; it can be deleted")
        moved, held = await self._move(job_set, moves)
        if held and not moved:
            raw, holder = held[0]
            job = Job.decode(raw)
            what = "retried" if job_set is not JobSet.SCHEDULED else "run now"
            text = f"the {job.name!r} job {job.id} cannot be {what}: job {holder} holds its key"
            raise UniqueConflictError(text, job.name, holder)
        return ActionResult(moved, len(members))

    async def delete(self, location: str, refs: Iterable[str], who: str) -> ActionResult:
        """Delete jobs and free their unique keys, so that it can be undone.

        :raises UsageError: also when a ref is invalid.
        """
        check_location(location)
        check_arguments(who=who)
        members = await self._by_ref(location, refs)
        undo = await self._undo.prepare(location, who)
        deleted = await self._deletions.delete(location, members, undo)
        return ActionResult(deleted, len(members), undo=undo if deleted else "")

    async def cancel(self, location: str, refs: Iterable[str], mark: CancelMark) -> ActionResult:
        """Cancel jobs that wait in a location.

        :raises UsageError: also when a ref is invalid.
        """
        members = await self._by_ref(location, refs)
        return ActionResult(await self._canceller.cancel_members(location, members, mark), len(members))

    async def _by_ref(self, location: str, refs: Iterable[str]) -> list[LocatedPayload]:
        check_arguments(refs=refs)
        return await self._lookup.by_ref(location, [JobRef.parse(ref) for ref in refs])

    async def retry_by_time(self, job_set: JobSet, at: int, job_id: str) -> bool:
        """Put the job with this score and id on its queue; return whether there was one."""
        members = await self._by_time(job_set, at, job_id)
        return bool(members and await self.requeue_members(job_set, members))

    async def delete_by_time(self, job_set: JobSet, at: int, job_id: str) -> bool:
        """Delete the job with this score and id for good; return whether there was one."""
        members = await self._by_time(job_set, at, job_id)
        return bool(members and await self._deletions.delete(job_set, members))

    async def _by_time(self, job_set: JobSet, at: int, job_id: str) -> list[LocatedPayload]:
        check_whole(at, "the time", 0, 2**60)
        check_arguments(job_id=job_id)
        return await self._lookup.by_time(job_set, at, replace_surrogates(job_id))

    # All jobs that match

    async def retry_matching(
        self, location: str, query: JobQuery, cursor: str, seconds: float | timedelta | None
    ) -> ActionResult:
        """Put the jobs of a sorted set that match on their queues."""
        job_set = check_job_set(location)
        seconds = _checked(query, cursor, seconds)
        now = await self._redis.now()
        return await self._bulk.run(job_set, query, cursor, seconds, now, self.requeue_members, requeues=True)

    async def delete_matching(
        self, location: str, query: JobQuery, cursor: str, seconds: float | timedelta | None, who: str
    ) -> ActionResult:
        """Delete the jobs of a location that match and free their unique keys, so that it can be undone if there were
        few jobs.
        """
        check_location(location)
        check_arguments(who=who)
        seconds = _checked(query, cursor, seconds)
        undo = ""
        if not cursor:
            _, total = await self._inspector.members(location, 0, 1, newest_first=True)
            undo = await self._undo.prepare(location, who) if 0 < total <= _MOST_UNDONE else ""

        async def delete(location: str, members: Sequence[LocatedPayload]) -> int:
            return await self._deletions.delete(location, members, undo)

        outcome = await self._run(location, query, cursor, None if undo else seconds, delete)
        return replace(outcome, undo=undo if outcome.done else "")

    async def cancel_matching(
        self, location: str, query: JobQuery, cursor: str, seconds: float | timedelta | None, mark: CancelMark
    ) -> ActionResult:
        """Cancel the jobs of a location that match and wait there."""
        seconds = _checked(query, cursor, seconds)

        async def cancel(location: str, members: Sequence[LocatedPayload]) -> int:
            return await self._canceller.cancel_members(location, members, mark)

        return await self._run(location, query, cursor, seconds, cancel)

    async def count(
        self, location: str, query: JobQuery, cursor: str, seconds: float | timedelta | None
    ) -> ActionResult:
        """Count the jobs of a location that match."""
        check_location(location)
        seconds = _checked(query, cursor, seconds)
        return await self._run(location, query, cursor, seconds, None)

    async def _run(
        self, location: str, query: JobQuery, cursor: str, seconds: float | None, action: Action | None
    ) -> ActionResult:
        now = await self._redis.now()
        return await self._bulk.run(location, query, cursor, seconds, now, action, requeues=False)

    async def delete_all(self, job_set: JobSet) -> int:
        """Delete all jobs that are in a sorted set for good; return how many."""
        return await self._deletions.delete_all(job_set)

    # Undo

    async def restore(self, undo: str) -> int:
        """Undo a deletion; return how many jobs were restored.

        :raises UsageError: when ``undo`` is not the token of a deletion.
        """
        check_arguments(undo=undo)
        if not re.fullmatch(r"[0-9a-f]{24}", undo):
            raise UsageError("not an undo token: pass the undo of the outcome of a deletion")
        return await self._undo.restore(undo)

    async def deletions(self) -> list[Deletion]:
        """Return the last deletions that can be undone, the newest first."""
        kept = await self._undo.deletions(_MOST_DELETIONS)
        readers = {location: await self._readers.reader(location) for location in {each.location for each in kept}}
        now = time.time()
        return [
            Deletion(
                each.token,
                each.location,
                each.who,
                now + each.left - UNDO_FOR,
                now + each.left,
                each.jobs,
                readers[each.location].record(each.first, each.at),
            )
            for each in kept
        ]

    # Moving jobs to their queues

    async def requeue_members(self, location: str, members: Sequence[LocatedPayload], flow_id: str = "") -> int:
        """Put jobs of a sorted set on their queues; return how many were still there.

        :param flow_id: the flow whose nodes they are, if it is to be noted there that they are tried again.
        """
        moved, _ = await self._move(location, await self._moves(location, members), flow_id)
        return moved

    async def _moves(self, location: str, members: Sequence[LocatedPayload]) -> list[_Move]:
        now = int(await self._redis.now())
        moves: list[_Move] = []
        for member in members:
            try:
                name = Job.decode(member.raw).name
                if not name:
                    continue
                dead = location == JobSet.DEAD
                renewed = without_failures(member.raw, now) if dead else with_time(member.raw, now)
            except PayloadError:
                continue
            moves.append((member.raw, name, renewed))
        return moves

    async def _move(
        self, location: str, moves: Sequence[_Move], flow_id: str = ""
    ) -> tuple[int, list[tuple[bytes, str]]]:
        """Put jobs on their queues; return how many, and those that stay, with the ids of the holders of their keys.

        The entries of batches and flows are processed at once, as a pool does, because no pool takes them from a queue.
        """
        entries = [(Scored(raw, 0.0), Job.decode(raw)) for raw, name, _ in moves if name == SETTLE_NAME]
        taken, _ = await self._batches.settle_parents(JobSet(location), entries)
        moves = [each for each in moves if each[1] != SETTLE_NAME]
        # Registered, so that the queue is listed even if no pool serves the name.
        await self._settings.register_names(sorted({name for _, name, _ in moves if name}))
        done, held = len(taken), list[tuple[bytes, str]]()
        for some in slices(moves, _SLICE):
            result = await self._delayed.requeue(JobSet(location), some, by_hand=True, flow_id=flow_id)
            done += result.moved
            held += ((some[number][0], holder) for number, holder in result.held.items())
        return done, held


def _checked(query: JobQuery, cursor: str, seconds: float | timedelta | None) -> float | None:
    """Check the arguments of an action on all jobs that match; return the seconds."""
    check_arguments(query=query, cursor=cursor)
    return None if seconds is None else seconds_of(seconds, "seconds")
