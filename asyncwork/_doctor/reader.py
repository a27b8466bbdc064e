"""What the doctor reads of a namespace, and what it mends there."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from .._redis.client import run_script
from .._redis.errors import ErrorReply
from .._redis.key_scan import scan_namespace
from .._redis.namespace import Namespace
from .._redis.protocol import read_count
from .._redis.unique_value import VALUE_END, owner_of
from ..models import UniqueKey
from .lock_state import Holdings

# Keys looked at by one step of a search, and commands sent in one go.
_STEP = 1000
# Milliseconds by which the end of a key may seem to have moved although nobody wrote it.
_SLACK_MS = 30_000


@dataclass(slots=True)
class Traces:
    """What a search through all keys of a namespace has found.

    :ivar queues: names of which there is a key.
    :ivar holders: by queue, the pools that have an in-progress list of it.
    :ivar unique_keys: the keys that keep jobs unique; ``None`` when there are more than were asked for.
    :ivar wrong: keys that hold another kind of value than they must: what they hold, and what they must.
    """

    queues: set[str] = field(default_factory=set)
    holders: dict[str, set[str]] = field(default_factory=dict)
    unique_keys: list[str] | None = field(default_factory=list)
    wrong: dict[str, tuple[str, str]] = field(default_factory=dict)


class NamespaceReader:
    """A namespace, from the side of who checks and mends it.

    Every method raises RedisError or OSError when Redis refuses or cannot be reached.
    """

    def __init__(self, namespace: Namespace) -> None:
        self._namespace = namespace
        self._redis = namespace.redis
        self._keys = namespace.keys

    async def settings(self, *names: str) -> dict[str, str] | None:
        """Return settings of the server; ``None`` when it does not tell them, as managed ones do not."""
        found: dict[str, str] = {}
        try:
            # One by one: Redis 6 takes no more.
            for name in names:
                found |= await self._redis.client().config_get(name)
        except ErrorReply:
            return None
        return {_text(name): _text(value) for name, value in found.items()}

    async def search(self, most_unique: int) -> Traces:
        """Go through the whole keyspace, in steps; what is of a namespace within this one is passed over.

        :param most_unique: how many unique keys to gather at most.
        """
        found = Traces()
        unique: list[str] = []
        typed: list[str] = []
        async for key in scan_namespace(self._namespace):
            if self._keys.kind(key):
                typed.append(key)
                if len(typed) >= _STEP:
                    found.wrong |= await self.wrong_types(typed)
                    typed = []
            if key.startswith(self._keys.unique):
                if len(unique) <= most_unique:
                    unique.append(key)
            elif (part := self._keys.read_queue_key(key)) is not None and part.name:
                found.queues.add(part.name)
                if part.role == "inprogress":
                    found.holders.setdefault(part.name, set()).add(part.pool_id)
        found.wrong |= await self.wrong_types(typed)
        found.unique_keys = unique if len(unique) <= most_unique else None
        return found

    async def wrong_types(self, keys: Sequence[str]) -> dict[str, tuple[str, str]]:
        """Return those of the keys that hold another kind of value than they must: what they hold, and must hold."""
        answers = await self._ask([("TYPE", key) for key in keys])
        kinds = ((key, _text(answer), self._keys.kind(key)) for key, answer in zip(keys, answers, strict=True))
        return {key: (kind, wanted) for key, kind, wanted in kinds if kind not in (wanted, "none")}

    async def holdings(self, holders: Mapping[str, set[str]], pools: Iterable[str]) -> dict[str, Holdings]:
        """Return the locks of queues, and who holds them.

        :param holders: by queue, pools that may have jobs of it in progress, beside those with a share of its lock.
        :param pools: others that may have jobs of any of them.
        """
        client, found = self._redis.client(), {}
        async with client.pipeline(transaction=False) as pipe:
            for name in holders:
                pipe.hkeys(self._keys.lock_info(name))
            answers = await pipe.execute(raise_on_error=False)
        everywhere = set(pools)
        for (name, known), answer in zip(holders.items(), answers, strict=True):
            sharers = {_text(pool_id) for pool_id in answer} if isinstance(answer, list) else set()
            ids = sorted(known | sharers | everywhere)
            lock, shares, lengths = await run_script(client, "read_lock", self._lock_keys(name, ids), [])
            fields = zip(map(_text, shares[::2]), map(read_count, shares[1::2]), strict=True)
            found[name] = Holdings(read_count(lock), dict(fields), dict(zip(ids, lengths, strict=True)))
        return found

    async def lengths(self, names: Sequence[str]) -> dict[str, int]:
        """Return how many jobs wait in these queues; what is no list has none."""
        answers = await self._ask([("LLEN", self._keys.queue(name)) for name in names])
        return {name: read_count(answer) or 0 for name, answer in zip(names, answers, strict=True)}

    async def beats(self, pool_ids: Sequence[str]) -> dict[str, bytes]:
        """Return the ``heartbeat_at`` of pools, registered or not, empty where there is none."""
        answers = await self._ask([("HGET", self._keys.heartbeat(each), "heartbeat_at") for each in pool_ids])
        return {
            pool_id: answer if isinstance(answer, bytes) else b""
            for pool_id, answer in zip(pool_ids, answers, strict=True)
        }

    async def unique_keys(self, keys: Sequence[str]) -> dict[str, UniqueKey]:
        """Return whose keys are, and when they end; without those that are gone."""
        found: dict[str, UniqueKey] = {}
        for start in range(0, len(keys), _STEP):
            some = keys[start : start + _STEP]
            looks = [look for key in some for look in (("PTTL", key), ("GETRANGE", key, -VALUE_END, -1))]
            (seconds, micros), *answers = await self._ask([("TIME",), *looks])
            at = int(seconds) * 1000 + int(micros) // 1000
            for key, left, value in zip(some, answers[::2], answers[1::2], strict=True):
                if left != -2:
                    owner = owner_of(value) if isinstance(value, bytes) else ""
                    found[key] = UniqueKey(at + left if left >= 0 else 0, owner)
        return found

    async def unchanged(self, keys: Mapping[str, UniqueKey]) -> dict[str, UniqueKey]:
        """Return those of the keys that are still the same job's, or where that is not told were not written since."""
        now = await self.unique_keys(list(keys))
        return {key: was for key, was in keys.items() if key in now and _is_same(was, now[key])}

    async def rebuild_lock(self, name: str, pool_ids: Sequence[str]) -> int:
        """Make these pools' shares of a lock what they have in progress, and the lock the sum of all; return it."""
        keys = self._lock_keys(name, pool_ids)
        return int(await run_script(self._redis.client(), "rebuild_lock", keys, pool_ids))

    async def free_unclaimed(self, unclaimed: Mapping[str, UniqueKey]) -> int:
        """Delete unique keys of which owner and end are still the same; return how many."""
        keys, freed = list(unclaimed), 0
        for start in range(0, len(keys), _STEP):
            some = keys[start : start + _STEP]
            args = [_SLACK_MS, *(part for key in some for part in unclaimed[key])]
            freed += int(await run_script(self._redis.client(), "free_unclaimed", some, args))
        return freed

    def _lock_keys(self, name: str, pool_ids: Sequence[str]) -> list[str]:
        lists = (self._keys.in_progress(name, pool_id) for pool_id in pool_ids)
        return [self._keys.lock(name), self._keys.lock_info(name), *lists]

    async def _ask(self, commands: Sequence[tuple[object, ...]]) -> list[Any]:
        answers: list[Any] = []
        for start in range(0, len(commands), _STEP):
            async with self._redis.client().pipeline(transaction=False) as pipe:
                for command in commands[start : start + _STEP]:
                    pipe.execute_command(*command)
                answers += await pipe.execute(raise_on_error=False)
        return answers


def _is_same(was: UniqueKey, now: UniqueKey) -> bool:
    return was.owner == now.owner and (was.owner != "" or abs(now.end - was.end) <= _SLACK_MS)


def _text(raw: Any) -> str:
    return raw.decode(errors="surrogateescape") if isinstance(raw, bytes) else str(raw)
