"""Instances of periodic jobs that must not run, because the schedule by which they were planned was changed."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

from ..._jobs.printable import printable
from ..._json import members
from ..._redis.heartbeat_fields import is_of_go
from ..._redis.namespace import Namespace
from ..._redis.periodic import PeriodicInstances
from ..._redis.periodic_changes import PeriodicChanges
from ..._redis.pool_registry import PoolRegistry
from ...job import Job
from ...models.pools import Heartbeat

logger = logging.getLogger("asyncwork")

# Seconds for which heartbeats are not read again.
_HEARTBEATS_FOR = 2.0


class Instance(NamedTuple):
    """An instance of a periodic job, with the key of the periodic job and the epoch second of the instance."""

    job: Job
    key: str
    at: int


class SupersededInstances:
    """Drops instances that are due and whose schedule was changed.

    :param own: the keys of the periodic jobs that this pool enqueues. Their instances are not superseded.
    """

    def __init__(self, namespace: Namespace, own: Collection[str]) -> None:
        self._registry = PoolRegistry(namespace)
        self._instances = PeriodicInstances(namespace)
        self._changes = PeriodicChanges(namespace)
        self._own = frozenset(own)
        self._heartbeats: Sequence[Heartbeat] = ()
        self._heartbeats_until = -math.inf

    async def drop(self, instances: Mapping[bytes, Instance]) -> set[bytes]:
        """Delete those of the instances, given by their members, that are superseded; return their members.

        :raises RedisError, OSError: when Redis refuses or cannot be reached.
        """
        foreign = {member: each for member, each in instances.items() if each.key not in self._own}
        if not foreign:
            return set()
        if (now := time.monotonic()) >= self._heartbeats_until:
            self._heartbeats, self._heartbeats_until = await self._registry.heartbeats(), now + _HEARTBEATS_FOR
        old = [(member, each.at) for member, each in foreign.items() if _is_superseded(*each, self._heartbeats)]
        if old and (added := await self._changes.added([foreign[member].key for member, _ in old])):
            # Pools list only the periodic jobs of their code.
            old = [(member, at) for member, at in old if foreign[member].key not in added]
        dropped = await self._instances.drop(old) if old else set()
        for member in dropped:
            job, key, at = foreign[member]
            text = "dropped the instance of periodic job %s at %d: its schedule %r was changed"
            logger.info(text, printable(job.name), at, key)
        return dropped


def _is_superseded(job: Job, key: str, at: int, heartbeats: Sequence[Heartbeat]) -> bool:
    """Return whether a planned instance of a periodic job must not run because its schedule was changed.

    That is so if no registered pool has the schedule any more, and a pool that was started before the instance's time
    enqueues the same job with the same arguments by another schedule. While a pool of gocraft/work is registered, an
    instance without arguments may be its own, because such pools do not list their schedules.

    :param key: the key of the periodic job.
    :param at: the epoch second of the instance.
    :param heartbeats: those of all registered pools.
    """
    if any(state.key == key for each in heartbeats for state in each.periodic):
        return False
    args = members.fields(job.raw)["args"]
    if args == b"null" and any(map(is_of_go, heartbeats)):
        return False
    return any(
        state.name == job.name and state.args == args
        for each in heartbeats
        if each.started_at < at
        for state in each.periodic
    )
