"""Reads which jobs hold keys until they have ended, and frees the keys of those that are gone."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Collection, Mapping, Sequence

from ..models.unique_holder import UniqueHolder
from .client import run_script
from .key_scan import scan_keys
from .namespace import Namespace
from .protocol import decode, encode, read_count
from .slices import slices

_STEP = 100
# Keys that one round trip of a search for a job reads.
_SEARCHED = 1000


class Holds:
    """The keys of one namespace that jobs hold until they have ended.

    Every method raises RedisError or OSError when Redis refuses or cannot be reached.
    """

    def __init__(self, namespace: Namespace) -> None:
        self._redis = namespace.redis
        self._keys = namespace.keys

    def _name(self, key: str) -> str:
        return key.removeprefix(self._keys.holds).rpartition(":")[0]

    async def read(self, keys: Collection[str]) -> dict[str, UniqueHolder]:
        """Return which jobs hold these keys; keys that are free, or hold another type, are left out."""
        found: dict[str, UniqueHolder] = {}
        for some in slices(list(keys), _STEP):
            async with self._redis.client().pipeline(transaction=False) as pipe:
                for key in some:
                    pipe.hmget(key, "id", "since", "until", "next_id")
                replies = await pipe.execute(raise_on_error=False)
            for key, reply in zip(some, replies, strict=True):
                if isinstance(reply, list) and reply[0] is not None:
                    job_id, since, until, next_id = reply
                    texts = (decode(each or b"") for each in (job_id, until, next_id))
                    holder, until_what, successor = texts
                    name = self._name(key)
                    found[key] = UniqueHolder(name, holder, read_count(since) or 0, until_what, successor)
        return found

    async def search(self, name: str, most: int, seconds: float) -> tuple[dict[str, UniqueHolder], bool]:
        """Return which jobs of a name hold keys, and whether these are all.

        :param name: empty for all names.
        :param most: how many to return at most.
        :param seconds: how long to search at most.
        """
        deadline, keys, complete = time.monotonic() + seconds, set[str](), True
        async for key in self._scan(name):
            keys.add(key)
            if len(keys) >= most or time.monotonic() >= deadline:
                complete = False
                break
        return await self.read(keys), complete

    async def of_job(self, name: str, job_id: str, seconds: float) -> dict[str, UniqueHolder]:
        """Return the keys that one job holds, however many others hold keys.

        :param seconds: how long to search at most.
        """
        return await self._where("id", name, job_id, seconds)

    async def holder_before(self, name: str, job_id: str, seconds: float) -> UniqueHolder | None:
        """Return the job for whose end a job waits; ``None`` if it waits for none."""
        return next(iter((await self._where("next_id", name, job_id, seconds)).values()), None)

    async def _where(self, field: str, name: str, job_id: str, seconds: float) -> dict[str, UniqueHolder]:
        """Return the keys of a name with an id in a field; the search ends with the first that it finds."""
        deadline, wanted, some = time.monotonic() + seconds, encode(job_id), list[str]()
        async for key in self._scan(name):
            some.append(key)
            if len(some) == _SEARCHED:
                if (found := await self._having(field, wanted, some)) or time.monotonic() >= deadline:
                    return await self.read(found)
                some.clear()
        return await self.read(await self._having(field, wanted, some))

    async def _having(self, field: str, wanted: bytes, keys: Sequence[str]) -> list[str]:
        """Return those of some keys that have this value in a field."""
        async with self._redis.client().pipeline(transaction=False) as pipe:
            for key in keys:
                pipe.hget(key, field)
            replies = await pipe.execute(raise_on_error=False)
        return [key for key, value in zip(keys, replies, strict=True) if value == wanted]

    async def _scan(self, name: str) -> AsyncIterator[str]:
        """Yield the keys of a name that are held; of all names if it is empty."""
        start = f"{self._keys.holds}{name}:" if name else self._keys.holds
        async for key in scan_keys(self._redis, start):
            if name in ("", self._name(key)):
                yield key

    async def free(self, holders: Mapping[str, UniqueHolder]) -> int:
        """Free keys that are held by the same jobs still; return how many. Their successors go to their queues."""
        freed = 0
        for some in slices(list(holders), _STEP):
            keys, args = [self._keys.scheduled], list[bytes]()
            for key in some:
                keys += (key, self._keys.queue(holders[key].name))
                args += (encode(holders[key].job_id), b"%d" % holders[key].since)
            freed += int(await run_script(self._redis.client(), "free_holds", keys, args))
        return freed
