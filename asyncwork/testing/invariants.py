"""The audit: checks the invariants of a namespace."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator

from .._doctor.contents import NamespaceContents, read_contents
from .._doctor.rate_rules import is_state
from .._jobs.hold import read_hold
from .._jobs.location import JobSet
from .._jobs.membership import member_of
from .._redis.base_client import translated_errors
from .._redis.client import RedisClient
from .._redis.fair_queues import TenantState, tenant_of
from .._redis.keys import Keys
from .._redis.namespace import Namespace
from .._redis.protocol import decode
from .._redis.rates import parse_rates
from .._redis.unique_value import owner_of
from ..errors import PayloadError
from ..job import Job


async def audit(url: str | None, namespace: str, *, running: bool = False) -> list[str]:
    """Check a namespace in which no program writes at the moment; return a line for each violation.

    Every job is in exactly one location. The lock of every queue is the sum of the pools' shares, and each share is
    the length of that pool's in-progress list. No unique key is held for a job that does not exist, no such job is
    marked to be cancelled, and no steps of one are recorded. Every job that is unique until it has ended holds its key,
    or waits until another one has ended. The counts of every batch are those of its bitmaps, its members that have not
    ended exist, and what it had to schedule is scheduled. Pools that are gone left nothing behind.

    :param running: whether pools may be running; if not, a registered pool or a job in progress is a violation.
    :raises RedisUnavailable: when Redis refuses or cannot be reached.
    :raises UsageError: when the URL or the namespace is not valid.
    """
    redis = RedisClient(url, namespace=namespace)
    try:
        with translated_errors(redis.masked_url):
            return await find_violations(Namespace.of(redis), running=running)
    finally:
        await redis.close()


async def find_violations(namespace: Namespace, *, running: bool = False) -> list[str]:
    """Return what :func:`audit` returns, over the connections of a namespace.

    :raises RedisError, OSError: when Redis refuses or cannot be reached.
    """
    found = await read_contents(namespace)
    wrong = [f"key {key} is of a wrong type" for key in found.unreadable]
    return [
        *wrong,
        *_locations(found),
        *_unique_keys(found),
        *_holds(found, namespace.keys),
        *_cancels(found),
        *_steps(found),
        *_batches(found),
        *_locks(found),
        *_tenants(found),
        *_rates(found),
        *_leftovers(found, running=running),
    ]


def _jobs(found: NamespaceContents) -> Iterator[tuple[str, bytes]]:
    """Yield every payload with its location in words."""
    for name, state in found.queues.items():
        yield from ((f"queue {name}", payload) for payload in state.waiting)
        for tenant, payloads in state.tenants.items():
            yield from ((f"queue {name}, tenant {tenant}", payload) for payload in payloads)
        for pool_id, payloads in state.in_progress.items():
            yield from ((f"in progress of {name} by {pool_id}", payload) for payload in payloads)
    for job_set, payloads in found.job_sets.items():
        yield from ((job_set, payload) for payload in payloads)


def _locations(found: NamespaceContents) -> Iterator[str]:
    locations: dict[str, str] = {}
    for location, payload in _jobs(found):
        try:
            job = Job.decode(payload)
        except PayloadError:
            continue  # Not a job: a pool quarantines it when it finds it.
        if job.id and job.id in locations:
            yield f"job {job.name} {job.id} is in two locations: {locations[job.id]}, and {location}"
        locations[job.id] = location


def _unique_keys(found: NamespaceContents) -> Iterator[str]:
    owned = {key: owner for key, value in found.unique_keys.items() if (owner := owner_of(value))}
    if owned:
        ids = set(map(_id_of, (payload for _, payload in _jobs(found))))
        for key, owner in owned.items():
            if owner not in ids:
                yield f"unique key {key!r} is held for job {owner}, which does not exist"


def _holds(found: NamespaceContents, keys: Keys) -> Iterator[str]:
    holders: dict[str, set[str]] = {}
    for location, payload in _jobs(found):
        if (hold := read_hold(payload)) is not None and not (location == "dead" and hold.dead_frees):
            holders.setdefault(keys.hold(hold.name, hold.digest), set()).add(hold.job_id)
    for key, (job_id, next_id) in found.holds.items():
        unfinished = holders.pop(key, set())
        if job_id not in unfinished:
            yield f"key {key} is held by job {job_id}, which does not exist or has ended"
        if next_id and next_id not in unfinished:
            yield f"key {key} has the successor {next_id}, which does not exist"
        if without := sorted(unfinished - {job_id, next_id}):
            yield f"jobs {', '.join(without)} are to hold key {key}, which job {job_id} holds"
    for each, ids in holders.items():
        yield f"jobs {', '.join(sorted(ids))} hold no key, but are to hold {each}"


def _cancels(found: NamespaceContents) -> Iterator[str]:
    if found.cancels:
        ids = {_id_of(payload) for _, payload in _jobs(found)} | {*found.batches}
        yield from (f"job {each} is marked to be cancelled, but does not exist" for each in sorted(found.cancels - ids))


def _steps(found: NamespaceContents) -> Iterator[str]:
    if found.stepped:
        ids = {_id_of(payload) for _, payload in _jobs(found)}
        for job_id in sorted(found.stepped - ids):
            if not any(job_id.encode() in entry for entry in found.quarantine):
                yield f"steps of job {job_id} are recorded, but it does not exist"


def _batches(found: NamespaceContents) -> Iterator[str]:
    if not found.batches:
        return
    members: Counter[str] = Counter()
    for location, payload in _jobs(found):
        # A dead job has ended.
        if location != JobSet.DEAD and (member := member_of(_id_of(payload))) and not found.has_ended(member):
            members[member.batch_id] += 1
    for each in found.batches.values():
        if each.parent is not None and not each.status.ended and not found.has_ended(each.parent):
            members[each.parent.batch_id] += 1
    for batch_id, each in found.batches.items():
        status = each.status
        counted = {"ended": status.total - status.left, "failed": status.failed, "cancelled": status.cancelled}
        for (name, count), bits in zip(counted.items(), each.bits, strict=True):
            if count != bits:
                yield f"batch {batch_id}: {count} members are counted as {name}, but {bits} bits say so"
        if members[batch_id] != status.left:
            yield f"batch {batch_id}: {status.left} members are left, but {members[batch_id]} exist"
        if not status.ended and not status.open and status.left == 0:
            yield f"batch {batch_id} has no member left, but has not ended"
        if each.overdue:
            yield f"batch {batch_id}: {', '.join(each.overdue)} should be scheduled by now"


def _rates(found: NamespaceContents) -> Iterator[str]:
    for name, each in parse_rates(found.rates).items():
        yield from (f"queue {name}: the rate {text!r} cannot be read" for text in each.invalid)
    for name, state in found.rate_states.items():
        if not is_state(state, time.time()):
            yield f"queue {name}: {state!r} is no state of a rate, or far in the future"


def _id_of(payload: bytes) -> str:
    try:
        return Job.decode(payload).id
    except PayloadError:
        return ""


def _locks(found: NamespaceContents) -> Iterator[str]:
    for name, queue in found.queues.items():
        state = queue.lock_state()
        if state.excess != 0:
            lock = "missing" if queue.lock is None else queue.lock.decode(errors="replace")
            yield f"queue {name}: the lock is {lock}, the pools' shares are {state.shares}"
        for pool_id, length, share in state.mismatches():
            yield f"queue {name}: pool {pool_id} has {length} jobs in progress, and a share of {share} of the lock"


def _tenants(found: NamespaceContents) -> Iterator[str]:
    """Yield what does not follow from the jobs of fair queues."""
    for name, state in found.queues.items():
        if state.fair is None:
            if state.tenants:
                yield f"queue {name} is not fair, but has lists of tenants: {sorted(state.tenants)}"
            continue
        waits = sum(len(payloads) for tenant, payloads in state.tenants.items() if tenant)
        if state.fair.counted not in (None, waits):
            yield f"queue {name}: {waits} jobs of named tenants wait, but {state.fair.counted} are counted"
        running = Counter(tenant_of(each) for payloads in state.in_progress.values() for each in payloads)
        known = {each.name: each for each in state.fair.tenants}
        for tenant in sorted({*running, *known, *state.tenants}):
            each = known.get(tenant)
            if (count := each.running if each else 0) != running[tenant]:
                yield f"queue {name}: {running[tenant]} jobs of tenant {tenant!r} run, but {count} are counted"
            waiting = state.tenants.get(tenant, state.waiting if not tenant else [])
            found_in = 0 if each is None else (each.turn is not None) + each.held
            # The next fetch takes note of what others have pushed to the plain list.
            if found_in != bool(waiting) and (found_in or tenant):
                times = f"{found_in} times in the ring or held"
                yield f"queue {name}: {len(waiting)} jobs of tenant {tenant!r} wait, but it is {times}"
            if each is not None:
                yield from (f"queue {name}: tenant {tenant!r} {text}" for text in _held_wrongly(each))


def _held_wrongly(tenant: TenantState) -> Iterator[str]:
    """Yield what is wrong with the reasons for which a tenant of a fair queue is held."""
    holds = tenant.paused or bool(tenant.retry_of) or 0 < tenant.limit <= tenant.running
    if tenant.opens_in is None:
        if tenant.held and tenant.waiting and not holds:
            yield "is held for no reason"
    elif holds or not tenant.held:
        yield "waits for a token or the end of its rest, but that is not what it is held for"


def _leftovers(found: NamespaceContents, *, running: bool) -> Iterator[str]:
    for pool_id, beating in found.pools.items():
        if not beating:
            yield f"pool {pool_id} is registered, but has no heartbeat"
        elif not running:
            yield f"pool {pool_id} is registered, but no pool should be running"
    for pool_id in sorted(found.requested - found.pools.keys()):
        yield f"pool {pool_id} is gone, but left a request"
    for name, state in found.queues.items():
        for pool_id in state.in_progress.keys() | set(map(decode, state.lock_info)):
            if pool_id not in found.pools:
                yield f"queue {name}: pool {pool_id} is gone, but left jobs or a share of the lock"
    if not running and found.observed:
        yield f"workers {sorted(found.observed)} have observations, but no pool should be running"
