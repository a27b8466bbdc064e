"""The periodic enqueuer: puts the coming instances of periodic jobs into the scheduled set."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Collection, Sequence

from ..._jobs.periodic_job import PeriodicJob
from ..._jobs.printable import printable
from ..._redis.heartbeat_fields import is_of_go
from ..._redis.namespace import Namespace
from ..._redis.periodic import PeriodicInstances
from ..._redis.periodic_changes import PeriodicChanges
from ..._redis.pool_registry import PoolRegistry
from ..effective_jobs import EffectiveJobs

logger = logging.getLogger("asyncwork")

# Seconds between two checks that the planned instances are still in Redis, and that no job was changed.
_CHECK_PERIOD = 2.0
# Seconds until the next pass, if a job was changed while it was planned.
_AGAIN = 0.05
# How long ago instances may have been due that are planned when a change is read, seconds. A change deletes what was
# planned, and is read up to a period later.
_LATE = 10
# Seconds for which no pool must have had a periodic job before it is removed.
_REMOVE_AFTER = 3600.0


class PeriodicEnqueuer:
    """Plans the instances of periodic jobs up to a horizon. Every pool does so, but each instance is planned once.

    It plans the periodic jobs of the code as they were changed at run time, and those that were added then and whose
    names its pool serves.

    :param jobs: the periodic jobs of the code.
    :param served: the names of the jobs that its pool handles.
    :param period: seconds between two passes that plan all jobs. In between, a plan that is gone because Redis lost its
        data, or wrong because the clock of Redis was, is noticed within seconds, and so is a change.
    :param horizon: how far ahead instances are planned, seconds.
    """

    name = "periodic enqueuer"

    def __init__(
        self,
        namespace: Namespace,
        jobs: Sequence[PeriodicJob],
        served: Collection[str] = (),
        *,
        period: float,
        horizon: float,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._redis = namespace.redis
        self._instances = PeriodicInstances(namespace)
        self._registry = PoolRegistry(namespace)
        self._effective = EffectiveJobs(PeriodicChanges(namespace), jobs, served)
        self._period = period
        self._horizon = horizon
        self._monotonic = monotonic
        self._planned_at = -math.inf
        # The keys of the jobs that had an instance within the horizon when they were last planned.
        self._planned: set[str] = set()
        # The keys of the jobs that were changed and not planned since.
        self._changed: set[str] = set()
        # By key, since when no pool has listed the periodic job in its heartbeat, by the monotonic clock.
        self._absent_since: dict[str, float] = {}

    async def run_once(self) -> float:
        """Plan every instance from now to the horizon, by the clock of Redis, if it is time, the job was changed, or
        the plan is gone.
        """
        self._changed |= await self._effective.read()
        jobs = self._effective.jobs
        self._planned &= jobs.keys()
        known = sorted(self._planned | self._changed)
        gone = await self._instances.unplanned(known, self._horizon) if known else set()
        # Without a plan in Redis, instances that were due may have run. Those that were missed while no pool ran are
        # not planned late.
        late = set() if self._planned_at == -math.inf else self._changed - gone
        if self._monotonic() - self._planned_at >= self._period:
            in_time = await self._plan(jobs.values(), late)
            self._planned_at = self._monotonic()
            await self._remove_unused()
        else:
            again = gone | self._changed
            in_time = await self._plan([job for key, job in jobs.items() if key in again], late)
        self._changed.clear()
        return min(self._period, _CHECK_PERIOD) if in_time else _AGAIN

    async def _plan(self, jobs: Collection[PeriodicJob], late: Collection[str]) -> bool:
        """Plan the instances of jobs; return false if one of them was changed since the changes were read.

        :param late: the keys of jobs that were changed: their instances of the last seconds are planned as well.
        """
        if not jobs:
            return True
        in_time, now = True, math.floor(await self._redis.now())
        for job in jobs:
            start = now - _LATE if job.key in late else now
            firings = job.schedule.firings(start, math.ceil(now + self._horizon))
            if not firings:
                self._planned.discard(job.key)
                continue
            self._planned.add(job.key)
            instances = [(at, job.instance(at)) for at in firings]
            change = self._effective.change_of(job.key)
            planned = await self._instances.plan(job.key, self._horizon, instances, change)
            in_time = in_time and not planned.changed
            if planned.ahead:
                text = "planned periodic job %s again: it was planned %d s too far ahead, by a wrong clock of Redis"
                logger.warning(text, printable(job.key), planned.ahead)
        return in_time

    async def _remove_unused(self) -> None:
        """Remove the periodic jobs that no pool has had for an hour."""
        keys = await self._instances.jobs()
        heartbeats = await self._registry.heartbeats() if keys else []
        # The heartbeats of gocraft/work's pools do not list their periodic jobs.
        in_use = keys if any(map(is_of_go, heartbeats)) else {job.key for each in heartbeats for job in each.periodic}
        # A job that is paused, or was added, is not forgotten, whether a pool has it or not.
        in_use |= self._effective.changed_keys
        now = self._monotonic()
        self._absent_since = {key: self._absent_since.get(key, now) for key in keys - in_use}
        unused = sorted(key for key, since in self._absent_since.items() if now - since >= _REMOVE_AFTER)
        if unused:
            await self._instances.forget(unused)
            logger.info("removed periodic jobs that no pool has any more: %s", ", ".join(map(printable, unused)))
