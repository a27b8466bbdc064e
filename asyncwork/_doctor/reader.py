"""Reads the pools, locks, unique keys and settings that the doctor checks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from .._redis.client import run_script
from .._redis.errors import ErrorReply
from .._redis.fair_listing import FairListing
from .._redis.keys import Keys
from .._redis.lock_state import LockState
from .._redis.namespace import Namespace
from .._redis.protocol import decode, read_count
from .._redis.slices import slices
from .._redis.unique_value import VALUE_END, owner_of
from ..models.diagnosis import UniqueKey
from .commands import STEP, send

# The fields that end a wait: how the job has ended, or which job runs in its place.
ENDED_FIELDS = frozenset({b"state", b"alias"})
# Milliseconds by which the end of a key may seem to have moved although no program wrote it.
END_SLACK_MS = 30_000


class NamespaceReader:
    """Reads a namespace.

    Every method raises RedisError or OSError when Redis refuses or cannot be reached.
    """

    def __init__(self, namespace: Namespace) -> None:
        self._redis = namespace.redis
        self._keys = namespace.keys
        self._fair = FairListing(namespace)

    async def settings(self, *names: str) -> dict[str, str] | None:
        """Return settings of the server; ``None`` when this user may not read them, as on managed servers."""
        found: dict[bytes | str, bytes | str] = {}
        try:
            # One by one, because Redis 6 takes no more.
            for name in names:
                found |= await self._redis.client().config_get(name)
        except ErrorReply:
            return None
        return {_text(name): _text(value) for name, value in found.items()}

    async def locks(self, holders: Mapping[str, set[str]], pools: Iterable[str]) -> dict[str, LockState]:
        """Return the locks of queues, each read at one moment.

        :param holders: by queue, pools that may have jobs of it in progress, beside those with a share of its lock.
        :param pools: pools that may have jobs of any queue in progress.
        """
        replies = await send(self._redis, [("HKEYS", self._keys.lock_info(name)) for name in holders])
        client, found, everywhere = self._redis.client(), {}, set(pools)
        for (name, pool_ids), reply in zip(holders.items(), replies, strict=True):
            sharing = set(map(decode, reply)) if isinstance(reply, list) else set()
            ids = sorted(pool_ids | sharing | everywhere)
            lock, shares, lengths = await run_script(client, "read_lock", lock_keys(self._keys, name, ids), [])
            fields = dict(zip(shares[::2], shares[1::2], strict=True))
            found[name] = LockState.parse(lock, fields, dict(zip(ids, lengths, strict=True)))
        return found

    async def lengths(self, names: Sequence[str]) -> dict[str, int]:
        """Return how many jobs wait in these queues; 0 for a key that is not a list."""
        replies = await send(self._redis, [("LLEN", self._keys.queue(name)) for name in names])
        lengths = {name: read_count(reply) or 0 for name, reply in zip(names, replies, strict=True)}
        fair = await self._fair.queues.names()
        for name in (name for name in names if name in fair):
            lengths[name] = sum(each.waiting for each in await self._fair.waiting(name))
        return lengths

    async def heartbeats_at(self, pool_ids: Sequence[str]) -> dict[str, bytes]:
        """Return the ``heartbeat_at`` of pools, registered or not; empty where there is none."""
        replies = await send(self._redis, [("HGET", self._keys.heartbeat(each), "heartbeat_at") for each in pool_ids])
        return {
            pool_id: reply if isinstance(reply, bytes) else b""
            for pool_id, reply in zip(pool_ids, replies, strict=True)
        }

    async def kept_names(self) -> set[str]:
        """Return the job names whose results are kept; none when the key is not a hash."""
        (reply,) = await send(self._redis, [("HKEYS", self._keys.results)])
        return set(map(decode, reply)) if isinstance(reply, list) else set()

    async def awaited(self, records: Sequence[str]) -> set[str]:
        """Return the ids of the jobs that are waited for and whose records do not say that they have ended."""
        start, found = self._keys.job_record(""), set()
        # One field of a record that says how a job has ended may have a megabyte.
        replies = await send(self._redis, [("HKEYS", key) for key in records])
        for key, reply in zip(records, replies, strict=True):
            fields = reply if isinstance(reply, list) else ()
            is_awaited = any(each.startswith(b"wait:") for each in fields)
            if is_awaited and not ENDED_FIELDS.intersection(fields):
                found.add(key.removeprefix(start))
        return found

    async def stepped(self, keys: Sequence[str]) -> set[str]:
        """Return the ids of the jobs whose steps are recorded, without those that were deleted.

        :param keys: of what is recorded of each job.
        """
        commands = [each for key in keys for each in (("HLEN", key), ("HEXISTS", key, "deleted"))]
        replies = await send(self._redis, commands)
        found = zip(keys, replies[::2], replies[1::2], strict=True)
        start = self._keys.steps("")
        return {key.removeprefix(start) for key, count, deleted in found if read_count(count) and deleted == 0}

    async def unexpiring(self, keys: Sequence[str]) -> list[str]:
        """Return those of the keys that never expire."""
        replies = await send(self._redis, [("TTL", key) for key in keys])
        return sorted(key for key, reply in zip(keys, replies, strict=True) if reply == -1)

    async def unique_keys(self, keys: Sequence[str]) -> dict[str, UniqueKey]:
        """Return the owners of unique keys and when the keys end; keys that are gone are left out."""
        found: dict[str, UniqueKey] = {}
        for some in slices(keys, STEP):
            commands = [each for key in some for each in (("PTTL", key), ("GETRANGE", key, -VALUE_END, -1))]
            (seconds, micros), *replies = await send(self._redis, [("TIME",), *commands])
            now = int(seconds) * 1000 + int(micros) // 1000
            for key, left, value in zip(some, replies[::2], replies[1::2], strict=True):
                if left != -2:
                    owner = owner_of(value) if isinstance(value, bytes) else ""
                    found[key] = UniqueKey(now + left if left >= 0 else 0, owner)
        return found

    async def unchanged(self, keys: Mapping[str, UniqueKey]) -> dict[str, UniqueKey]:
        """Return the keys that have the same owner or, where no owner is written, were not written again."""
        now = await self.unique_keys(list(keys))
        return {key: was for key, was in keys.items() if key in now and _is_same(was, now[key])}


def lock_keys(keys: Keys, name: str, pool_ids: Sequence[str]) -> list[str]:
    """Return the keys of a queue's lock, of its shares, and of what these pools have in progress."""
    return [keys.lock(name), keys.lock_info(name), *(keys.in_progress(name, pool_id) for pool_id in pool_ids)]


def _is_same(was: UniqueKey, now: UniqueKey) -> bool:
    return was.owner == now.owner and (was.owner != "" or abs(now.end - was.end) <= END_SLACK_MS)


def _text(raw: bytes | str) -> str:
    return decode(raw) if isinstance(raw, bytes) else raw
