"""Tells in Redis what each worker is doing, for people who look."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from ..._json import codec, members
from ..._redis.namespace import Namespace
from ..._redis.registry import Registry
from ...errors import PayloadError
from ...models import Observation
from ..worker import Worker

# Seconds after which everything is written anew.
_EVERYTHING = 60.0


class Observer:
    """Writes the workers' states that have changed since it last looked, so at most one write a pass."""

    name = "observer"

    def __init__(
        self,
        namespace: Namespace,
        pool_id: str,
        workers: Sequence[Worker],
        period: float,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._registry = Registry(namespace)
        self._pool_id = pool_id
        self._workers = workers
        self._period = period
        self._monotonic = monotonic
        self._all_at = monotonic() + _EVERYTHING
        # Worker id -> job id and check-in as they were last written; ``None`` where it is not known what Redis holds.
        self._written: dict[str, tuple[str, tuple[str, int] | None, float] | None] = {}

    async def once(self) -> float:
        """Write what has changed; from time to time everything, for Redis may hold something else by then."""
        if (now := self._monotonic()) >= self._all_at:
            self._all_at = now + _EVERYTHING
            self._written = {worker.id: None for worker in self._workers}
        seen, busy = {}, []
        for worker in self._workers:
            job = worker.job
            # Of another type it cannot be shown, and may raise when it is compared.
            if job is not None and type(job.id) is str:
                seen[worker.id] = (job.id, job.checked_in, worker.started_at)
                if self._written.get(worker.id) != seen[worker.id]:
                    busy.append(observe(worker))
        idle = [worker_id for worker_id in self._written if worker_id not in seen]
        if busy or idle:
            told = [each for each in busy if each is not None]
            # Whether or not an answer comes, Redis may have done it.
            self._written |= dict.fromkeys((each.worker_id for each in told), None)
            if await self._registry.write_observations(self._pool_id, told, idle):
                self._written = dict(seen)
        return self._period

    async def forget(self) -> None:
        """Delete what was written."""
        if self._written:
            await self._registry.write_observations(self._pool_id, [], list(self._written))
            self._written = {}


def observe(worker: Worker) -> Observation | None:
    """Return what a worker is doing, or ``None``, also where its handler made of the job what cannot be shown."""
    try:
        return _observe(worker)
    except Exception:
        return None


def _observe(worker: Worker) -> Observation | None:
    job = worker.job
    if job is None or type(job.name) is not str or type(job.id) is not str:
        return None
    checkin, checkin_at = job.checked_in or ("", 0)
    try:
        args = members.fields(job.raw)["args"] if job.args else b""
    except (PayloadError, KeyError):
        # What its unique key held has taken the place of its bytes, and is no job: Redis has that one in progress.
        args = codec.encode_args(job.args)
    return Observation(
        worker_id=worker.id,
        job_name=job.name,
        job_id=job.id,
        started_at=int(worker.started_at),
        # As Go writes them: nothing at all for no arguments.
        args=args,
        checkin=codec.replace_surrogates(checkin),
        checkin_at=checkin_at,
    )
