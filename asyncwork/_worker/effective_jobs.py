"""The periodic jobs that a pool plans: those of its code as they were changed at run time, and those added then."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping, Sequence

from .._jobs.periodic_job import PeriodicJob
from .._jobs.printable import printable
from .._redis.periodic_changes import ChangesReading, PeriodicChange, PeriodicChanges

logger = logging.getLogger("asyncwork")


class EffectiveJobs:
    """The periodic jobs that one pool plans.

    :param jobs: the periodic jobs of the code.
    :param served: the names of the jobs that the pool handles. It plans no job with another name that was added at run
        time.
    :ivar jobs: those to plan, without paused ones, by key.
    """

    def __init__(self, changes: PeriodicChanges, jobs: Sequence[PeriodicJob], served: Collection[str]) -> None:
        self._changes = changes
        self._code = {job.key: job for job in jobs}
        self._served = frozenset(served)
        self._reading = ChangesReading()
        self.jobs: Mapping[str, PeriodicJob] = dict(self._code)

    @property
    def changed_keys(self) -> set[str]:
        """The keys of all periodic jobs of the namespace that were changed at run time."""
        return set(self._reading.raw)

    def change_of(self, key: str) -> bytes:
        """Return the change of a job as it was read; empty if it was not changed."""
        return self._reading.raw.get(key, b"")

    async def read(self) -> set[str]:
        """Read the changes; return the keys of the jobs whose change is another than before.

        :raises RedisError, OSError: when Redis refuses or cannot be reached.
        """
        before, now = self._reading, await self._changes.read()
        if now.wrong_type and not before.wrong_type:
            logger.error("changes of periodic jobs ignored: the key periodic_changes holds another type than a hash")
        self._reading = now
        if before.raw == now.raw:
            return set()
        changed = {key for key in {*before.raw, *now.raw} if before.raw.get(key) != now.raw.get(key)}
        self.jobs = self._with_changes(now.changes)
        for key in sorted(changed):
            self._log(key, before.changes.get(key), now)
        return changed

    def _with_changes(self, changes: Mapping[str, PeriodicChange]) -> dict[str, PeriodicJob]:
        none = PeriodicChange()
        jobs = {key: changes.get(key, none).applied_to(job) for key, job in self._code.items()}
        for key, change in changes.items():
            if key not in jobs and change.name in self._served and (added := change.new_job(key)) is not None:
                jobs[key] = added
        return {key: job for key, job in jobs.items() if not changes.get(key, none).paused}

    def _log(self, key: str, before: PeriodicChange | None, now: ChangesReading) -> None:
        if key in now.malformed:
            logger.warning("change of periodic job %s ignored: it cannot be read", printable(key))
            return
        change = now.changes.get(key)
        if key not in self._code and not self._serves(before) and not self._serves(change):
            return
        by = f" by {printable(change.who)}" if change is not None and change.who else ""
        logger.info("periodic job %s was changed%s: %s", printable(key), by, self._state(key, change))

    def _serves(self, change: PeriodicChange | None) -> bool:
        return change is not None and change.name in self._served

    def _state(self, key: str, change: PeriodicChange | None) -> str:
        if change is not None and change.paused:
            return "paused"
        if (job := self.jobs.get(key)) is None:
            return "removed"
        return f"enqueued at {printable(job.schedule.spec)!r}"
