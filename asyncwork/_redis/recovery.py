"""Recovery of a dead pool's jobs and locks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from types import MappingProxyType

from .client import run_script
from .commands import exemption_field, fingerprint
from .errors import ErrorReply, is_wrong_type
from .existing_keys import maybe_existing
from .fair_queues import FairQueues
from .job_end import JobEnd
from .key_scan import scan_keys
from .keys import Keys
from .namespace import Namespace
from .pool_registry import PoolRegistry
from .protocol import decode
from .slices import slices

# Seconds for which crashes are kept after the newest of them.
_CRASHES_TTL = 86_400
# Seconds for which no pool looks ahead after one has crashed.
_LOOK_AHEAD_PAUSE = 300
# Jobs handled by one call of a script; keeps every call far below 10 ms.
_SLICE = 500


class Recovery:
    """The traces of pools that may be dead, and what is done about a dead one.

    Every method raises RedisError or OSError when Redis refuses or cannot be reached.
    """

    def __init__(self, namespace: Namespace) -> None:
        self._redis = namespace.redis
        self._keys = namespace.keys
        self._registry = PoolRegistry(namespace)
        self._fair = FairQueues(namespace)

    async def check_writable(self, pool_id: str) -> None:
        """Return if heartbeats can be written, which needs no free memory.

        :raises RedisError, OSError: when they cannot, because Redis is a replica, its disk is full, or too few replicas
            follow it.
        """
        # A write that changes nothing and needs no memory.
        await self._redis.client().persist(self._keys.heartbeat(pool_id))

    async def lock_holders(self, *, idle: bool = True) -> dict[str, set[str]]:
        """Return, by pool id, the names of the queues in whose locks the pool has a share.

        :param idle: whether to include locks of 0, in which all shares are 0 as well unless the lock is wrong.
        """
        client, names = self._redis.client(), sorted(await self._registry.job_names())
        if not idle:
            names = await self._locked(names)
        names = await maybe_existing(client, names, self._keys.lock_info)
        if not names:
            return {}
        async with client.pipeline(transaction=False) as pipe:
            for name in names:
                pipe.hkeys(self._keys.lock_info(name))
            replies = await pipe.execute(raise_on_error=False)
        holders: dict[str, set[str]] = {}
        for name, pool_ids in zip(names, replies, strict=True):
            for pool_id in pool_ids if isinstance(pool_ids, list) else ():
                holders.setdefault(decode(pool_id), set()).add(name)
        return holders

    async def _locked(self, names: Sequence[str]) -> list[str]:
        """Return the queues whose lock is not 0."""
        async with self._redis.client().pipeline(transaction=False) as pipe:
            for some in slices(names, _SLICE):
                pipe.mget(map(self._keys.lock, some))
            replies = await pipe.execute()
        locks = (lock for reply in replies for lock in reply)
        return [name for name, lock in zip(names, locks, strict=True) if lock != b"0"]

    async def fix_locks(self) -> list[str]:
        """Set each lock to the sum of the pools' shares; return the names of the queues whose lock was different."""
        fixed, names = [], sorted(await self._registry.job_names())
        # A lock that is missing is right where no pool has a share.
        for name in await maybe_existing(self._redis.client(), names, self._keys.lock, self._keys.lock_info):
            keys = [self._keys.lock(name), self._keys.lock_info(name)]
            if await run_script(self._redis.client(), "fix_lock", keys, []):
                fixed.append(name)
        return fixed

    async def in_progress_lists(self) -> dict[str, set[str]]:
        """Search the whole key space, in steps, for in-progress lists; return the names of queues by pool id.

        The key of a list may belong to several namespaces, such as ``app`` and ``app:jobs``. It is left out when its
        pool is registered in another namespace than this one.
        """
        start, end = self._keys.jobs, ":inprogress"
        found: dict[str, set[str]] = {}
        ambiguous: list[tuple[str, str, str]] = []
        async for key in scan_keys(self._redis, start, end):
            name, _, pool_id = key[len(start) : -len(end)].rpartition(":")
            if name:
                found.setdefault(pool_id, set()).add(name)
                ambiguous += ((pool_id, name, other) for other in self._keys.other_prefixes(key))
        for pool_id, name, other in ambiguous:
            if await self._is_pool_of(Keys(other), pool_id):
                found[pool_id].discard(name)
        return {pool_id: names for pool_id, names in found.items() if names}

    async def _is_pool_of(self, others: Keys, pool_id: str) -> bool:
        """Return whether a pool is registered or has a heartbeat in another namespace."""
        client = self._redis.client()
        try:
            registered = await client.sismember(others.worker_pools, pool_id)
        except ErrorReply as error:
            if not is_wrong_type(error):
                raise
            registered = False
        return bool(registered or await client.exists(others.heartbeat(pool_id)))

    async def recover_ended(self, pool_id: str) -> int | None:
        """Requeue the jobs of a pool whose process has ended, record its crash, and delete its registration.

        :returns: how many jobs were requeued; ``None`` when the pool has left nothing, because it was shut down.
        """
        names, worker_ids = await self._traces(pool_id)
        return await self.recover(pool_id, names, None, worker_ids) if names else None

    async def recover_late(self, pool_id: str) -> int:
        """Requeue the jobs that Redis gave to an ended process after :meth:`recover_ended`; return how many.

        Redis may process the last commands of a process after it has ended. These jobs never ran.
        """
        names, worker_ids = await self._traces(pool_id)
        moved = await self.reap(pool_id, names, None)
        if names:
            await self._registry.forget_pool(pool_id, worker_ids)
        return moved or 0

    async def _traces(self, pool_id: str) -> tuple[set[str], list[str]]:
        """Return the names of the queues in which a pool may hold jobs, and the ids of its workers."""
        heartbeat = (await self._registry.raw_heartbeats([pool_id]))[pool_id]
        holders = await self.lock_holders()
        return {*heartbeat.job_names, *holders.get(pool_id, ())}, heartbeat.worker_ids

    async def record_crash(self, pool_id: str, names: Iterable[str], heartbeat_at: bytes | None) -> None:
        """Count a dead pool's crash against the jobs in its in-progress lists that may have caused it.

        This is the job that the pool had marked as its suspect. Without one, these are the jobs that ran in the most
        crashes before. Jobs that never ran in a crash are always counted. Where there are such beside the suspect, they
        may have caused the crash in its place, so the suspect is exempted once.

        If the pool looked ahead, some of its jobs had not begun, so that none is counted. For the next minutes, no pool
        looks ahead. A pool without jobs in progress has not died of one, so that nothing changes.

        :param heartbeat_at: the pool's last ``heartbeat_at``, by which it was considered dead; empty when it had no
            heartbeat; ``None`` to count whatever it is.
        """
        # Even where the crash cannot be counted, the jobs must be requeued.
        with suppress(ErrorReply):
            await self._record_crash(pool_id, names, heartbeat_at)

    async def _record_crash(self, pool_id: str, names: Iterable[str], heartbeat_at: bytes | None) -> None:
        client = self._redis.client()
        if not (prints := await self._in_progress(pool_id, names)):
            return
        await client.set(self._keys.look_ahead_paused, pool_id, ex=_LOOK_AHEAD_PAUSE)
        if await client.hget(self._keys.heartbeat(pool_id), "looks_ahead") is not None:
            return
        counts: list[int] = []
        for some in slices(prints, _SLICE):
            counts += map(_count, await client.hmget(self._keys.crashes, some))
        suspect = await client.hget(self._keys.crashes, self._keys.suspect_field(pool_id))
        most = max(counts, default=0)
        new = {each for each, count in zip(prints, counts, strict=True) if not count}
        likeliest = {each for each, count in zip(prints, counts, strict=True) if count == most}
        if suspect in prints:
            doubt = exemption_field(suspect)
            in_doubt = new and not await client.hexists(self._keys.crashes, doubt)
            likeliest = {doubt if in_doubt else suspect}
        fields = sorted(new | likeliest)
        keys = [self._keys.crashes, self._keys.heartbeat(pool_id), self._keys.crashes_of(pool_id)]
        judged_by = b"*" if heartbeat_at is None else heartbeat_at
        for step, some in enumerate(slices(fields, _SLICE)):
            args = [self._keys.recorded_field(pool_id), step * _SLICE + 1, judged_by, _CRASHES_TTL, *some]
            await run_script(client, "record_crash", keys, args)

    async def _in_progress(self, pool_id: str, names: Iterable[str]) -> list[bytes]:
        """Return the fingerprints of the jobs in a pool's in-progress lists."""
        prints: list[bytes] = []
        for name in names:
            key, start = self._keys.in_progress(name, pool_id), 0
            while payloads := await self._redis.client().lrange(key, start, start + _SLICE - 1):
                prints += map(fingerprint, payloads)
                start += len(payloads)
        return prints

    async def reap(
        self,
        pool_id: str,
        names: Iterable[str],
        heartbeat_at: bytes | None,
        attempts: Mapping[str, Sequence[JobEnd]] = MappingProxyType({}),
    ) -> int | None:
        """Move a pool's jobs to the front of their queues, and remove its shares from the locks.

        :param heartbeat_at: the pool's last ``heartbeat_at``, by which it was considered dead; empty when it had no
            heartbeat; ``None`` to reap it whatever it is.
        :param attempts: by queue, what the records of jobs are to say of their attempts, each of one field. It is
            written when the job is moved.
        :returns: how many jobs were moved, or ``None`` when the pool has written a heartbeat meanwhile.
        :raises ErrorReply: when Redis refuses for a queue, such as one that is not a list; the others are done.
        """
        moved = 0
        refusal: ErrorReply | None = None
        for name in names:
            try:
                jobs = await self._reap(pool_id, name, heartbeat_at, attempts.get(name, ()))
            except ErrorReply as error:
                refusal = error
                continue
            if jobs is None:
                return None
            moved += jobs
        if refusal is not None:
            raise refusal
        return moved

    async def _reap(
        self, pool_id: str, name: str, heartbeat_at: bytes | None, attempts: Sequence[JobEnd]
    ) -> int | None:
        keys = [
            self._keys.in_progress(name, pool_id),
            self._keys.lock(name),
            self._keys.lock_info(name),
            self._keys.queue(name),
            self._keys.heartbeat(pool_id),
            *(self._keys.job_record(each.job_id) for each in attempts),
        ]
        fields = [value for each in attempts for value in (each.payload, each.seconds, *each.more)]
        moved, left, fair = 0, 1, await self._fair.keys_of([name])
        while left:
            args = [pool_id, _SLICE, b"*" if heartbeat_at is None else heartbeat_at, *fields]
            done, left = await run_script(self._redis.client(), "reap", keys, args, fair=fair)
            if done < 0:
                return None
            moved += done
        return moved

    async def recover(
        self, pool_id: str, names: Iterable[str], heartbeat_at: bytes | None, worker_ids: Iterable[str] = ()
    ) -> int | None:
        """Requeue a dead pool's jobs of these queues, record its crash, and then delete its registration.

        :param heartbeat_at: the pool's last ``heartbeat_at``, by which it was considered dead; empty when it had none;
            ``None`` when it is known to be dead, because its process has ended.
        :returns: how many jobs were requeued, or ``None`` when the pool has written a heartbeat meanwhile.
        """
        names = sorted(names)
        await self.record_crash(pool_id, names, heartbeat_at)
        moved = await self.reap(pool_id, names, heartbeat_at)
        if moved is not None:
            # Last, because the reapers find a dead pool by its registration.
            await self._registry.forget_pool(pool_id, worker_ids)
        return moved


def _count(raw: bytes | None) -> int:
    """Return a count; 0 for anything else."""
    return int(raw) if raw and raw.isdigit() and len(raw) < 10 else 0
