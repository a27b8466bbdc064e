"""The status of a namespace: its pools, running jobs, queues, periodic jobs, problems and server."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from .._doctor.heartbeats import HeartbeatHistory
from .._doctor.overview import overview_problems
from .._doctor.readings import Reading
from .._doctor.rules import RECENT_MINUTES
from .._jobs.location import BUSY
from .._redis.deployments import Deployments
from .._redis.inspector import Inspector
from .._redis.metrics import MetricsStore
from .._redis.namespace import Namespace
from .._redis.periodic_changes import PeriodicChanges
from .._redis.pool_registry import PoolRegistry
from ..models.diagnosis import Overview, ServerInfo
from ..models.job_record import JobRecord
from ..models.pools import Deployment, Heartbeat, Observation
from ..models.queues import QueueInfo
from .job_records import JobReaders, read_running


class NamespaceStatusReader:
    """Reads the status of a namespace, redacted.

    Every method raises RedisError or OSError when Redis refuses or cannot be reached.
    """

    def __init__(self, namespace: Namespace, inspector: Inspector, readers: JobReaders) -> None:
        self._redis = namespace.redis
        self._keys = namespace.keys
        self._inspector = inspector
        self._readers = readers
        self._registry = PoolRegistry(namespace)
        self._changes = PeriodicChanges(namespace)
        self._deployments = Deployments(namespace)
        self._metrics = MetricsStore(namespace)
        self._history = HeartbeatHistory()

    async def ping(self) -> None:
        """Wait until Redis replies."""
        await self._redis.now()

    async def heartbeats(self) -> list[Heartbeat]:
        """Return the heartbeats of the registered pools."""
        return await self._redacted(await self._registry.heartbeats())

    async def _redacted(self, heartbeats: list[Heartbeat]) -> list[Heartbeat]:
        redaction = self._readers.redaction
        if not redaction:
            return heartbeats
        key = await self._readers.digest_key.read()
        return [
            replace(each, periodic=tuple(redaction.apply_to_periodic(state, key) for state in each.periodic))
            for each in heartbeats
        ]

    async def running(self) -> list[tuple[Observation, JobRecord]]:
        """Return the observations of the busy workers, and the records of their jobs."""
        observed = await self._inspector.observations(await self._registry.heartbeats())
        reader = await self._readers.reader(BUSY)
        running = []
        for each in observed:
            record = reader.redact(read_running(each))
            args = record.args if each.args else b""
            shown = replace(each, job_name=record.name, job_id=record.id, args=args, checkin=record.checkin)
            shown = replace(shown, progress=record.progress)
            running.append((shown, record))
        return running

    async def live_pools(self) -> list[Heartbeat]:
        """Return the heartbeats of the pools that are alive. Their periodic jobs are not redacted."""
        heartbeats, now = await self._registry.heartbeats(), await self._redis.now()
        self._history.record(heartbeats, now)
        return [each for each in heartbeats if not self._history.is_stale(each, now)]

    async def dead_since(self, pool_id: str) -> float | None:
        """Return since when a pool is considered dead, epoch seconds, or 0 if that is not known; ``None`` for a pool
        that is alive.
        """
        heartbeats, now = await self._registry.heartbeats(), await self._redis.now()
        self._history.record(heartbeats, now)
        heartbeat = next((each for each in heartbeats if each.pool_id == pool_id and each.heartbeat_at), None)
        if heartbeat is None:
            return 0.0
        if not self._history.is_stale(heartbeat, now):
            return None
        return float(round(now - self._history.silence(heartbeat, now)))

    async def queues(self) -> list[QueueInfo]:
        """Return the queues of all registered names, sorted by name."""
        return await self._queues(await self._registry.heartbeats(), await self._redis.now())

    async def _queues(self, heartbeats: Sequence[Heartbeat], now: float) -> list[QueueInfo]:
        self._history.record(heartbeats, now)
        live = [each for each in heartbeats if not self._history.is_stale(each, now)]
        return await self._inspector.queues(now, Counter(name for each in live for name in each.job_names))

    async def deployments(self) -> list[Deployment]:
        """Return the versions of the application, the newest first."""
        return await self._deployments.all()

    async def overview(self) -> Overview:
        """Return the status at one time, with the problems that it shows."""
        now, heartbeats = await self._redis.now(), await self._registry.heartbeats()
        queues = await self._queues(heartbeats, now)
        sizes = await self._inspector.sizes(queues)
        locks = await self._inspector.locks([each.name for each in queues])
        info = await self._inspector.server()
        redacted = await self._redacted(heartbeats)
        recent = await self._metrics.recent_with_expired([each.name for each in queues], RECENT_MINUTES)
        reading = Reading(now, heartbeats, locks, changes=await self._changes.read())
        problems = overview_problems(reading, queues, sizes, info, self._history, self._keys, recent)
        return Overview(redacted, queues, sizes, problems, _server_info(info))


def _server_info(info: Mapping[str, Any]) -> ServerInfo:
    return ServerInfo(
        version=str(info.get("redis_version", "")),
        memory=int(info.get("used_memory", 0)),
        memory_limit=int(info.get("maxmemory", 0)),
        policy=str(info.get("maxmemory_policy", "")),
        clients=int(info.get("connected_clients", 0)),
        uptime=int(info.get("uptime_in_seconds", 0)),
    )
