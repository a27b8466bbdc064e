"""The whole contents of a namespace, for tests.

``NamespaceContents`` has more than ten fields, because each is one kind of key.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from .._jobs.membership import Member
from .._redis.errors import ErrorReply, is_wrong_type
from .._redis.fair_queues import FairQueues, FairState
from .._redis.key_scan import scan_namespace
from .._redis.keys import Keys, QueueKey
from .._redis.lock_state import LockState
from .._redis.namespace import Namespace
from .._redis.pool_requests import FIELDS
from .._redis.protocol import decode
from .batch_reader import BatchReading, read_batches


@dataclass(slots=True)
class QueueState:
    """A queue.

    :ivar waiting: payloads, the next to run last.
    :ivar in_progress: payloads by pool id.
    :ivar lock: the raw value of its lock; ``None`` when there is none.
    :ivar lock_info: the raw shares of the lock by pool id.
    :ivar tenants: of a fair queue, the waiting payloads by tenant, as far as they are in a list of the tenant.
    :ivar fair: of a fair queue, its state; ``None`` of others.
    """

    waiting: list[bytes] = field(default_factory=list)
    in_progress: dict[str, list[bytes]] = field(default_factory=dict)
    lock: bytes | None = None
    lock_info: dict[bytes, bytes] = field(default_factory=dict)
    tenants: dict[str, list[bytes]] = field(default_factory=dict)
    fair: FairState | None = None

    def lock_state(self) -> LockState:
        """Return the lock, its shares and the number of jobs in progress."""
        lengths = {pool_id: len(payloads) for pool_id, payloads in self.in_progress.items()}
        return LockState.parse(self.lock, self.lock_info, {**dict.fromkeys(map(decode, self.lock_info), 0), **lengths})


@dataclass(slots=True)
class NamespaceContents:
    """Everything that a namespace holds about jobs and pools.

    :ivar queues: by job name.
    :ivar job_sets: the payloads of ``retry``, ``scheduled`` and ``dead``.
    :ivar quarantine: the entries of the quarantine.
    :ivar pools: by id of a registered pool, whether it has a heartbeat.
    :ivar requested: the ids of pools that have a request, registered or not.
    :ivar unique_keys: the keys that keep jobs unique, with their values.
    :ivar holds: by key that a job holds until it has ended, the id of the job and that of its successor.
    :ivar observed: the ids of workers that have an observation.
    :ivar cancels: the ids of jobs that are marked to be cancelled.
    :ivar stepped: the ids of jobs whose steps are recorded, without those that were deleted.
    :ivar batch_ids: the ids of batches.
    :ivar batches: by id, the batches that are kept.
    :ivar rates: the fields of the hash of rates.
    :ivar rate_states: what is written about the tokens of rates, by job name.
    :ivar unreadable: keys of a wrong type.
    """

    queues: dict[str, QueueState] = field(default_factory=dict)
    job_sets: dict[str, list[bytes]] = field(default_factory=dict)
    quarantine: list[bytes] = field(default_factory=list)
    pools: dict[str, bool] = field(default_factory=dict)
    requested: set[str] = field(default_factory=set)
    unique_keys: dict[str, bytes] = field(default_factory=dict)
    holds: dict[str, tuple[str, str]] = field(default_factory=dict)
    observed: set[str] = field(default_factory=set)
    cancels: set[str] = field(default_factory=set)
    stepped: set[str] = field(default_factory=set)
    batch_ids: list[str] = field(default_factory=list)
    batches: dict[str, BatchReading] = field(default_factory=dict)
    rates: dict[bytes, bytes] = field(default_factory=dict)
    rate_states: dict[str, bytes] = field(default_factory=dict)
    unreadable: list[str] = field(default_factory=list)

    def has_ended(self, member: Member) -> bool:
        """Return whether a member of a batch has ended; true as well if the batch is gone."""
        batch = self.batches.get(member.batch_id)
        return batch is None or batch.has_ended(member.number)


async def read_contents(namespace: Namespace) -> NamespaceContents:
    """Read a whole namespace, without the namespaces within it, in steps.

    It is meant for tests and small namespaces, and is consistent only while no program writes.

    :raises RedisError, OSError: when Redis refuses or cannot be reached.
    """
    client, keys = namespace.redis.client(), namespace.keys
    found = NamespaceContents()
    async for key in scan_namespace(namespace):
        try:
            await _read(found, client, keys, key)
        except ErrorReply as error:
            if not is_wrong_type(error):
                raise
            found.unreadable.append(key)
    found.batches = {each.status.id: each for each in await read_batches(namespace, found.batch_ids)}
    fair = FairQueues(namespace)
    for name in await fair.names():
        found.queues.setdefault(name, QueueState()).fair = await fair.read(name)
    return found


async def _read(found: NamespaceContents, client: Any, keys: Keys, key: str) -> None:
    if key in (keys.retry, keys.scheduled, keys.dead):
        found.job_sets[key.removeprefix(keys.prefix)] = await client.zrange(key, 0, -1)
    elif key == keys.quarantine:
        found.quarantine = await client.lrange(key, 0, -1)
    elif key == keys.worker_pools:
        for pool_id in map(decode, await client.smembers(key)):
            found.pools[pool_id] = bool(await client.exists(keys.heartbeat(pool_id)))
    elif key.startswith(f"{keys.worker_pools}:"):
        if await client.type(key) == b"hash" and any(await client.hmget(key, list(FIELDS))):
            found.requested.add(key.removeprefix(f"{keys.worker_pools}:"))
    elif key.startswith(keys.batch("")[0]) and len(key) == len(keys.batch("")[0]) + 24:
        found.batch_ids.append(key[-24:])
    elif key == keys.cancels:
        found.cancels = set(map(decode, await client.hkeys(key)))
    elif key.startswith(start := keys.steps("")):
        if not await client.hexists(key, "deleted"):
            found.stepped.add(key.removeprefix(start))
    elif key == keys.rates:
        found.rates = await client.hgetall(key)
    elif key.startswith(keys.rate("")):
        # It may have expired since the scan.
        if (state := await client.get(key)) is not None:
            found.rate_states[key.removeprefix(keys.rate(""))] = state
    elif key.startswith(keys.unique):
        found.unique_keys[key] = await client.get(key) or b""
    elif key.startswith(keys.holds):
        job_id, next_id = await client.hmget(key, "id", "next_id")
        found.holds[key] = decode(job_id or b""), decode(next_id or b"")
    elif key.startswith(f"{keys.prefix}worker:"):
        found.observed.add(key.removeprefix(f"{keys.prefix}worker:"))
    elif (list_of := keys.tenants.read_list(key)) is not None:
        name, tenant = list_of
        found.queues.setdefault(name, QueueState()).tenants[tenant] = await client.lrange(key, 0, -1)
    elif (part := keys.read_queue_key(key)) is not None:
        await _read_queue(found.queues.setdefault(part.name, QueueState()), client, part, key)


async def _read_queue(state: QueueState, client: Any, part: QueueKey, key: str) -> None:
    match part.role:
        case "":
            state.waiting = await client.lrange(key, 0, -1)
        case "inprogress":
            state.in_progress[part.pool_id] = await client.lrange(key, 0, -1)
        case "lock":
            state.lock = await client.get(key)
        case "lock_info":
            state.lock_info = await client.hgetall(key)
