"""For tests of programs that use asyncwork: what must always hold of a namespace, checked."""

from __future__ import annotations

from collections.abc import Iterator

from ._doctor.lock_state import Holdings
from ._doctor.snapshot import QueueState, Snapshot, take_snapshot
from ._redis.client import RedisClient
from ._redis.namespace import Namespace
from ._redis.protocol import read_count
from ._redis.unique_value import owner_of
from .errors import PayloadError
from .job import Job


async def audit(url: str | None, namespace: str, *, running: bool = False) -> list[str]:
    """Check a namespace in which nobody writes at the moment; return what is wrong, a line each.

    Every job is in exactly one place. For every queue, the lock is the sum of the pools' shares, each of which is the
    length of that pool's in-progress list. No unique key tells of a job that is nowhere. Nothing is left of pools that
    are gone.

    :param running: whether pools may be running: if not, anything in progress is wrong, and so is a registered pool.
    :raises RedisError, OSError: when Redis refuses or cannot be reached.
    """
    redis = RedisClient(url, namespace=namespace)
    try:
        found = await take_snapshot(Namespace.of(redis))
    finally:
        await redis.close()
    wrong = [f"key {key} holds another kind of value than it must" for key in found.unreadable]
    return [*wrong, *_places(found), *_unique_keys(found), *_locks(found), *_traces(found, running=running)]


def _jobs(found: Snapshot) -> Iterator[tuple[str, bytes]]:
    """Every payload with the place it is in."""
    for name, state in found.queues.items():
        yield from ((f"queue {name}", payload) for payload in state.waiting)
        for pool_id, payloads in state.in_progress.items():
            yield from ((f"in progress of {name} by {pool_id}", payload) for payload in payloads)
    for shelf, payloads in found.shelves.items():
        yield from ((shelf, payload) for payload in payloads)


def _places(found: Snapshot) -> Iterator[str]:
    places: dict[str, str] = {}
    for place, payload in _jobs(found):
        try:
            job = Job.decode(payload)
        except PayloadError:
            continue  # no job; it is set aside when somebody comes upon it
        if job.id and job.id in places:
            yield f"job {job.name} {job.id} is in two places: {places[job.id]}, and {place}"
        places[job.id] = place


def _unique_keys(found: Snapshot) -> Iterator[str]:
    owned = {key: owner for key, value in found.unique_keys.items() if (owner := owner_of(value))}
    if owned:
        ids = set(map(_id_of, (payload for _, payload in _jobs(found))))
        for key, owner in owned.items():
            if owner not in ids:
                yield f"unique key {key!r} is held for job {owner}, which is nowhere"


def _id_of(payload: bytes) -> str:
    try:
        return Job.decode(payload).id
    except PayloadError:
        return ""


def _locks(found: Snapshot) -> Iterator[str]:
    for name, state in found.queues.items():
        holdings = _holdings(state)
        if holdings.excess != 0:
            yield f"queue {name}: the lock is {_text(state.lock)}, the pools' shares are {holdings.shares}"
        for pool_id, length, share in holdings.strays():
            yield f"queue {name}: pool {pool_id} has {length} jobs in progress, and a share of {share} of the lock"


def _holdings(state: QueueState) -> Holdings:
    shares = {pool_id: read_count(share) for pool_id, share in state.lock_info.items()}
    pools = state.in_progress.keys() | shares.keys()
    lengths = {pool_id: len(state.in_progress.get(pool_id, ())) for pool_id in pools}
    return Holdings(read_count(state.lock), shares, lengths)


def _traces(found: Snapshot, *, running: bool) -> Iterator[str]:
    for pool_id, beating in found.pools.items():
        if not beating:
            yield f"pool {pool_id} is registered, but has no heartbeat"
        elif not running:
            yield f"pool {pool_id} is registered, but none should be running"
    for name, state in found.queues.items():
        for pool_id in state.in_progress.keys() | state.lock_info.keys():
            if pool_id not in found.pools:
                yield f"queue {name}: something is left of pool {pool_id}, which is gone"
    if not running and found.observed:
        yield f"workers {sorted(found.observed)} are said to be busy, but none should be running"


def _text(raw: bytes | None) -> str:
    return "missing" if raw is None else raw.decode(errors="replace")
