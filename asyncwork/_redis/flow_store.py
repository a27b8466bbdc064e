"""The flows of a namespace, as Redis holds them."""

from __future__ import annotations

from collections.abc import Sequence

from .batches import batches
from .errors import ErrorReply, is_wrong_type
from .namespace import Namespace
from .protocol import decode, read_count

# Fields that one command reads.
_BATCH = 1000


class FlowStore:
    """Reads what is known of the nodes of flows.

    Every method raises RedisError or OSError when Redis refuses or cannot be reached.
    """

    def __init__(self, namespace: Namespace) -> None:
        self._redis = namespace.redis
        self._keys = namespace.keys

    async def has_ended(self, flow_id: str) -> bool:
        """Return whether a flow has ended, or is gone."""
        try:
            there, ended = await self._redis.client().hmget(self._keys.batch(flow_id)[0], ["next", "ended_at"])
        except ErrorReply as error:
            if not is_wrong_type(error):
                raise
            return True
        return there is None or ended is not None

    async def groups(self, flow_id: str) -> list[bytes]:
        """Return the groups of nodes, JSON, in parts."""
        (parts,) = await self._fields(flow_id, ["parts"])
        count = read_count(parts) or 0
        found = await self._fields(flow_id, [f"groups:{number}" for number in range(1, count + 1)])
        return [each for each in found if each is not None]

    async def set_states(self, flow_id: str, sets: Sequence[int]) -> dict[int, str]:
        """Return the states of sets of nodes; those that do not exist are left out."""
        found = await self._fields(flow_id, [f"set:{number}" for number in sets])
        states: dict[int, str] = {}
        for number, text in zip(sets, found, strict=True):
            words = decode(text or b"").split()
            if len(words) == 6:
                states[number] = words[2]
        return states

    async def waiting(self, flow_id: str) -> frozenset[int]:
        """Return the numbers of the nodes whose jobs wait for others; also of those that were cancelled meanwhile."""
        try:
            names = await self._redis.client().hkeys(self._keys.batch(flow_id)[4])
        except ErrorReply as error:
            if not is_wrong_type(error):
                raise
            return frozenset()
        numbers = (each.removeprefix(b"job:") for each in names if each.startswith(b"job:"))
        return frozenset(int(each) for each in numbers if each.isdigit())

    async def _fields(self, flow_id: str, names: Sequence[str]) -> list[bytes | None]:
        key, found = self._keys.batch(flow_id)[4], list[bytes | None]()
        for some in batches(names, _BATCH):
            try:
                found += await self._redis.client().hmget(key, list(some))
            except ErrorReply as error:
                if not is_wrong_type(error):
                    raise
                found += [None] * len(some)
        return found
