"""The waiting jobs of fair queues, which are in one list for each tenant, as if they were in one."""

from __future__ import annotations

import hashlib
from bisect import bisect_right
from collections.abc import Sequence
from typing import Any, NamedTuple

from .digest_key import DigestKey
from .errors import is_wrong_type
from .fair_queues import FairQueues, tenant_of
from .located_payload import LocatedPayload
from .namespace import Namespace
from .protocol import encode, value_of
from .slices import slices

# Commands sent in one pipeline.
_SLICE = 500


class WaitingTenant(NamedTuple):
    """A tenant whose jobs wait.

    :ivar waiting: how many.
    :ivar digest: by which a cursor names it, because its name may be confidential.
    """

    name: str
    waiting: int
    digest: str = ""


class FairListing:
    """Lists the jobs that wait in fair queues.

    Every method raises RedisError or OSError when Redis refuses or cannot be reached.
    """

    def __init__(self, namespace: Namespace) -> None:
        self._redis = namespace.redis
        self._keys = namespace.keys
        self.queues = FairQueues(namespace)
        self._digest_key = DigestKey(namespace)

    async def is_fair(self, name: str) -> bool:
        """Return whether a queue is fair; not if the name is empty."""
        return name in await self.queues.names()

    async def waiting(self, name: str) -> list[WaitingTenant]:
        """Return the tenants whose jobs wait: first those that have a turn, by turn, and then the others."""
        state = await self.queues.read(name, waiting=True)
        tenants = [] if state is None else [each for each in state.tenants if each.waiting]
        last = float("inf")
        tenants.sort(key=lambda each: last if each.turn is None else each.turn)
        return [WaitingTenant(each.name, each.waiting) for each in tenants]

    async def by_digest(self, name: str) -> list[WaitingTenant]:
        """Return the tenants whose jobs wait, in an order that stays, with their digests."""
        key = await self._digest_key.read()

        def digest(tenant: str) -> str:
            return hashlib.blake2b(encode(tenant), key=key, digest_size=8).hexdigest()

        found = (each._replace(digest=digest(each.name)) for each in await self.waiting(name))
        return sorted(found, key=lambda each: each.digest)

    async def next_to_run(self, name: str, start: int, count: int) -> tuple[list[LocatedPayload], int]:
        """Return jobs from the ``start``-th on, about in the order in which they run: the next of each tenant, then the
        second of each, and so on. Also return how many wait.
        """
        tenants = await self.waiting(name)
        total = sum(each.waiting for each in tenants)
        wanted = in_turns([each.waiting for each in tenants], start, count)
        commands = [
            ("LINDEX", self._keys.tenants.list(name, tenants[number].name), -1 - before) for number, before in wanted
        ]
        replies = await self._pipeline(commands)
        jobs = zip(wanted, replies, strict=True)
        return [
            LocatedPayload(raw, None, total - 1 - before) for (_, before), raw in jobs if isinstance(raw, bytes)
        ], total

    async def newest(
        self, name: str, tenant: WaitingTenant, start: int, count: int, total: int
    ) -> list[LocatedPayload]:
        """Return jobs of a tenant from the ``start``-th on, the newest first.

        :param total: how many wait of all tenants.
        """
        key = self._keys.tenants.list(name, tenant.name)
        found, length = await self._pipeline([("LRANGE", key, start, start + count - 1), ("LLEN", key)])
        if is_wrong_type(found):
            return []
        first = length - 1 - start
        return [LocatedPayload(raw, None, total - 1 - (first - at)) for at, raw in enumerate(found)]

    async def gone(self, name: str, members: Sequence[LocatedPayload]) -> list[LocatedPayload]:
        """Return which of the members no longer wait."""
        plain = self._keys.queue(name)
        commands: list[tuple[object, ...]] = []
        for each in members:
            own = self._keys.tenants.list(name, tenant_of(each.raw))
            commands += [("LPOS", own, each.raw), ("LPOS", plain, each.raw)]
        replies = await self._pipeline(commands)
        found = zip(members, replies[::2], replies[1::2], strict=True)
        return [each for each, own, other in found if own is None and other is None]

    async def _pipeline(self, commands: Sequence[tuple[object, ...]]) -> list[Any]:
        replies: list[Any] = []
        for some in slices(commands, _SLICE):
            async with self._redis.client().pipeline(transaction=False) as pipe:
                for name, key, *more in some:
                    pipe.execute_command(name, encode(str(key)), *more)
                replies += await pipe.execute(raise_on_error=False)
        return [reply if is_wrong_type(reply) else value_of(reply) for reply in replies]


def in_turns(lengths: Sequence[int], start: int, count: int) -> list[tuple[int, int]]:
    """Return the elements from the ``start``-th on, if one element of each list follows the other: the number of its
    list, and its position in that.
    """
    ordered = sorted(lengths)
    # By position, how many lists are that short or shorter, and how many elements come before.
    low, high = 0, ordered[-1] if ordered else 0
    while low < high:
        middle = (low + high + 1) // 2
        if _elements_before(ordered, middle) <= start:
            low = middle
        else:
            high = middle - 1
    position, skip = low, start - _elements_before(ordered, low)
    wanted: list[tuple[int, int]] = []
    while len(wanted) < count:
        longer = [number for number, length in enumerate(lengths) if length > position]
        if not longer:
            break
        wanted += [(number, position) for number in longer[skip:]][: count - len(wanted)]
        position, skip = position + 1, 0
    return wanted


def _elements_before(ordered: Sequence[int], position: int) -> int:
    """Return how many elements of lists, whose lengths are ascending, come before a position."""
    shorter = bisect_right(ordered, position)
    return sum(ordered[:shorter]) + position * (len(ordered) - shorter)
