"""The observer: writes to Redis what each worker is doing, for the web UI and the client."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from ..._json import codec, members
from ..._redis.namespace import Namespace
from ..._redis.pool_registry import PoolRegistry
from ...errors import PayloadError
from ...models.job_status import Progress
from ...models.pools import Observation
from ..worker import Worker

# Seconds after which everything is written again.
_REWRITE_PERIOD = 60.0


class Observer:
    """Writes the states of the workers that have changed since the last pass, so each worker at most once a pass.

    :param is_announced: returns whether a heartbeat has the id of a worker, so that other pools find what was written.
    """

    name = "observer"

    def __init__(
        self,
        namespace: Namespace,
        pool_id: str,
        workers: Sequence[Worker],
        is_announced: Callable[[str], bool],
        period: float,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._registry = PoolRegistry(namespace)
        self._pool_id = pool_id
        self._workers = workers
        self._is_announced = is_announced
        self._period = period
        self._monotonic = monotonic
        self._rewrite_at = monotonic() + _REWRITE_PERIOD
        # By worker id, the job id, check-in, start and overdue that were written last; ``None`` where it is unknown
        # what Redis holds.
        self._written: dict[str, tuple[str, tuple[str, int, Progress | None] | None, float, bool] | None] = {}

    async def run_once(self) -> float:
        """Write what has changed; once a minute write everything, because Redis may have lost some of it."""
        if (now := self._monotonic()) >= self._rewrite_at:
            self._rewrite_at = now + _REWRITE_PERIOD
            self._written = dict.fromkeys([*self._written, *(worker.id for worker in self._workers)])
        states, changed = {}, []
        for worker in self._workers:
            job = worker.job
            # An id that is not text cannot be shown, and may raise when it is compared.
            if job is not None and type(job.id) is str and self._is_announced(worker.id):
                states[worker.id] = (job.id, job.checked_in, worker.started_at, worker.overdue)
                if self._written.get(worker.id) != states[worker.id]:
                    changed.append(observe(worker))
        idle = [worker_id for worker_id in self._written if worker_id not in states]
        if changed or idle:
            observations = [each for each in changed if each is not None]
            # Whether or not a reply comes, Redis may have stored them.
            self._written |= dict.fromkeys((each.worker_id for each in observations), None)
            if await self._registry.write_observations(self._pool_id, observations, idle):
                self._written = dict(states)
        return self._period

    def written_ids(self) -> list[str]:
        """Return the ids under which something may be written. Also called from the heartbeat's thread."""
        return list(self._written)

    async def delete_written(self) -> None:
        """Delete everything that was written."""
        if self._written:
            await self._registry.write_observations(self._pool_id, [], list(self._written))
            self._written = {}


def observe(worker: Worker) -> Observation | None:
    """Return what a worker is doing; ``None`` if it is idle, or if its handler made the job impossible to show."""
    try:
        return _observe(worker)
    except Exception:
        return None


def _observe(worker: Worker) -> Observation | None:
    job = worker.job
    if job is None or type(job.name) is not str or type(job.id) is not str:
        return None
    checkin, checkin_at, progress = job.checked_in or ("", 0, None)
    try:
        args = members.fields(job.raw)["args"] if job.args else b""
    except (PayloadError, KeyError):
        # Its unique key held bytes that are not a job. They replaced the payload, as Redis has them in progress.
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
        overdue=worker.overdue,
        progress=progress,
    )
