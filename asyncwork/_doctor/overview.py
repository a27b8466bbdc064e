"""The problems that a single reading of a namespace shows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from .._redis.keys import Keys
from .._redis.lock_state import LockState
from ..models.diagnosis import Problem
from ..models.pools import Heartbeat
from ..models.queues import JobCounts, QueueInfo, Sizes
from . import rules
from .heartbeats import HeartbeatHistory
from .periodic_rules import periodic_problems
from .readings import Reading
from .server_rules import server_problems


def overview_problems(
    reading: Reading,
    queues: Sequence[QueueInfo],
    sizes: Sizes,
    info: Mapping[str, Any],
    history: HeartbeatHistory,
    keys: Keys,
    recent: Mapping[str, JobCounts],
) -> list[Problem]:
    """Return the problems, the worst first.

    :param info: the fields of Redis's INFO.
    :param history: has recorded the heartbeats of the reading.
    :param recent: the counts of the last minutes, by queue.
    """
    live = [each for each in reading.heartbeats if not history.is_stale(each, reading.now)]
    return [
        *server_problems(info),
        *rules.orphans(reading.locks, _gone(reading)),
        *rules.pool_problems(reading.heartbeats, reading.now, history),
        *rules.unserved({"waiting": {each.name: each.count for each in queues}}, live),
        *_lock_drift(reading, queues),
        *periodic_problems(reading.changes, live, keys),
        *rules.expiring(recent),
        *rules.quarantined(sizes.quarantine, (), keys),
    ]


def _gone(reading: Reading) -> set[str]:
    return {pool_id for lock in reading.locks.values() for pool_id in lock.holders} - _registered(reading.heartbeats)


def _registered(heartbeats: Sequence[Heartbeat]) -> set[str]:
    return {each.pool_id for each in heartbeats}


def _lock_drift(reading: Reading, queues: Sequence[QueueInfo]) -> Iterator[Problem]:
    registered = _registered(reading.heartbeats)
    for queue in queues:
        if (lock := reading.locks.get(queue.name)) is None:
            continue
        invalid: list[rules.Mismatch] = [
            (pool_id, None, None) for pool_id, share in lock.shares.items() if share is None and pool_id in registered
        ]
        differs = _differs(lock, queue.max_concurrency)
        yield from rules.lock_drift(queue.name, lock, queue.max_concurrency, invalid, sum_differs=differs)


def _differs(lock: LockState, limit: int) -> bool:
    """Return whether a lock differs from its shares so that one reading proves it, or that it blocks the queue.

    Jobs that start or end between the reads of the lock and of the shares make a small difference.
    """
    if lock.excess is None or lock.lock is None or lock.lock < 0:
        return True
    return lock.excess > 0 and 0 < limit <= lock.lock
